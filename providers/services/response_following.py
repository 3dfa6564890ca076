"""Following a stored response: what PostgreSQL has, then what comes; each event once, in order.

In the process that answers, events come from its memory as soon as they are made; elsewhere from
PostgreSQL when the bell rings. Whose process died gets a last event from the sweep: a client that
had already seen later numbers than were stored gets it under the number it waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from uuid import UUID

from ideplatform.kit.db import run_db
from ideplatform.kit.errors import DatabaseDown
from providers.services import (
    response_bell,
    response_events,
    response_log,
    response_recording,
    stored_responses,
)
from providers.services.response_log import Head


async def follow(response_id: UUID, *, starting_after: int = -1) -> AsyncGenerator[bytes]:
    """The events beyond a number until the last one; ends at once when there is no response."""
    follower = _Follower(response_id, starting_after)
    async for event in follower.events():
        yield event


async def ended(response_id: UUID, *, within_s: float) -> bool:
    """Wait until the response has ended, for so long; whether it has."""
    woken = asyncio.Event()
    try:
        async with asyncio.timeout(within_s):
            while True:
                head = (await run_db(response_log.read, response_id, after=-1, limit=0)).head
                if head is None or head.is_over:
                    return True
                await response_bell.here().wait(response_id, woken)
    except TimeoutError:
        return False


class _Follower:
    def __init__(self, response_id: UUID, cursor: int) -> None:
        self._id = response_id
        self._cursor = self._start = cursor
        self._is_over = False
        self._woken = asyncio.Event()

    async def events(self) -> AsyncGenerator[bytes]:
        while not self._is_over:
            for event in self._live():
                self._cursor += 1
                yield event
            async for event in self._stored():
                yield event
            if not self._is_over:
                await self._wait()

    def _live(self) -> list[bytes]:
        running = response_recording.find(self._id)
        return (running.after(self._cursor) if running is not None else None) or []

    async def _stored(self) -> AsyncGenerator[bytes]:
        """What PostgreSQL has beyond the cursor, as long as memory has not what comes next."""
        while not (self._is_over or self._live()):
            try:
                stretch = await run_db(response_log.read, self._id, after=self._cursor)
            except DatabaseDown:
                return
            for number, data in stretch.events:
                if number == self._cursor + 1:
                    self._cursor = number
                    yield data
            if len(stretch.events) == response_log.CHUNK_ROWS:
                continue
            async for event in self._judged(stretch.head):
                yield event
            return

    async def _judged(self, head: Head | None) -> AsyncGenerator[bytes]:
        """Whether there is more to come."""
        if head is None:
            self._is_over = True
        elif head.is_over and self._cursor >= head.last_sequence:
            self._is_over = True
            if head.is_lost and self._start >= head.last_sequence:
                yield await self._last(head.last_sequence)
        elif head.is_abandoned and not head.is_over:
            await run_db(stored_responses.fail_abandoned, [self._id])
            self._woken.set()
        elif head.is_over:
            self._woken.set()  # its last events came while we read

    async def _last(self, number: int) -> bytes:
        stretch = await run_db(response_log.read, self._id, after=number - 1, limit=1)
        return response_events.renumbered(stretch.events[0][1], self._cursor + 1)

    async def _wait(self) -> None:
        if self._woken.is_set():
            self._woken.clear()
            return
        running = response_recording.find(self._id)
        if running is not None:
            running.followers.add(self._woken)
        try:
            if not self._live():
                await response_bell.here().wait(self._id, self._woken)
        finally:
            if running is not None:
                running.followers.discard(self._woken)
