"""What reserving and settling calls costs, against the bare ORM insert of as many events.

Ours reserves the money of a call, marks it dispatched, prices it, posts a balanced transaction,
burns lots of credit, ends the hold and publishes a fact. The floor inserts the priced row alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from decimal import Decimal
from functools import partial
from itertools import cycle, islice
from typing import Any

import bench.environment
from accounts.models import Organization
from accounts.types import OrganizationKind
from bench import ground
from bench.harness import Report, turns
from billing.models import UsageEvent
from billing.services import batching, customers, holds, prices, usage
from billing.services.batching import Asked
from billing.types import Held, Reservation, Settlement
from ideplatform.kit import ids
from ideplatform.kit.db import run_db
from tests.billing.calls import a_call
from tests.billing.funds import a_reservation, give, the_call

CALLERS = 64
EACH = 8
WALLETS = 1_000
CREDIT = Decimal(1_000_000)


def _organizations(count: int) -> list[Organization]:
    """Customers with money, made in bulk."""
    rows = Organization.objects.bulk_create(
        Organization(name="Bench", slug=f"bench-{n}", kind=OrganizationKind.TEAM)
        for n in range(count)
    )
    customers.ensure(row.pk for row in rows)
    for row in rows:
        give(row, CREDIT)
    return rows


def _a_priced_row(organization: Organization) -> dict[str, Any]:
    settled = usage.settle(a_call(organization))
    row = UsageEvent.objects.filter(pk=settled.event_id).values().get()
    return {name: value for name, value in row.items() if name != "created_at"}


def _created_per_s(row: dict[str, Any], *, count: int) -> float:
    events = [
        row | {"id": ids.new(), "request_id": ids.new(), "txn_id": None} for _ in range(count)
    ]
    began = time.perf_counter()
    for event in events:
        UsageEvent.objects.create(**event)
    return count / (time.perf_counter() - began)


Reserve = Callable[[Reservation], Awaitable[Held]]
Settle = Callable[[Reservation], Awaitable[Settlement]]


async def _reserve(call: Reservation) -> Held:
    asked = Asked(hold_id=call.hold_id, organization_id=call.organization_id, quote=lambda _: call)
    return await batching.reserve(asked)


async def _settle(call: Reservation) -> Settlement:
    return await batching.settle(the_call(call))


async def _reserve_alone(call: Reservation) -> Held:
    return await run_db(_quote_and_reserve, call)


def _quote_and_reserve(call: Reservation) -> Held:
    """What a batch does once: look which prices hold, then reserve."""
    prices.tariff()
    return holds.reserve(call)


async def _settle_alone(call: Reservation) -> Settlement:
    return await run_db(usage.settle, the_call(call))


def _paid_per_s(
    organizations: Sequence[Organization],
    reserve: Reserve,
    settle: Settle,
    *,
    callers: int = CALLERS,
    each: int = EACH,
) -> float:
    """Calls reserved and settled per second by callers who make theirs one after the other."""
    payers = islice(cycle(organizations), callers * each)
    calls = [a_reservation(payer, "0.01") for payer in payers]
    return asyncio.run(_measured([calls[n::callers] for n in range(callers)], reserve, settle))


async def _measured(
    shares: Sequence[Sequence[Reservation]], reserve: Reserve, settle: Settle
) -> float:
    async def caller(calls: Sequence[Reservation]) -> None:
        for call in calls:
            await reserve(call)
            await settle(call)

    began = time.perf_counter()
    await asyncio.gather(*(caller(calls) for calls in shares))
    return sum(map(len, shares)) / (time.perf_counter() - began)


def main() -> None:
    bench.environment.measure_here()
    report = Report("money")
    ground.prepare()
    many = _organizations(WALLETS)
    floor = partial(_created_per_s, _a_priced_row(many[0]), count=CALLERS)
    spread = partial(_paid_per_s, many, _reserve, _settle)
    hot = partial(_paid_per_s, many[:1], _reserve, _settle)
    alone = partial(_paid_per_s, many, _reserve_alone, _settle_alone, each=2)
    report.add(
        f"{CALLERS} callers, {WALLETS} wallets / create()",
        turns(floor, spread),
        unit="calls/s",
        bound="at least",
        target=0.15,
    )
    report.add(
        "one hot wallet / a thousand",
        turns(spread, hot),
        unit="calls/s",
        bound="at least",
        target=0.9,
    )
    report.add(
        f"{CALLERS} callers in batches / each alone",
        turns(alone, spread),
        unit="calls/s",
        bound="at least",
        target=3,
    )
    report.add(
        "one caller in batches / alone",
        turns(
            partial(_paid_per_s, many, _reserve_alone, _settle_alone, callers=1, each=64),
            partial(_paid_per_s, many, _reserve, _settle, callers=1, each=64),
        ),
        unit="calls/s",
    )
    report.finish()


if __name__ == "__main__":
    main()
