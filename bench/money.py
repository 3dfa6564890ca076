"""What reserving and settling calls costs, against the bare ORM insert of as many events.

Ours reserves the money of a call, marks it dispatched, prices it, posts a balanced transaction,
burns lots of credit, ends the hold and publishes a fact. The floor inserts the priced row alone.
"""

from __future__ import annotations

import time
from decimal import Decimal
from functools import partial
from typing import Any

import bench.environment
from accounts.models import Organization
from accounts.types import OrganizationKind
from bench import ground
from bench.harness import Report, turns
from billing.models import UsageEvent
from billing.services import customers, holds, usage
from billing.types import Held, Settlement
from ideplatform.kit import ids
from tests.billing.calls import a_call
from tests.billing.funds import a_reservation, give, the_call

BATCH = 64
BATCHES = 8
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


def _paid_per_s(organizations: list[Organization], *, batch: int, batches: int) -> float:
    """Calls reserved and settled per second, `batch` at a time."""
    chosen = iter(range(batch * batches))
    prepared = [
        [a_reservation(organizations[next(chosen) % len(organizations)], "0.01")
         for _ in range(batch)]
        for _ in range(batches)
    ]  # fmt: skip
    began = time.perf_counter()
    for calls in prepared:
        held = holds.reserve_many(calls)
        settled = usage.settle_many([the_call(call) for call in calls])
        if not all(isinstance(one, Held) for one in held):
            raise AssertionError("a call was refused")
        if not all(isinstance(one, Settlement) for one in settled):
            raise AssertionError("a call was not settled")
    return batch * batches / (time.perf_counter() - began)


def main() -> None:
    bench.environment.measure_here()
    report = Report("money")
    ground.prepare()
    many = _organizations(WALLETS)
    floor = partial(_created_per_s, _a_priced_row(many[0]), count=BATCH)
    spread = partial(_paid_per_s, many, batch=BATCH, batches=BATCHES)
    hot = partial(_paid_per_s, many[:1], batch=BATCH, batches=BATCHES)
    alone = partial(_paid_per_s, many, batch=1, batches=BATCH)
    report.add(
        f"reserve and settle, {BATCH} of {WALLETS} wallets / create()",
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
        f"{BATCH} together / one by one",
        turns(alone, spread),
        unit="calls/s",
        bound="at least",
        target=3,
    )
    report.finish()


if __name__ == "__main__":
    main()
