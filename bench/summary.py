"""What a month's summary costs, against summing the month's rows in the database.

The floor is the plainest exact answer: one `GROUP BY` over the events of one customer and thirty
days. Ours is the whole selector: rights, watermark, roll-ups, and the rows that they lack. Both
answers are compared to the last digit. `--full` makes ten million events.
"""

from __future__ import annotations

import argparse
import time
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from uuid import UUID

from django.db import connection, transaction

import bench.environment
from accounts.types import Actor
from bench import ground
from bench.harness import Report, turns
from billing.models import UsageEvent
from billing.selectors import summary
from billing.selectors.sums import SUMS, Totals
from billing.services import rollups, usage
from billing.windows import Window, between, zone_of
from tests.billing.calls import a_call

EVENTS = 300_000
FULL = 10_000_000
CHUNK = 250_000
TAIL = 200
START = datetime(2026, 10, 1, tzinfo=UTC)
DAYS = 30
ROUNDS = 3
MODELS, WORKSPACES, PEOPLE = 20, 50, 200
TARGET = 0.01

Key = tuple[object, ...]
Answer = dict[Key, Totals]


def _make(organization_id: UUID, count: int) -> None:
    """Events by SQL: their columns vary as calls do, their costs have twelve places."""
    columns = [field.column for field in UsageEvent._meta.concrete_fields]  # noqa: SLF001
    chosen = {
        "id": "uuidv7()",
        "request_id": "uuidv7()",
        "workspace_id": "NULL",
        "user_id": "NULL",
        "api_key_id": f"lpad(to_hex(n %% {PEOPLE}), 32, '0')::uuid",
        "agent_id": "'agent-' || n %% 5",
        "model": f"'model-' || n %% {MODELS}",
        "tokens_input": "n %% 90001",
        "tokens_output": "n %% 4001",
        "tokens_cache_read": "n %% 90001 / 2",
        "estimated_cost": "(n %% 999983) * 0.000000010007",
        "billed_cost": "(n %% 999979) * 0.000000010009",
        "occurred_at": "%(start)s::timestamptz + random() * make_interval(days => %(days)s)",
        "txn_id": "NULL",
        "hold_id": "NULL",
        "created_at": "now()",
    }
    values = ", ".join(chosen.get(name, f"e.{name}") for name in columns)
    for first in range(0, count, CHUNK):
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL transaction_timeout = 0; SET LOCAL statement_timeout = 0")
            cursor.execute(
                f"INSERT INTO usage_events ({', '.join(columns)}) SELECT {values}"
                " FROM usage_events e, generate_series(%(first)s, %(last)s) AS n"
                " WHERE e.customer_id = %(customer)s AND e.request_id = %(pattern)s",
                {
                    "start": START,
                    "days": DAYS,
                    "first": first,
                    "last": min(first + CHUNK, count) - 1,
                    "customer": organization_id,
                    "pattern": _PATTERN,
                },
            )


_PATTERN = UUID("00000000-0000-7000-8000-0000000000ff")


def _raw(organization_id: UUID, window: Window, column: str) -> Answer:
    """The month's rows, summed by PostgreSQL."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL transaction_timeout = 0; SET LOCAL statement_timeout = 0")
        cursor.execute(
            f"""
            SELECT {column}, count(*),
                count(*) FILTER (WHERE outcome IN ('provider_error', 'timeout', 'crash_recovered')),
                count(*) FILTER (WHERE estimated_cost IS NULL), sum(tokens_input),
                sum(tokens_output), sum(tokens_cache_read), sum(tokens_cache_write),
                sum(tokens_reasoning), coalesce(sum(estimated_cost), 0), sum(billed_cost),
                coalesce(sum(estimated_cost) FILTER (WHERE billing_mode = 'byok'), 0),
                sum(saved_by_cache)
            FROM usage_events
            WHERE customer_id = %s AND occurred_at >= %s AND occurred_at < %s GROUP BY 1
            """,
            [organization_id, window.start, window.end],
        )
        return {(key,): _totals(sums) for key, *sums in cursor.fetchall()}


def _totals(sums: list[Decimal | int]) -> Totals:
    amounts = [name for name in SUMS if "cost" in name or "saved" in name]
    return Totals(
        **{
            name: value if name in amounts else int(value)
            for name, value in zip(SUMS, sums, strict=True)
        }
    )


def _ours(actor: Actor, window: Window, group_by: str) -> Answer:
    found = summary(actor, window, group_by=[group_by])
    return {tuple(value for _, value in group.key): group.totals for group in found.groups}


class _Side:
    """Seconds that an answer takes; the latest answer is kept to be compared."""

    def __init__(self, ask: partial[Answer]) -> None:
        self._ask = ask
        self.answer: Answer = {}

    def __call__(self) -> float:
        began = time.perf_counter()
        self.answer = self._ask()
        return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.summary", description=__doc__)
    parser.add_argument("--full", action="store_true", help="ten million events")
    count = FULL if parser.parse_args().full else EVENTS
    bench.environment.measure_here()
    report = Report("summary")
    ground.prepare()
    (person,) = ground.people(1)
    window = between(START, START + timedelta(days=DAYS), zone_of("UTC"))
    _fill(person.organization_id, count)
    shown = f"{count:,} events"
    for name, column in (
        ("day", "(occurred_at AT TIME ZONE 'UTC')::date::text"),
        ("model", "model"),
    ):
        floor = _Side(partial(_raw, person.organization_id, window, column))
        ours = _Side(partial(_ours, person.actor, window, name))
        pairs = turns(floor, ours, rounds=ROUNDS)
        if ours.answer != floor.answer:
            raise AssertionError(f"by {name}: the summary is not what the rows add up to")
        report.add(
            f"30 days by {name}, {shown} / GROUP BY",
            pairs,
            unit="s",
            bound="at most",
            # A floor of milliseconds says nothing of a month of ten million events.
            target=TARGET if count == FULL else None,
        )
    report.finish()


def _fill(organization_id: UUID, count: int) -> None:
    """The events, all folded but the last ones."""
    usage.settle(
        a_call(
            organization_id=organization_id,
            request_id=_PATTERN,
            occurred_at=START - timedelta(days=1),
        )
    )
    _make(organization_id, count)
    with connection.cursor() as cursor:
        cursor.execute("SET statement_timeout = 0")
        cursor.execute("VACUUM ANALYZE usage_events")
    began = time.perf_counter()
    rollups.fold(batch=CHUNK)
    print(f"folded in {time.perf_counter() - began:.1f} s", flush=True)
    _make(organization_id, TAIL)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE usage_hourly, usage_daily")


if __name__ == "__main__":
    main()
