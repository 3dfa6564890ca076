"""What settling provider calls in batches costs, against one bare ORM `create()` per call.

The floor writes only the row, already priced. Ours prices each call from the book, refuses
repetitions, looks after purged users and workspaces, and publishes a fact per call. The calls are
of customers' own keys: what money adds is the benchmark `money`. Neither pays
for fsync, which would slow the floor more: it commits each row.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import bench.environment
from bench import ground
from bench.ground import Person
from bench.harness import Report, turns
from billing.models import UsageEvent
from billing.services import usage
from billing.types import BillingMode, ProviderCallRecord, Settlement
from ideplatform.kit import ids
from tests.billing.calls import a_call

BATCH = 200
BATCHES = 3
ROUNDS = 9


def _calls(person: Person, count: int) -> list[ProviderCallRecord]:
    return [
        a_call(
            organization_id=person.organization_id,
            workspace_id=person.workspace_id,
            user_id=person.user_id,
            run_id=ids.new(),
            billing_mode=BillingMode.BYOK,
        )
        for _ in range(count)
    ]


def _a_priced_row(person: Person) -> dict[str, Any]:
    """The columns of a settled call, to be written again under other ids."""
    settled = usage.settle(_calls(person, 1)[0])
    row = UsageEvent.objects.filter(pk=settled.event_id).values().get()
    return {name: value for name, value in row.items() if name != "created_at"}


def _created_per_s(row: dict[str, Any]) -> float:
    events = [
        row | {"id": ids.new(), "request_id": ids.new(), "run_id": ids.new()} for _ in range(BATCH)
    ]
    began = time.perf_counter()
    for event in events:
        UsageEvent.objects.create(**event)
    return BATCH / (time.perf_counter() - began)


def _settled_per_s(person: Person, *, batch: int, batches: int) -> float:
    prepared = [_calls(person, batch) for _ in range(batches)]
    began = time.perf_counter()
    answers = [answer for calls in prepared for answer in usage.settle_many(calls)]
    took_s = time.perf_counter() - began
    if not all(isinstance(answer, Settlement) for answer in answers):
        raise AssertionError("a call was not settled")
    return len(answers) / took_s


def main() -> None:
    bench.environment.measure_here()
    report = Report("ingest")
    ground.prepare()
    (person,) = ground.people(1)
    floor = partial(_created_per_s, _a_priced_row(person))
    many = partial(_settled_per_s, person, batch=BATCH, batches=BATCHES)
    report.add(
        f"settle_many({BATCH}) / create() each",
        turns(floor, many, rounds=ROUNDS),
        unit="calls/s",
        bound="at least",
        target=10,
    )
    one = partial(_settled_per_s, person, batch=1, batches=60)
    report.add("settle() / create()", turns(floor, one), unit="calls/s")
    report.finish()


if __name__ == "__main__":
    main()
