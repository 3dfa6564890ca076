"""Writes the events of this loop's running responses to PostgreSQL, all of them in one statement.

Events stand there 100 ms after they were made, at most 250; the last one before anybody sees it
(`flush`). Every response has a lease that its writing renews, at least every 5 s. While PostgreSQL
is away events are kept, up to 16 MiB a response, and tried again; then the response ends.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final
from uuid import UUID
from weakref import WeakKeyDictionary

import structlog
from django.db import DatabaseError, DataError, IntegrityError, ProgrammingError

from ideplatform.kit.db import run_db_first
from ideplatform.kit.errors import DatabaseDown, PlatformError
from providers.errors import ResponseAbandoned
from providers.services import response_bell, response_log
from providers.services.response_events import Event
from providers.services.response_log import Batch

log = structlog.get_logger(__name__)

LINGER_S: Final = 0.1
RENEW_S: Final = 5.0
LOOK_S: Final = 1.0
FLUSH_S: Final = 5.0
MAX_PENDING_BYTES: Final = 16 * 1024 * 1024


class Running:
    """One response that this process answers.

    `on_stop` is called once when it is to end before its time: somebody cancelled or deleted it,
    or another process took it for dead (`is_abandoned`).
    """

    def __init__(
        self, response_id: UUID, token: UUID, on_stop: Callable[[], None], keeper: Keeper
    ) -> None:
        self.id = response_id
        self.token = token
        self.count = 0
        self.is_abandoned = False
        self.is_stopped = False
        self.has_ended = False
        self.renewed_at = asyncio.get_running_loop().time()
        self.followers: set[asyncio.Event] = set()
        self._on_stop = on_stop
        self._keeper = keeper
        self._pending: deque[Event] = deque()
        self._size = 0
        self._moved = asyncio.Event()

    @property
    def first(self) -> int:
        """The number of the first event that is not stored yet."""
        return self.count - len(self._pending)

    def add(self, event: Event) -> None:
        """The next event, soon to be stored.

        Raises ResponseAbandoned; DatabaseDown when too much waits for PostgreSQL.
        """
        if self.is_abandoned:
            raise ResponseAbandoned
        self._size += len(event.data)
        if self._size > MAX_PENDING_BYTES:
            raise DatabaseDown(retry_after_s=2)
        self._pending.append(event)
        self.count += 1
        self.has_ended = event.ended is not None
        self._keeper.expect()
        self._wake()

    def after(self, number: int) -> list[bytes] | None:
        """Events beyond a number that are not stored yet; None when some of them are.

        The last event is not among them: nobody sees it before it is stored.
        """
        if number + 1 < self.first:
            return None
        waiting = list(self._pending)[number + 1 - self.first :]
        return [event.data for event in waiting if event.ended is None]

    async def flush(self) -> None:
        """Wait until all events are stored.

        Raises ResponseAbandoned; DatabaseDown after 5 s.
        """
        target = self.count
        try:
            async with asyncio.timeout(FLUSH_S):
                while self.first < target:
                    if self.is_abandoned:
                        raise ResponseAbandoned
                    self._keeper.hurry()
                    self._moved.clear()
                    await self._moved.wait()
        except TimeoutError:
            raise DatabaseDown(retry_after_s=2) from None

    def stop(self) -> None:
        """It is to end now."""
        if not (self.is_stopped or self.has_ended):
            self.is_stopped = True
            self._on_stop()

    def abandon(self) -> None:
        """It is not ours any more: what comes is not stored."""
        self.is_abandoned = True
        self._pending.clear()
        self._size = 0
        self.stop()
        self._wake()

    def batch(self) -> Batch:
        """What waits to be stored."""
        return Batch(
            response_id=self.id, token=self.token, first=self.first, events=list(self._pending)
        )

    def stored(self, batch: Batch) -> None:
        """These events stand in PostgreSQL."""
        for _ in batch.events:
            self._size -= len(self._pending.popleft().data)
        self.renewed_at = asyncio.get_running_loop().time()
        self._wake()

    def close(self) -> None:
        """Nothing more will come: its exchange is over, whatever was stored."""
        self._keeper.remove(self)
        self._wake()

    def _wake(self) -> None:
        self._moved.set()
        for follower in self.followers:
            follower.set()


class Keeper:
    """The running responses of one event loop; its task lives while there are any."""

    def __init__(self) -> None:
        self.by_id: dict[UUID, Running] = {}
        self._task: asyncio.Task[None] | None = None
        self._due = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._looked_at = 0.0

    def add(self, running: Running) -> None:
        self.by_id[running.id] = running
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run(), name="stored-responses")

    def remove(self, running: Running) -> None:
        self.by_id.pop(running.id, None)
        if not self.by_id:
            self.hurry()

    def expect(self) -> None:
        """Something waits: store it with whatever comes in the next 100 ms."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(LINGER_S, self._due.set)

    def hurry(self) -> None:
        """Store it now."""
        self._due.set()

    async def _run(self) -> None:
        while self.by_id:
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    await self._due.wait()
            self._due.clear()
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
            if not await self._turn():
                await asyncio.sleep(LINGER_S)
                self._due.set()

    async def _turn(self) -> bool:
        """Store what waits, renew what is due, stop what was cancelled; False: try again."""
        try:
            await self._store()
            await self._look()
        except (DatabaseError, PlatformError) as lost:
            log.warning("stored_responses.writing_failed", error=type(lost).__name__)
            return False
        return True

    async def _store(self) -> None:
        now = asyncio.get_running_loop().time()
        batches = [
            running.batch()
            for running in self.by_id.values()
            if running.first < running.count or now - running.renewed_at > RENEW_S
        ]
        if not batches:
            return
        refused = await self._append(batches)
        for batch in batches:
            running = self.by_id.get(batch.response_id)
            if running is None:
                continue
            if batch.response_id in refused:
                running.abandon()
            else:
                running.stored(batch)
        response_bell.here().ring(batch.response_id for batch in batches if batch.events)

    async def _append(self, batches: list[Batch]) -> set[UUID]:
        """One that PostgreSQL will never take must not keep the others from being stored."""
        try:
            return await run_db_first(response_log.append, batches)
        except (DataError, IntegrityError, ProgrammingError) as refusal:
            if len(batches) == 1:
                log.exception("stored_responses.refused", error=type(refusal).__name__)
                return {batches[0].response_id}
        return {found for batch in batches for found in await self._append([batch])}

    async def _look(self) -> None:
        """Once a second: whom somebody cancelled in another process."""
        now = asyncio.get_running_loop().time()
        asked = [found.id for found in self.by_id.values() if not found.is_stopped]
        if not asked or now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        for response_id in await run_db_first(response_log.cancelled, asked):
            if (running := self.by_id.get(response_id)) is not None:
                running.stop()


_keepers: WeakKeyDictionary[asyncio.AbstractEventLoop, Keeper] = WeakKeyDictionary()


def start(response_id: UUID, token: UUID, *, on_stop: Callable[[], None]) -> Running:
    """A response that `stored_responses.open_response` opened is answered here from now on."""
    keeper = _keepers.setdefault(asyncio.get_running_loop(), Keeper())
    running = Running(response_id, token, on_stop, keeper)
    keeper.add(running)
    return running


def find(response_id: UUID) -> Running | None:
    """The response, if this loop answers it."""
    keeper = _keepers.get(asyncio.get_running_loop())
    return keeper.by_id.get(response_id) if keeper is not None else None
