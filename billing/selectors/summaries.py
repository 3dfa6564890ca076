"""Sums of usage over a window: one statement, so that all parts come from one snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from django.contrib.postgres.fields import ArrayField
from django.core.exceptions import EmptyResultSet
from django.db import OperationalError, connection, models, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import ExpressionWrapper, F, Func, Q, QuerySet, Value

from accounts.types import Actor
from billing.errors import QueryTooBroad
from billing.models import UsageEvent
from billing.selectors import reach
from billing.types import BillingMode, UsageFilters
from billing.windows import Interval, Span, Window, before, spans
from ideplatform.kit import money

GROUPS: Final = {
    "model": "model",
    "agent": "agent_id",
    "workspace": "workspace_id",
    "user": "user_id",
    "provider": "provider_id",
    "api_key": "api_key_id",
}
TIMES: Final = ("day", "hour")
MAX_GROUPS: Final = 10_000
TIMEOUT_MS: Final = 5_000
_CANCELLED: Final = "57014"
_HOURLY_BELOW_DAYS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums of events. Costs are USD: the vendors' (known ones), what was billed, the own keys'."""

    requests: int = 0
    tokens_input: int = 0
    tokens_output: int = 0
    tokens_cache_read: int = 0
    estimated_cost: Decimal = money.ZERO
    billed_cost: Decimal = money.ZERO
    byok_estimated_cost: Decimal = money.ZERO
    saved_by_cache: Decimal = money.ZERO
    unpriced_requests: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """The events that share a key: one value per dimension asked for."""

    key: tuple[tuple[str, object], ...]
    totals: Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class Point:
    """One bucket of the series; buckets without events are there, with zeros."""

    span: Span
    totals: Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """The window's totals, groups and series; each of the three adds up to the same."""

    window: Window
    interval: Interval
    totals: Totals
    groups: tuple[Group, ...]
    series: tuple[Point, ...]
    previous_window: Window | None
    previous: Totals | None
    as_of: datetime


def summary(
    actor: Actor,
    window: Window,
    *,
    filters: UsageFilters | None = None,
    group_by: Sequence[str] = (),
    compares: bool = False,
    most_groups: int = MAX_GROUPS,
) -> Summary:
    """What the actor's visible usage of a window adds up to, exactly.

    `group_by` names at most two of model, agent, workspace, user, provider, api_key, day, hour
    (one of the last two). Raises NotFound for foreign ids, QueryTooBroad after 5 s or for more
    than `most_groups` groups.
    """
    interval = _interval(window, group_by)
    earlier = before(window) if compares else None
    buckets = spans(window, interval)
    rows = _rows(actor, filters or UsageFilters(), window, earlier, buckets, group_by, most_groups)
    return _folded(rows, window, earlier, interval, buckets, group_by)


def _interval(window: Window, group_by: Sequence[str]) -> Interval:
    for name in TIMES:
        if name in group_by:
            return Interval(name)
    return Interval.HOUR if window.length.days < _HOURLY_BELOW_DAYS else Interval.DAY


def _rows(
    actor: Actor,
    filters: UsageFilters,
    window: Window,
    earlier: Window | None,
    buckets: Sequence[Span],
    group_by: Sequence[str],
    most_groups: int,
) -> _Rows:
    """Run the one statement. What comes before the window's start is there for the comparison."""
    start = earlier.start if earlier else window.start
    meant = replace(filters, start=start, end=window.end)
    columns = {f"k{n}": F(GROUPS[name]) for n, name in enumerate(_dimensions(group_by))}
    events = reach.events(actor, meant).annotate(
        is_current=_is_current(window), bucket=_bucket(buckets), **columns
    )
    limit = 2 * most_groups + 2 * len(buckets) + 2
    sql, params = _statement(
        events.values("is_current", "bucket", *columns, *_MEASURES), [*columns], group_by, limit
    )
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(f"SET LOCAL statement_timeout = {TIMEOUT_MS}")
        cursor.execute("SELECT now()")
        as_of: datetime = cursor.fetchone()[0]
        found = _fetched(cursor, sql, params) if sql else []
    if len(found) == limit:
        raise QueryTooBroad(f"More than {most_groups} groups.")
    return _Rows(as_of=as_of, found=found, dimensions=len(columns), most_groups=most_groups)


_MEASURES: Final = (
    "tokens_input",
    "tokens_output",
    "tokens_cache_read",
    "estimated_cost",
    "billed_cost",
    "saved_by_cache",
    "billing_mode",
)
_SUMS: Final = """
    count(*), sum(tokens_input), sum(tokens_output), sum(tokens_cache_read),
    coalesce(sum(estimated_cost), 0), sum(billed_cost),
    coalesce(sum(estimated_cost) FILTER (WHERE billing_mode = %s), 0), sum(saved_by_cache),
    count(*) FILTER (WHERE estimated_cost IS NULL)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rows:
    """The statement's answer: side, bucket, keys, which of them count (bits), then the sums."""

    as_of: datetime
    found: list[tuple[Any, ...]]
    dimensions: int
    most_groups: int

    def of(self, *, is_current: bool, mask: int) -> Iterator[tuple[tuple[Any, ...], Totals]]:
        """The key (bucket first) and totals of one grouping set."""
        at = 2 + self.dimensions
        for row in self.found:
            if row[0] is is_current and row[at] == mask:
                yield row[1:at], _totals(row[at + 1 :])


def _dimensions(group_by: Sequence[str]) -> list[str]:
    return [name for name in group_by if name not in TIMES]


def _mask(group_by: Sequence[str]) -> int:
    """PostgreSQL's GROUPING bits of a set: the bucket's bit first, 1 for what is not grouped."""
    dimensions = len(_dimensions(group_by))
    without_bucket = 0 if any(name in TIMES for name in group_by) else 1
    return without_bucket << dimensions


def _statement(
    events: QuerySet[UsageEvent, Any], keys: list[str], group_by: Sequence[str], limit: int
) -> tuple[str, tuple[Any, ...]]:
    """Totals, series and groups as grouping sets; "" where the filters exclude everything."""
    try:
        inner, params = events.query.sql_with_params()
    except EmptyResultSet:
        return "", ()
    columns = ", ".join(["bucket", *keys])
    sets = ["(is_current)", "(is_current, bucket)"]
    if keys:
        is_timed = any(name in TIMES for name in group_by)
        sets.append(f"(is_current, {columns if is_timed else ', '.join(keys)})")
    sql = (
        f"SELECT is_current, {columns}, GROUPING({columns}), {_SUMS} FROM ({inner}) AS events"  # noqa: S608 - our own column names
        f" GROUP BY GROUPING SETS ({', '.join(sets)}) LIMIT %s"
    )
    return sql, (BillingMode.BYOK.value, *params, limit)


def _fetched(cursor: CursorWrapper, sql: str, params: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    try:
        cursor.execute(sql, params)
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) == _CANCELLED:
            raise QueryTooBroad("This took too long.") from error
        raise
    found: list[tuple[Any, ...]] = cursor.fetchall()
    return found


def _is_current(window: Window) -> ExpressionWrapper[Q]:
    return ExpressionWrapper(Q(occurred_at__gte=window.start), output_field=models.BooleanField())


def _bucket(buckets: Sequence[Span]) -> Func:
    """The number of an event's bucket, from 1; our own edges, so that one calendar decides."""
    edges = ArrayField(models.DateTimeField())
    return Func(
        F("occurred_at"),
        Value([span.start for span in buckets], output_field=edges),
        function="width_bucket",
        template="%(function)s(%(expressions)s::timestamptz[])",
        output_field=models.IntegerField(),
    )


def _totals(sums: Sequence[Any]) -> Totals:
    return Totals(
        requests=int(sums[0]),
        tokens_input=int(sums[1]),
        tokens_output=int(sums[2]),
        tokens_cache_read=int(sums[3]),
        estimated_cost=sums[4],
        billed_cost=sums[5],
        byok_estimated_cost=sums[6],
        saved_by_cache=sums[7],
        unpriced_requests=int(sums[8]),
    )


def _folded(
    rows: _Rows,
    window: Window,
    earlier: Window | None,
    interval: Interval,
    buckets: Sequence[Span],
    group_by: Sequence[str],
) -> Summary:
    every = (1 << (rows.dimensions + 1)) - 1
    series_mask = every >> 1
    by_bucket = {key[0]: totals for key, totals in rows.of(is_current=True, mask=series_mask)}
    return Summary(
        window=window,
        interval=interval,
        totals=_only(rows, is_current=True, mask=every),
        groups=_groups(rows, buckets, group_by),
        series=tuple(
            Point(span=span, totals=by_bucket.get(number, Totals()))
            for number, span in enumerate(buckets, start=1)
        ),
        previous_window=earlier,
        previous=_only(rows, is_current=False, mask=every) if earlier else None,
        as_of=rows.as_of,
    )


def _only(rows: _Rows, *, is_current: bool, mask: int) -> Totals:
    return next((totals for _, totals in rows.of(is_current=is_current, mask=mask)), Totals())


def _groups(rows: _Rows, buckets: Sequence[Span], group_by: Sequence[str]) -> tuple[Group, ...]:
    """The groups, dearest first; equal ones in the order of their keys."""
    if not group_by:
        return ()
    found = [
        Group(key=_key(key, buckets, group_by), totals=totals)
        for key, totals in rows.of(is_current=True, mask=_mask(group_by))
    ]
    if len(found) > rows.most_groups:
        raise QueryTooBroad(f"More than {rows.most_groups} groups.")
    return tuple(sorted(found, key=lambda group: (-group.totals.estimated_cost, str(group.key))))


def _key(
    key: Sequence[Any], buckets: Sequence[Span], group_by: Sequence[str]
) -> tuple[tuple[str, object], ...]:
    values = iter(key[1:])
    return tuple(
        (name, buckets[key[0] - 1].key if name in TIMES else next(values)) for name in group_by
    )
