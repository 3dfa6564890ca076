"""Settlements in tasks of their own: begun once, finished whatever happens to who waits.

While the database is away they are tried again; what is still open when the process dies is left
to the sweep.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final, TypeVar
from uuid import UUID

import structlog

from billing.services import holds
from billing.types import ProviderCallRecord, Settlement
from ideplatform.kit.db import run_db
from ideplatform.kit.errors import Unavailable
from ideplatform.kit.failpoints import ahit
from providers.services import calls, health
from providers.services.health import Verdict

log = structlog.get_logger(__name__)

R = TypeVar("R")
MAX_OPEN: Final = 10_000
TRY_FOR_S: Final = 600
WAIT_S: Final = 5  # how long a consumer waits for its price while the database is away

_open: set[asyncio.Task[Settlement | None] | asyncio.Task[None]] = set()


def begin(record: ProviderCallRecord, verdicts: list[Verdict]) -> asyncio.Task[Settlement | None]:
    """Start settling a call and writing what it showed of its provider's health."""
    task = asyncio.create_task(_settle(record, verdicts), name="provider-call-settlement")
    _open.add(task)
    task.add_done_callback(_open.discard)
    return task


def withdraw(hold_id: UUID) -> None:
    """Give back what was reserved for a call that is not sent after all."""
    task = asyncio.create_task(_withdraw(hold_id), name="provider-call-withdrawal")
    _open.add(task)
    task.add_done_callback(_open.discard)


async def _withdraw(hold_id: UUID) -> None:
    try:
        await _persistently(partial(run_db, holds.void_many, [hold_id]))
    except Unavailable:
        log.error("provider_call.withdrawal_left", hold_id=str(hold_id))


async def price(task: asyncio.Task[Settlement | None]) -> Settlement | None:
    """The settlement once it is committed, or None when the database takes too long."""
    try:
        return await asyncio.wait_for(asyncio.shield(task), WAIT_S)
    except TimeoutError:
        return None


async def finished(*, within_s: float) -> bool:
    """Wait for every settlement of this loop; whether all were done (for a worker that leaves)."""
    loop = asyncio.get_running_loop()
    mine = [task for task in _open if task.get_loop() is loop]
    if not mine:
        return True
    _, pending = await asyncio.wait(mine, timeout=within_s)
    return not pending


async def _settle(record: ProviderCallRecord, verdicts: list[Verdict]) -> Settlement | None:
    await ahit("before_settle")
    try:
        settlement = await _persistently(partial(calls.settle, record))
    except Unavailable:
        log.error("provider_call.settlement_left", request_id=str(record.request_id))
        return None
    await ahit("after_settle")
    if verdicts:
        await run_db(health.save, verdicts)
    return settlement


async def _persistently(work: Callable[[], Awaitable[R]]) -> R:
    """What `work` answers, asked again while the database is away; raises Unavailable at last."""
    give_up_at = time.monotonic() + TRY_FOR_S
    pause_s = 0.1
    while True:
        try:
            return await work()
        except Unavailable:
            if time.monotonic() > give_up_at or len(_open) > MAX_OPEN:
                raise
        await asyncio.sleep(pause_s * random.uniform(0.5, 1))
        pause_s = min(pause_s * 2, 2)
