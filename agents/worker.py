"""One event loop per worker process: it owns leases, executes runs and writes their journal.

A Celery task is a thin thread that parks on a coroutine here. Every 3 s one statement renews all
leases; without success for 80 % of a lease's life the process stops its runs itself, before anyone
else can take them. Every 2 s it looks for runs that lost their owner. Commands come by a bell, or
by a look every 500 ms.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import socket
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from uuid import UUID

import structlog
import uvloop
from django.conf import settings
from django.db import DatabaseError

from agents import runtime, selectors
from agents.journal import Writer, tail
from agents.services import leases
from agents.session import Handle, StopReason
from ideplatform.kit import egress, ids, redis
from ideplatform.kit.db import run_db, run_db_first
from ideplatform.kit.errors import DatabaseDown
from ideplatform.kit.failpoints import ahit
from ideplatform.observability import health, metrics
from ideplatform.observability.loops import watch as watch_loop

log = structlog.get_logger(__name__)

COMMANDS_S = 0.5
WATCHDOG_S = 0.25
LOOP_NAME = "leases"
ALIVE_WITHIN_S = 30
HAND_OVER_S = 20
BELL_TIMEOUT_S = 5.0
START_S = 10


class Worker:
    """Owns runs. Start it once per process; tests start several."""

    def __init__(self) -> None:
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{ids.new().hex[-8:]}"
        self._handles: dict[UUID, Handle] = {}
        self._renewed_at = time.monotonic()
        self._is_draining = False
        self._loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
        self._started = threading.Event()
        self._ending: asyncio.Event | None = None
        self._writer: Writer | None = None
        self._thread = threading.Thread(target=self._turn, name="agents-loop", daemon=True)

    def start(self) -> None:
        """Begin to look for work; returns when the loop turns."""
        self._thread.start()
        if not self._started.wait(START_S):
            raise RuntimeError("the agents loop did not start")

    def submit(self, run_id: UUID) -> concurrent.futures.Future[None]:
        """Take the run, if it is to be had, and execute it; done when it ended or left us."""
        return asyncio.run_coroutine_threadsafe(self._take(run_id), self._loop)

    def drain(self) -> None:
        """Take nothing more; runs stop at their next step, or after 20 s, and are given back."""
        self._loop.call_soon_threadsafe(self._drain)

    def stop(self) -> None:
        """End at once: runs are abandoned to their leases, as if the process had died politely."""
        if self._thread.is_alive() and self._ending is not None:
            self._loop.call_soon_threadsafe(self._ending.set)
            self._thread.join(START_S)

    @property
    def is_draining(self) -> bool:
        return self._is_draining

    def owned(self) -> int:
        """How many runs execute here."""
        return len(self._handles)

    def _turn(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_until_complete(self._main())
        finally:
            self._loop.close()

    async def _main(self) -> None:
        self._ending = asyncio.Event()
        self._writer = Writer()
        self._writer.start()
        loops = [
            asyncio.create_task(_every(pause, work), name=work.__name__)
            for pause, work in (
                (settings.ENV.run_heartbeat_s, self._renew),
                (settings.ENV.run_reap_s, self._reap),
                (COMMANDS_S, self._look_for_commands),
                (WATCHDOG_S, self._watch),
            )
        ]
        loops.append(asyncio.create_task(self._listen(), name="bell"))
        loops.append(asyncio.create_task(watch_loop("agents"), name="loop-lag"))
        self._started.set()
        await self._ending.wait()
        for handle in list(self._handles.values()):
            handle.stop(StopReason.LOST)
        for task in loops:
            task.cancel()
        await asyncio.gather(*loops, return_exceptions=True)
        await self._writer.close()
        health.forget(LOOP_NAME)
        await egress.aclose_all()

    async def _take(self, run_id: UUID) -> None:
        await ahit("dequeued")
        if self._is_draining or run_id in self._handles:
            return
        try:
            taken = await run_db(leases.take, run_id=run_id, owner=self.owner)
        except DatabaseDown:
            return  # the run stays queued; the reaper tells of it again
        if taken is None or self._writer is None:
            return
        if not self._handles:
            self._renewed_at = time.monotonic()
        handle = Handle(run_id=run_id, fence=taken.run.fence, task=asyncio.current_task())
        self._handles[run_id] = handle
        metrics.runs_active.labels(state="running").set(len(self._handles))
        with structlog.contextvars.bound_contextvars(run_id=str(run_id)):
            try:
                await runtime.execute(taken, handle=handle, writer=self._writer)
            finally:
                self._handles.pop(run_id, None)
                metrics.runs_active.labels(state="running").set(len(self._handles))

    async def _renew(self) -> None:
        """One statement for all leases; what it does not return is no longer ours."""
        fences = {handle.run_id: handle.fence for handle in self._handles.values()}
        asked_at = time.monotonic()
        kept: set[UUID] = set()
        if fences:
            kept = await run_db_first(leases.renew, owner=self.owner, fences=fences)
        self._renewed_at = asked_at
        for run_id, fence in fences.items():
            handle = self._handles.get(run_id)
            if run_id in kept or handle is None or handle.fence != fence:
                continue
            if not handle.is_ending:  # an end gives the lease up, and is refused if it was lost
                handle.stop(StopReason.LOST)

    async def _watch(self) -> None:
        """Stop ourselves before a lease that we could not renew can be taken by another."""
        health.moved(LOOP_NAME, within_s=ALIVE_WITHIN_S)
        if self._handles and time.monotonic() - self._renewed_at > self._grace_s():
            for handle in list(self._handles.values()):
                handle.stop(StopReason.LOST)

    def _grace_s(self) -> float:
        return 0.8 * float(settings.ENV.run_lease_s)

    async def _reap(self) -> None:
        if not self._is_draining:
            await run_db(leases.reap)

    async def _look_for_commands(self) -> None:
        if self._handles:
            await self._obey(await run_db_first(selectors.cancelled_among, list(self._handles)))

    async def _obey(self, cancelled: set[UUID]) -> None:
        for run_id in cancelled:
            handle = self._handles.get(run_id)
            if handle is not None:
                handle.stop(StopReason.CANCELLED)

    async def _listen(self) -> None:
        """The bell: a command waits, or somebody began to follow."""
        while True:
            client = redis.async_client("bus", socket_timeout_s=2 * BELL_TIMEOUT_S)
            try:
                async with client.pubsub(ignore_subscribe_messages=True) as pubsub:
                    await pubsub.subscribe(tail.BELL)
                    while True:
                        message = await pubsub.get_message(timeout=BELL_TIMEOUT_S)
                        if message is not None:
                            await self._rung(message["data"])
            except (*redis.ERRORS, DatabaseDown):
                await asyncio.sleep(COMMANDS_S)
            finally:
                with suppress(*redis.ERRORS):
                    await client.aclose()

    async def _rung(self, data: bytes) -> None:
        if len(data) != 17 or self._writer is None:
            return
        run_id = UUID(bytes=data[1:])
        if data[:1] == b"w":
            self._writer.rewatch(run_id)
        elif run_id in self._handles:
            await self._obey(await run_db_first(selectors.cancelled_among, [run_id]))

    def _drain(self) -> None:
        self._is_draining = True
        for handle in self._handles.values():
            handle.is_draining = True
        self._loop.call_later(HAND_OVER_S, self._hand_over_all)

    def _hand_over_all(self) -> None:
        for handle in list(self._handles.values()):
            handle.stop(StopReason.HANDED_OVER)


async def _every(pause_s: float, work: Callable[[], Coroutine[None, None, None]]) -> None:
    """Do something again and again; a lost database is waited for."""
    while True:
        try:
            await work()
        except (DatabaseDown, DatabaseError) as lost:
            log.warning("worker.database_lost", work=work.__name__, error=type(lost).__name__)
        except Exception:  # the loop that renews leases must outlive any fault
            log.exception("worker.loop_failed", work=work.__name__)
        await asyncio.sleep(pause_s)


_lock = threading.Lock()
_current: list[Worker] = []


def current() -> Worker:
    """The process's worker; the first call starts it."""
    with _lock:
        if not _current:
            _current.append(Worker())
            _current[0].start()
        return _current[0]


def drain() -> None:
    """Give back what this process executes; see `Worker.drain`."""
    for worker in _current:
        worker.drain()


def stop() -> None:
    """End the process's worker; the next call of `current` starts another."""
    with _lock:
        for worker in _current:
            worker.stop()
        _current.clear()
