"""Tells other processes that a response has new events: a bell over Redis, and nothing but.

Whoever waits also looks by himself: after half a second, whether the bell rang or not. Redis may
be away; a ring that takes long holds nobody, the next one rings for all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Final
from uuid import UUID
from weakref import WeakKeyDictionary

import redis.asyncio

from ideplatform.kit import redis as kit_redis

CHANNEL: Final = "stored-responses"
POLL_S: Final = 0.5
_SILENCE_S: Final = 30.0
_IDLE_S: Final = 20.0


class Bell:
    """The bell of one event loop. It listens while somebody waits, and a little longer."""

    def __init__(self) -> None:
        self._waiting: dict[UUID, set[asyncio.Event]] = {}
        self._listener: asyncio.Task[None] | None = None
        self._ringer: asyncio.Task[None] | None = None
        self._client: redis.asyncio.Redis | None = None
        self._rung: set[UUID] = set()

    def ring(self, response_ids: Iterable[UUID]) -> None:
        """Wake whoever waits for these, in any process."""
        self._rung.update(response_ids)
        if self._rung and (self._ringer is None or self._ringer.done()):
            self._ringer = asyncio.create_task(self._publish(), name="responses-bell-ring")

    async def wait(self, response_id: UUID, woken: asyncio.Event) -> None:
        """Until it rings for this response, `woken` is set, or POLL_S has passed."""
        waiting = self._waiting.setdefault(response_id, set())
        waiting.add(woken)
        self._listen()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(POLL_S):
                    await woken.wait()
        finally:
            woken.clear()
            waiting.discard(woken)
            if not waiting:
                self._waiting.pop(response_id, None)

    async def close(self) -> None:
        """End the tasks of this loop."""
        tasks = [task for task in (self._listener, self._ringer) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._client is not None:
            with suppress(*kit_redis.ERRORS):
                await self._client.aclose()
            self._client = None

    async def _publish(self) -> None:
        if self._client is None:
            self._client = kit_redis.async_client("bus")
        try:
            while self._rung:
                message = b"".join(found.bytes for found in self._rung)
                self._rung.clear()
                await self._client.publish(CHANNEL, message)
        except kit_redis.ERRORS:
            self._rung.clear()

    def _listen(self) -> None:
        if self._listener is None or self._listener.done():
            self._listener = asyncio.create_task(self._hear(), name="responses-bell-listen")

    async def _hear(self) -> None:
        client = kit_redis.async_client("bus", socket_timeout_s=_SILENCE_S)
        try:
            async with client.pubsub(ignore_subscribe_messages=True) as pubsub:
                await pubsub.subscribe(CHANNEL)
                await self._receive(pubsub)
        except kit_redis.ERRORS:
            await asyncio.sleep(POLL_S)  # the next who waits tries again
        finally:
            with suppress(*kit_redis.ERRORS):
                await client.aclose()

    async def _receive(self, pubsub: redis.asyncio.client.PubSub) -> None:
        loop = asyncio.get_running_loop()
        needed_at = loop.time()
        while loop.time() - needed_at < _IDLE_S:
            message = await pubsub.get_message(timeout=1.0)
            if self._waiting:
                needed_at = loop.time()
            if message is not None:
                self._wake(message["data"])

    def _wake(self, data: bytes) -> None:
        for begin in range(0, len(data) - 15, 16):
            for woken in self._waiting.get(UUID(bytes=data[begin : begin + 16]), ()):
                woken.set()


_bells: WeakKeyDictionary[asyncio.AbstractEventLoop, Bell] = WeakKeyDictionary()


def here() -> Bell:
    """The bell of the running loop."""
    return _bells.setdefault(asyncio.get_running_loop(), Bell())
