"""Units of work from coroutines: bounded, closed, honest about a lost server."""

from __future__ import annotations

import asyncio
import threading

import pytest
from django.conf import settings
from django.db import OperationalError, connection

from ideplatform.kit.db import is_lost, run_db, run_db_first
from ideplatform.kit.errors import DatabaseDown


def _select(number: int) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT %s::int", [number])
        (answer,) = cursor.fetchone()
        return int(answer)


async def test_a_unit_of_work_answers(committed_db):
    assert await run_db(_select, 7) == 7


async def test_hundreds_of_callers_share_the_bounded_pool(committed_db):
    assert await asyncio.gather(*(run_db(_select, n) for n in range(300))) == list(range(300))
    names = {t.name for t in threading.enumerate() if t.name.startswith("run-db")}
    assert len(names) <= settings.ENV.db_pool_max


async def test_what_keeps_others_alive_does_not_queue_behind_them(committed_db):
    leave = threading.Event()
    queued = [asyncio.ensure_future(run_db(leave.wait)) for _ in range(settings.ENV.db_pool_max)]
    behind = asyncio.ensure_future(run_db(_select, 1))
    assert await asyncio.wait_for(run_db_first(_select, 7), 5) == 7
    assert not behind.done()
    leave.set()
    assert await asyncio.gather(*queued, behind) == [True] * settings.ENV.db_pool_max + [1]


def _kill_own_connection() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")


async def test_a_lost_server_is_a_typed_retryable_failure(committed_db):
    with pytest.raises(DatabaseDown) as caught:
        await run_db(_kill_own_connection)
    assert caught.value.retryable
    assert await run_db(_select, 1) == 1


def _break_a_rule() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_sleep(1)")


def test_a_statement_that_took_too_long_is_not_a_lost_server(committed_db):
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = '10ms'")
    with pytest.raises(OperationalError) as caught:
        _break_a_rule()
    assert not is_lost(caught.value)
