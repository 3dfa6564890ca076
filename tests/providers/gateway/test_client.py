"""A client that is silent with us, slow, or gone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from providers.gateway.client import Client
from tests.waiting import eventually_async


class Wire:
    """The server's side of a connection: what was sent, and a gate that a full buffer closes."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.left = asyncio.Event()
        self.gone: list[bool] = []

    async def send(self, message: dict[str, Any]) -> None:
        await self.gate.wait()
        self.sent.append(message)

    async def receive(self) -> dict[str, Any]:
        await self.left.wait()
        return {"type": "http.disconnect"}

    @property
    def bodies(self) -> list[bytes]:
        return [message["body"] for message in self.sent if "body" in message]


@asynccontextmanager
async def _client(wire: Wire) -> AsyncIterator[Client]:
    client = Client(
        receive=wire.receive,
        send=wire.send,
        headers=lambda: [(b"x", b"y")],
        ping=b": ping\n\n",
        ping_s=0.05,
        stalled_s=0.2,
        on_gone=wire.gone.append,
    )
    try:
        yield client
    finally:
        client.leave()


async def test_a_silent_answer_is_opened_and_pinged():
    wire = Wire()
    async with _client(wire) as client:

        async def pinged() -> bool:
            return wire.bodies.count(b": ping\n\n") >= 3

        await eventually_async(pinged)
        await client.write(b"data")
        await client.finish(b"end")
    starts = [message for message in wire.sent if message["type"] == "http.response.start"]
    assert len(starts) == 1
    assert wire.sent[0] is starts[0]
    assert wire.sent[0]["headers"] == [(b"x", b"y")]
    assert wire.bodies[-3:] == [b"data", b"end", b""]
    assert wire.sent[-1]["more_body"] is False


async def test_an_answer_that_speaks_is_not_pinged():
    wire = Wire()
    async with _client(wire) as client:
        for _ in range(20):
            await client.write(b"data")
            await asyncio.sleep(0.01)
    assert wire.bodies == [b"data"] * 20


async def test_writing_waits_for_a_slow_client_and_a_stalled_one_is_given_up():
    wire = Wire()
    async with _client(wire) as client:
        await client.write(b"one")
        wire.gate.clear()
        writing = asyncio.create_task(client.write(b"two"))

        async def given_up() -> bool:
            return wire.gone == [True]

        await eventually_async(given_up)
        assert not writing.done()
        writing.cancel()
    assert wire.bodies == [b"one"]


async def test_a_client_that_left_is_told_of_once_and_gets_nothing_more():
    wire = Wire()
    async with _client(wire) as client:
        await client.write(b"one")
        wire.left.set()

        async def gone() -> bool:
            return client.is_gone

        await eventually_async(gone)
        await client.write(b"two")
        await client.finish(b"three")
    assert wire.gone == [False]
    assert wire.bodies == [b"one"]
