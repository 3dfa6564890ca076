"""Calls of one session that are read by several workers at once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from django.db import connections

from agents.services import threads
from tests.agents.recorded import Client, all_told


def test_calls_read_at_the_same_time_append_each_turn_once(committed_db):
    client = Client()
    made = [client.say(f"turn {n}", grows=False) for n in range(6)]

    def grow(exchange_id):
        try:
            threads.grow(exchange_id)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(grow, [*made, *reversed(made), *made]))
    expected = [text for n in range(6) for text in (f"u:turn {n}", f"a:Re: turn {n}")]
    assert all_told() == [expected]
