"""Renews the leases of this loop's running calls; one statement every ten seconds for all.

A renewal that fails is tried again at the next turn: the lease outlives two of them, and a call
whose lease ends is settled by the sweep, once, whoever comes first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import structlog
from django.db import DatabaseError

from ideplatform.kit.db import run_db
from ideplatform.kit.errors import PlatformError
from providers.services import calls, estimation
from providers.services.calls import Progress

log = structlog.get_logger(__name__)


class _Keeper:
    """The running calls of one event loop; its task lives while there are any."""

    def __init__(self) -> None:
        self.by_id: dict[int, Progress] = {}
        self.task: asyncio.Task[None] | None = None

    def add(self, progress: Progress) -> None:
        self.by_id[id(progress)] = progress
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self._run(), name="provider-call-leases")

    def remove(self, progress: Progress) -> None:
        del self.by_id[id(progress)]

    async def _run(self) -> None:
        while self.by_id:
            await asyncio.sleep(calls.RENEW_S)
            await self._turn()

    async def _turn(self) -> None:
        try:
            if self.by_id:
                await run_db(calls.renew, list(self.by_id.values()))
            await run_db(estimation.flush)
        except (DatabaseError, PlatformError) as lost:
            log.warning("provider_calls.renewal_failed", error=type(lost).__name__)


_keepers: WeakKeyDictionary[asyncio.AbstractEventLoop, _Keeper] = WeakKeyDictionary()


@contextmanager
def held(progress: Progress) -> Iterator[None]:
    """The call of `progress` is running while the block does."""
    keeper = _keepers.setdefault(asyncio.get_running_loop(), _Keeper())
    keeper.add(progress)
    try:
        yield
    finally:
        keeper.remove(progress)
