"""Redis clients that can be cancelled, and that give up in time."""

from __future__ import annotations

import asyncio
import random
import socket
import time

import pytest

from ideplatform.kit import redis, redis_connections


@pytest.fixture
async def client():
    made = redis.async_client("tail")
    await made.ping()
    yield made
    await made.aclose()


async def test_a_cancelled_caller_ends(client):
    async def call_for_ever():
        while True:
            await client.xrange("run:nobody", count=1)

    randomly = random.Random(7)
    for _ in range(60):
        task = asyncio.create_task(call_for_ever())
        await asyncio.sleep(randomly.random() * 0.003)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=2)
        assert done
        assert task.cancelled()
    assert await client.ping()


async def test_a_server_that_does_not_answer_is_given_up():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        connection = redis_connections.Plain(
            host="127.0.0.1", port=silent.getsockname()[1], socket_timeout=0.2
        )

        async def ask():
            await connection.connect()
            await connection.send_command("PING")
            await connection.read_response()

        began = time.monotonic()
        with pytest.raises(redis.ERRORS):
            await ask()
        assert time.monotonic() - began < 10
        await connection.disconnect()
