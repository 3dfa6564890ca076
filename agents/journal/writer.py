"""The journal's writing side: one writer per worker process, for all of its runs.

Every 8 ms what is new goes to Redis in one pipelined trip (an entry per run's tail, one message per
web process); every 250 ms, and whenever a step waits for it, to PostgreSQL in one statement.
Without Redis only liveness is lost. Without PostgreSQL entries wait here until the owner of the
runs, which cannot renew its leases either, gives up and closes their logs.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from uuid import UUID

import msgspec
import structlog
from django.conf import settings

from agents.errors import StaleLease
from agents.journal import hub, store, tail
from agents.journal.entries import Entry
from agents.journal.log import RunLog
from ideplatform.kit import redis
from ideplatform.kit.db import run_db_first
from ideplatform.kit.errors import DatabaseDown
from ideplatform.observability import metrics

log = structlog.get_logger(__name__)

RETRY_S = 0.2
REDIS_PAUSE_S = 1.0
WATCHERS_S = 10.0
FENCES_BACK = 5
MAX_UNSAVED = 20_000
"""Entries that may wait for the database, over all runs; beyond it appending waits."""

_pack = msgspec.msgpack.Encoder().encode


class Writer:
    """Owns the logs of the runs of one process. Lives on one event loop."""

    def __init__(self) -> None:
        self._logs: dict[UUID, RunLog] = {}
        self._redis = redis.async_client("tail")
        self._sending = asyncio.Lock()
        self._fresh = asyncio.Event()
        self._urgent = asyncio.Event()
        self._due = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._waiters: list[asyncio.Future[None]] = []
        self._rewatch: set[UUID] = set()
        self._watched_at = time.monotonic()
        self._redis_back_at = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begin to send and to store."""
        self._tasks = [
            asyncio.create_task(self._send_loop(), name="journal-send"),
            asyncio.create_task(self._store_loop(), name="journal-store"),
        ]

    async def close(self) -> None:
        """Store what is left, once, and end."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._send()
        with suppress(DatabaseDown):
            await self._store_all()
        await self._redis.aclose()

    def open(self, run_id: UUID, *, fence: int, last_seq: int) -> RunLog:
        """The log of a run that this process has just taken."""
        opened = RunLog(run_id=run_id, fence=fence, last_seq=last_seq, wake=self._wake)
        self._logs[run_id] = opened
        self.rewatch(run_id)
        return opened

    def forget(self, opened: RunLog) -> None:
        """The run is no longer ours; what was not stored is dropped."""
        opened.close()
        if self._logs.get(opened.run_id) is opened:
            del self._logs[opened.run_id]

    def rewatch(self, run_id: UUID) -> None:
        """Somebody began to follow the run: learn who before the next sending."""
        if run_id in self._logs:
            self._rewatch.add(run_id)
            self._wake(True)

    async def sent(self, opened: RunLog) -> None:
        """Wait until everything appended so far outlives this process: in the tail, or stored.

        Raises StaleLease if it had to be stored and is refused.
        """
        if not await self._send():
            await self.flush(opened)

    async def flush(self, opened: RunLog) -> None:
        """Wait until everything appended so far is stored; raises StaleLease if it is refused."""
        if opened.unsaved or opened.is_storing:
            stored = asyncio.get_running_loop().create_future()
            self._waiters.append(stored)
            self._due.set()
            await stored
        if opened.is_stale:
            raise StaleLease

    @property
    def has_room(self) -> bool:
        """Whether more entries may wait for the database."""
        return self._room.is_set()

    async def room(self) -> None:
        """Wait while too many entries wait for the database."""
        await self._room.wait()

    async def salvage(self, opened: RunLog, *, former_fence: int) -> None:
        """Store what a former owner had sent and not stored: clients have seen it.

        Without Redis there is nothing to salvage; who saw more is told to rewind.
        """
        for fence in range(former_fence, max(0, former_fence - FENCES_BACK), -1):
            try:
                left = await tail.read(self._redis, opened.run_id, fence=fence, after=opened.seq)
            except redis.ERRORS:
                return
            if left:
                opened.adopt(left)
                await self.flush(opened)
                return

    async def publish(self, opened: RunLog, entry: Entry) -> None:
        """Send an entry that is already stored: the end of a run."""
        opened.fresh.append(entry)
        await self._send()

    def _wake(self, is_urgent: bool) -> None:
        self._fresh.set()
        if is_urgent:
            self._urgent.set()

    async def _send_loop(self) -> None:
        while True:
            await self._fresh.wait()
            with suppress(TimeoutError):
                async with asyncio.timeout(settings.ENV.journal_flush_ms / 1000):
                    await self._urgent.wait()
            self._fresh.clear()
            self._urgent.clear()
            try:
                await self._send()
            except Exception:  # the stream must go on; PostgreSQL has every entry
                log.exception("journal.send_failed")

    async def _send(self) -> bool:
        """One sending at a time: the tail's ids must grow. Whether Redis had everything."""
        async with self._sending:
            return await self._send_fresh()

    async def _send_fresh(self) -> bool:
        fresh = [(opened, opened.take_fresh()) for opened in self._logs.values() if opened.fresh]
        for _, taken in fresh:
            hub.deliver_here(taken)
        if time.monotonic() < self._redis_back_at:
            return False
        try:
            await self._learn_watchers()
            await self._send_to_redis(fresh)
        except redis.ERRORS as lost:
            self._redis_back_at = time.monotonic() + REDIS_PAUSE_S
            log.warning("journal.tail_lost", error=type(lost).__name__)
            return False
        _observe("tail", fresh)
        return True

    async def _send_to_redis(self, fresh: list[tuple[RunLog, list[Entry]]]) -> None:
        if not fresh:
            return
        by_hub: dict[bytes, list[tuple[bytes, int, int, bytes]]] = {}
        pipeline = self._redis.pipeline(transaction=False)
        for opened, taken in fresh:
            tail.add(pipeline, opened.run_id, taken)
            message = [(e.run_id.bytes, e.fence, e.seq, e.wire()) for e in taken]
            for watcher in opened.watchers - hub.local_ids():
                by_hub.setdefault(watcher, []).extend(message)
        for watcher, messages in by_hub.items():
            pipeline.publish(tail.live_channel(watcher), _pack(messages))
        await pipeline.execute(raise_on_error=False)

    async def _learn_watchers(self) -> None:
        """Ask who follows; greet the new ones, so that they know from where on they hear."""
        now = time.monotonic()
        if now - self._watched_at > WATCHERS_S:
            self._watched_at = now
            self._rewatch.update(self._logs)
        asked = [self._logs[run_id] for run_id in self._rewatch if run_id in self._logs]
        self._rewatch.clear()
        if not asked:
            return
        pipeline = self._redis.pipeline(transaction=False)
        for opened in asked:
            pipeline.smembers(tail.watchers_key(opened.run_id))
            pipeline.expire(redis.tail_key(opened.run_id), tail.KEPT_S)
        answers = await pipeline.execute()
        greetings = self._redis.pipeline(transaction=False)
        for opened, members in zip(asked, answers[::2], strict=True):
            greeting = _pack([(opened.run_id.bytes, opened.fence, opened.seq, b"")])
            for watcher in members - opened.watchers - hub.local_ids():
                greetings.publish(tail.live_channel(watcher), greeting)
            opened.watchers = frozenset(members)
        await greetings.execute()

    async def _store_loop(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(settings.ENV.journal_persist_ms / 1000):
                    await self._due.wait()
            self._due.clear()
            try:
                await self._store_all()
            except DatabaseDown:
                self._due.set()
                await asyncio.sleep(RETRY_S)
            except Exception:  # a fault of ours must not end the loop that all runs share
                log.exception("journal.store_failed")
                await asyncio.sleep(RETRY_S)

    async def _store_all(self) -> None:
        waiters, self._waiters = self._waiters, []
        taken = [(o, o.take_unsaved()) for o in self._logs.values() if o.unsaved]
        for opened, _ in taken:
            opened.is_storing = True
        try:
            await self._store(taken)
        except BaseException:
            for opened, rows in taken:
                opened.unsaved[:0] = rows
            self._waiters[:0] = waiters
            self._limit_unsaved()
            raise
        finally:
            for opened, _ in taken:
                opened.is_storing = False
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        self._room.set()

    async def _store(self, taken: list[tuple[RunLog, list[Entry]]]) -> None:
        batches = [
            store.Batch(run_id=opened.run_id, fence=opened.fence, entries=rows)
            for opened, rows in taken
            if not opened.is_stale
        ]
        if not batches:
            return
        refused = await run_db_first(store.append, batches)
        for opened, _ in taken:
            if opened.run_id in refused:
                opened.is_stale = True
                metrics.stale_appends_refused_total.inc()
                log.warning("append.refused", run_id=str(opened.run_id), fence=opened.fence)
        _observe("committed", taken)

    def _limit_unsaved(self) -> None:
        if sum(len(opened.unsaved) for opened in self._logs.values()) > MAX_UNSAVED:
            self._room.clear()


def _observe(hop: str, sent: list[tuple[RunLog, list[Entry]]]) -> None:
    now = time.time()
    for _, rows in sent:
        lag = metrics.run_journal_lag_seconds.labels(hop=hop)
        lag.observe(max(0.0, now - rows[0].at.timestamp()))
