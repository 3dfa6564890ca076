"""A wallet that somebody else holds: what asks for it forms one batch behind the first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar
from uuid import UUID

import psycopg
from django.db import connection

from accounts.models import Organization
from billing.services import batching
from billing.services.batching import Asked
from billing.types import Held, Reservation
from ideplatform.kit.errors import PlatformError
from tests.billing.calls import usd
from tests.billing.funds import a_reservation
from tests.waiting import eventually_async

R = TypeVar("R")
THE_COST = usd("0.0014")  # of `the_call`: 1,000 tokens in at 1 USD, 200 out at 2 USD a million
_WAITING = """
SELECT pid FROM pg_stat_activity
WHERE datname = %s AND wait_event_type = 'Lock' AND query LIKE %s
"""
_WALLET = """
SELECT 1 FROM billing_ledger_accounts WHERE customer_id = %s AND kind = 'wallet' FOR UPDATE
"""


def some_calls(team: Organization, count: int, amount: str = "1") -> list[Reservation]:
    return [a_reservation(team, amount) for _ in range(count)]


def asked(call: Reservation) -> Asked:
    return Asked(hold_id=call.hold_id, organization_id=call.organization_id, quote=lambda _: call)


async def told(work: Awaitable[R]) -> R | Exception:
    """What a caller hears: an answer or an error."""
    try:
        return await work
    except Exception as fault:  # noqa: BLE001  (the test judges it)
        return fault


async def reserved(calls: Iterable[Reservation]) -> list[Held | Exception]:
    """What callers hear who ask in this order, at once."""
    return await asyncio.gather(*(told(batching.reserve(asked(call))) for call in calls))


def direct(name: str) -> psycopg.Connection:
    """A connection of nobody's pool, to the database `name`."""
    options = connection.settings_dict
    return psycopg.connect(
        host=options["HOST"],
        port=options["PORT"] or None,
        user=options["USER"],
        password=options["PASSWORD"] or None,
        dbname=name,
        autocommit=True,
    )


@asynccontextmanager
async def behind(
    database: str, team: Organization, first: Callable[[], Awaitable[R]], *, function: str
) -> AsyncIterator[asyncio.Task[R | Exception]]:
    """`first` waits in the database for the team's wallet until the block is left."""
    with direct(database) as other, other.transaction():
        other.execute(_WALLET, [team.pk])
        task = asyncio.create_task(told(first()))
        await eventually_async(lambda: _is_waiting(database, function))
        yield task


async def _is_waiting(database: str, function: str) -> bool:
    return bool(await asyncio.to_thread(waiting_backends, database, function))


def waiting_backends(database: str, function: str) -> list[int]:
    """The server processes that wait for a lock in `function`."""
    with direct("postgres") as server:
        return [pid for (pid,) in server.execute(_WAITING, [database, f"%{function}%"])]


def code_of(answer: object) -> str:
    return answer.code if isinstance(answer, PlatformError) else type(answer).__name__


def hold_of(answer: Held | Exception) -> UUID:
    assert isinstance(answer, Held)
    return answer.hold_id
