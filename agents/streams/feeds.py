"""One run on its way to one socket: paced by the client, never by the run.

The journal is the queue: whatever the client is too slow for is dropped here and read again from
PostgreSQL, so a slow or dead client costs bounded memory and the run nothing.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from uuid import UUID

from django.conf import settings

from agents import frames, journal
from agents.errors import SlowClient
from agents.journal import Entry
from ideplatform.kit import clock
from ideplatform.observability import metrics

RUNS_PER_SOCKET = 32
STALL_S = 30.0

Send = Callable[[bytes], Awaitable[None]]
_SEED_TYPES = frozenset({"delta", "attempt", "complete", "error"})


class Window:
    """How many bytes a client has not acknowledged yet; without a size, nothing is counted."""

    def __init__(self, size: int | None) -> None:
        self._size = size
        self._sent: deque[tuple[int, int]] = deque()
        self._open = 0
        self._moved = asyncio.Event()

    async def room(self) -> None:
        """Wait until the client has acknowledged enough; raises TimeoutError after 30 s."""
        while self._size is not None and self._open >= self._size:
            self._moved.clear()
            async with asyncio.timeout(STALL_S):
                await self._moved.wait()

    def sent(self, seq: int, size: int) -> None:
        if self._size is not None:
            self._sent.append((seq, size))
            self._open += size

    def acknowledge(self, seq: int) -> None:
        """The client has everything up to `seq`."""
        while self._sent and self._sent[0][0] <= seq:
            self._open -= self._sent.popleft()[1]
        self._moved.set()


class Feed:
    """Follows a run and sends its frames, until its end or until it is stopped.

    `places` are the workspace and organization whose changes of rights concern it.
    """

    def __init__(
        self,
        *,
        run_id: UUID,
        places: tuple[UUID, ...],
        after: int,
        fence: int | None,
        window: int | None,
        send: Send,
        is_seed: bool = False,
    ) -> None:
        self.run_id = run_id
        self.places = places
        self.after = after
        self._fence = fence
        self._window = Window(window)
        self._send = send
        self._is_seed = is_seed
        self._task: asyncio.Task[None] | None = None

    def start(self, ended: Callable[[Feed, BaseException | None], None]) -> None:
        """Begin; `ended` hears of the end, and of the fault if there was one."""
        self._task = asyncio.create_task(self._pump(), name=f"feed {self.run_id}")
        self._task.add_done_callback(
            lambda task: None if task.cancelled() else ended(self, task.exception())
        )

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def acknowledge(self, seq: int) -> None:
        self._window.acknowledge(seq)

    async def _pump(self) -> None:
        limit = settings.ENV.ws_queue_max_bytes // RUNS_PER_SOCKET
        followed = journal.follow(
            self.run_id, after=self.after, fence=self._fence, limit_bytes=limit
        )
        async with aclosing(followed) as items:
            async for item in items:
                try:
                    await self._deliver(item)
                except TimeoutError:
                    raise SlowClient from None

    async def _deliver(self, item: Entry | frames.ServerFrame) -> None:
        if not isinstance(item, Entry):
            if isinstance(item, frames.Rewind):
                self.after = item.to_seq
            if not self._is_seed:
                await self._sent_in_time(frames.encode(item))
            return
        if self._is_seed and item.type not in _SEED_TYPES:
            self.after = item.seq
            return
        await self._window.room()
        data = item.wire()
        self._window.sent(item.seq, len(data))
        await self._sent_in_time(data)
        self.after = item.seq
        lag_s = (clock.now() - item.at).total_seconds()
        metrics.run_journal_lag_seconds.labels(hop="socket").observe(max(0.0, lag_s))

    async def _sent_in_time(self, data: bytes) -> None:
        async with asyncio.timeout(STALL_S):
            await self._send(data)
