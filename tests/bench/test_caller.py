"""The driver and the vendor's double of `bench.gateway` count the same tokens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from bench import caller
from bench.caller import Door
from bench.upstream import Connection


@pytest.fixture
async def door() -> AsyncIterator[Door]:
    server = await asyncio.get_running_loop().create_server(Connection, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    yield Door(url=f"http://127.0.0.1:{port}", key="sk-bench")
    server.close()


async def test_whole_answers_come_one_after_the_other(door):
    heard = await caller.ask(door, door.request(), at_once=2, each=3)
    assert [one.status for one in heard] == [200] * 6
    assert {json.loads(one.body)["usage"]["total_tokens"] for one in heard} == {23}


async def test_every_token_of_a_stream_is_counted(door):
    request = door.request(tokens=1_003)
    heard = await caller.ask(door, request, at_once=3, each=2, keeps_lags=True)
    assert [one.tokens for one in heard] == [1_003] * 6
    assert all(len(one.lags_ms) == 1_003 and min(one.lags_ms) >= 0 for one in heard)


async def test_the_plan_of_a_stream_is_kept(door):
    (heard,) = await caller.ask(
        door, door.request(tokens=5, first_ms=60, pace_us=20_000), at_once=1, each=1
    )
    assert heard.tokens == 5
    assert heard.first_ms >= 60


async def test_nobody_there_is_an_error():
    with pytest.raises(OSError, match=r"127\.0\.0\.1"):
        await caller.ask(Door(url="http://127.0.0.1:1", key=""), b"", at_once=1, each=1)
