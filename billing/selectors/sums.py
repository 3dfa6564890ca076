"""Exact sums of usage from roll-ups and rows, in one statement and so in one snapshot.

A part asks for sums per bucket of time and per key. Where its shape allows, whole hours or days
come from the roll-ups, and rows only for the rest: the cut edges, what is not folded yet, and what
the actor sees of organizations that are not its to see whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.core.exceptions import EmptyResultSet
from django.db import OperationalError, connection, transaction
from django.db.backends.utils import CursorWrapper
from django.db.models import Q

from billing import coverage
from billing.coverage import Ranges
from billing.errors import QueryTooBroad
from billing.models import UsageEffective
from billing.selectors.reach import Reach, condition
from billing.types import RollupDimension, UsageFilters
from ideplatform.kit import money

COLUMNS: Final = {
    "model": "model",
    "agent": "agent_id",
    "workspace": "workspace_id",
    "user": "user_id",
    "provider": "provider_id",
    "api_key": "api_key_id",
}
_TEXT: Final = ("model", "agent")
_ROWS_ONLY: Final = (
    "conversation_id",
    "run_id",
    "request_id",
    "status",
    "outcome",
    "source",
    "billing_mode",
    "min_cost",
)
_MOVED: Final = -1
_TRIES: Final = 5
_CANCELLED: Final = "57014"


@dataclass(frozen=True, slots=True, kw_only=True)
class Totals:
    """Sums of events. Costs are USD: the vendors' (known ones), what was billed, the own keys'.

    `failed_requests` ended in an error, a timeout or a crash.
    """

    requests: int = 0
    failed_requests: int = 0
    unpriced_requests: int = 0
    tokens_input: int = 0
    tokens_output: int = 0
    tokens_cache_read: int = 0
    tokens_cache_write: int = 0
    tokens_reasoning: int = 0
    estimated_cost: Decimal = money.ZERO
    billed_cost: Decimal = money.ZERO
    byok_estimated_cost: Decimal = money.ZERO
    saved_by_cache: Decimal = money.ZERO


_COUNTED: Final = (
    "requests",
    "failed_requests",
    "unpriced_requests",
    "tokens_input",
    "tokens_output",
    "tokens_cache_read",
    "tokens_cache_write",
    "tokens_reasoning",
)
_AMOUNTS: Final = ("estimated_cost", "billed_cost", "byok_estimated_cost", "saved_by_cache")
SUMS: Final = (*_COUNTED, *_AMOUNTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One question: sums of the buckets between the edges, per key of the dimensions.

    Buckets count from 1; the last edge ends the last one. `most` rows are answered.
    """

    edges: Sequence[datetime]
    dimensions: Sequence[str] = ()
    most: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    bucket: int
    key: tuple[UUID | str | None, ...]
    totals: Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """The rows of each part, in order, and the database's clock when they were true."""

    parts: tuple[tuple[Row, ...], ...]
    as_of: datetime


def read(reach: Reach, filters: UsageFilters, parts: Sequence[Part], *, timeout_ms: int) -> Answer:
    """The sums of all parts, exact as of one moment; raises QueryTooBroad after the timeout.

    The watermark is read first, so that the planner knows it, and again by the statement itself:
    if the folder came in between, everything is asked once more.
    """
    with transaction.atomic(), connection.cursor() as cursor:
        for _ in range(_TRIES):
            as_of, mark = _moment(cursor, timeout_ms)
            sql, params = _statement(reach, filters, parts, mark)
            rows = _fetched(cursor, sql, params)
            if rows is not None:
                return Answer(parts=_parted(rows, parts), as_of=as_of)
    raise QueryTooBroad("The sums move too fast to be read.")


def added(every: Sequence[Totals]) -> Totals:
    """Their exact sum."""
    return _totals(
        [sum(getattr(one, name) for one in every) for name in _COUNTED]
        + [money.total([getattr(one, name) for one in every]) for name in _AMOUNTS]
    )


# A watermark of another server's future says nothing of this one's rows: all are read.
_MARK: Final = """
SELECT CASE WHEN folded_before > pg_snapshot_xmax(pg_current_snapshot()) THEN '0'
       ELSE folded_before::text END FROM billing_rollup_watermark
"""


# In a snapshot nothing is later than the transaction's begin; without one, than this statement.
_CLOCK: Final = """
CASE current_setting('transaction_isolation') WHEN 'repeatable read' THEN now()
ELSE clock_timestamp() END
"""


def _moment(cursor: CursorWrapper, timeout_ms: int) -> tuple[datetime, str]:
    cursor.execute(
        f"SELECT {_CLOCK}, ({_MARK}), set_config('statement_timeout', %s, true)",
        [str(timeout_ms)],
    )
    as_of, mark, _ = cursor.fetchone()
    return as_of, mark


_Sql = tuple[str, list[Any]]
_NAMES: Final = ", ".join(SUMS)
_TOTALS: Final = ", ".join(f"sum({name})" for name in SUMS)


def _statement(reach: Reach, filters: UsageFilters, parts: Sequence[Part], mark: str) -> _Sql:
    """All parts' rows, each with its number; nothing but a null row where the watermark moved."""
    pieces, params = [], []
    for number, part in enumerate(parts):
        sql, values = _part(reach, filters, part, mark)
        limit = "" if part.most is None else f" LIMIT {part.most:d}"
        pieces.append(f"(SELECT {number}, * FROM ({sql}) AS p{number}{limit})")  # noqa: S608 - our own text
        params += values
    moved = f"SELECT {_MOVED}, 0, NULL, NULL, {', '.join('0' for _ in SUMS)} WHERE ({_MARK}) <> %s"
    return " UNION ALL ".join([*pieces, f"({moved})"]), [*params, mark]


def _part(reach: Reach, filters: UsageFilters, part: Part, mark: str) -> _Sql:
    branches = [_as_branch(one, part) for one in _sources(reach, filters, part, mark)]
    known = [branch for branch in branches if branch is not None]
    if not known:
        empty = f"SELECT 0 AS bucket, NULL::text, NULL::text, {', '.join('0' for _ in SUMS)}"
        return f"{empty} WHERE false", []
    union = " UNION ALL ".join(sql for sql, _ in known)
    sql = (
        "SELECT width_bucket(at, %s::timestamptz[]) AS bucket, k0, k1,"  # noqa: S608 - our own names
        f" {_TOTALS} FROM ({union}) AS one GROUP BY 1, 2, 3"
    )
    return sql, [list(part.edges[:-1]), *(value for _, values in known for value in values)]


def _sources(reach: Reach, filters: UsageFilters, part: Part, mark: str) -> Iterator[_Sql | Q]:
    """Where the part's sums come from: roll-ups as SQL, rows as conditions. They never overlap."""
    window = Q(occurred_at__gte=part.edges[0], occurred_at__lt=part.edges[-1])
    meant = _meant(filters)
    rolled = _rolled(reach, filters, part) if mark != "0" else None
    if rolled is None:
        yield reach.visible & meant & window
        return
    yield rolled.sql
    whole = Q(customer_id__in=rolled.customers) & meant & reach.by_key
    yield whole & window & Q(commit_xid__gte=mark)
    for start, end in coverage.gaps(part.edges, rolled.covered):
        yield whole & Q(occurred_at__gte=start, occurred_at__lt=end, commit_xid__lt=mark)
    beside = reach.beside
    if beside is not None:
        yield beside & meant & window


def _meant(filters: UsageFilters) -> Q:
    """What the filters mean on `usage_effective`, the window aside."""
    plain = condition(replace(filters, start=None, end=None, min_cost=None))
    return plain if filters.min_cost is None else plain & Q(event_cost__gte=filters.min_cost)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Rolled:
    """The part of a question that roll-ups answer."""

    sql: _Sql
    customers: tuple[UUID, ...]
    covered: Ranges


def _rolled(reach: Reach, filters: UsageFilters, part: Part) -> _Rolled | None:
    """How roll-ups answer the part for organizations seen whole; None where they do not."""
    customers = _customers(reach, filters)
    fixed = _fixed(reach, filters)
    if not customers or fixed is None:
        return None
    names = {*fixed, *part.dimensions}
    step = coverage.DAY if names else coverage.HOUR
    covered = coverage.whole(part.edges, step)
    if not covered:
        return None
    span: list[Any] = [[start for start, _ in covered], [end for _, end in covered]]
    if not names:
        return _Rolled(
            sql=(_HOURLY, [*span, list(customers)]), customers=customers, covered=covered
        )
    dimension = _dimension(names)
    if dimension is None:
        return None
    where, values = _key_is(dimension, fixed)
    sql = _DAILY.format(keys=_keys(dimension, part.dimensions), where=where)
    return _Rolled(
        sql=(sql, [*span, list(customers), dimension.value, *values]),
        customers=customers,
        covered=covered,
    )


_HOURLY: Final = f"""
SELECT r.hour AS at, NULL::text AS k0, NULL::text AS k1, {_NAMES}
FROM unnest(%s::timestamptz[], %s::timestamptz[]) AS span(starts, ends)
JOIN usage_hourly r ON r.hour >= span.starts AND r.hour < span.ends
WHERE r.customer_id = ANY(%s::uuid[])
"""  # noqa: S608 - our own names
_DAILY: Final = f"""
SELECT r.day::timestamp AT TIME ZONE 'UTC' AS at, {{keys}}, {_NAMES}
FROM unnest(%s::timestamptz[], %s::timestamptz[]) AS span(starts, ends)
JOIN usage_daily r ON r.day >= (span.starts AT TIME ZONE 'UTC')::date
    AND r.day < (span.ends AT TIME ZONE 'UTC')::date
WHERE r.customer_id = ANY(%s::uuid[]) AND r.dimension = %s{{where}}
"""  # noqa: S608 - our own names


def _customers(reach: Reach, filters: UsageFilters) -> tuple[UUID, ...]:
    asked = filters.organization_id
    limit = reach.actor.key_organization_id
    return tuple(one for one in reach.paying if asked in (None, one) and limit in (None, one))


def _fixed(reach: Reach, filters: UsageFilters) -> dict[str, str] | None:
    """The dimensions that filters and the key hold at one value; None where rows must be asked."""
    if any(getattr(filters, name) is not None for name in _ROWS_ONLY):
        return None
    fixed = {
        name: str(value)
        for name, column in COLUMNS.items()
        if (value := getattr(filters, column)) is not None
    }
    limit = reach.actor.key_workspace_id
    if limit is not None and fixed.setdefault("workspace", str(limit)) != str(limit):
        return None
    return fixed


def _dimension(names: set[str]) -> RollupDimension | None:
    if names == {"workspace", "model"}:
        return RollupDimension.WORKSPACE_MODEL
    return RollupDimension(names.pop()) if len(names) == 1 else None


def _key_is(dimension: RollupDimension, fixed: dict[str, str]) -> _Sql:
    """The condition that the fixed dimensions put on `key`."""
    if not fixed:
        return "", []
    if dimension is not RollupDimension.WORKSPACE_MODEL:
        return " AND r.key = %s", [*fixed.values()]
    parts = {"workspace": _WORKSPACE, "model": _MODEL}
    return "".join(f" AND {parts[name]} = %s" for name in fixed), [*fixed.values()]


_WORKSPACE: Final = "split_part(r.key, '/', 1)"
_MODEL: Final = "substr(r.key, strpos(r.key, '/') + 1)"


def _keys(dimension: RollupDimension, asked: Sequence[str]) -> str:
    """The columns of the keys asked for; "" stands for none where an id is meant."""
    both = {"workspace": _WORKSPACE, "model": _MODEL}
    is_both = dimension is RollupDimension.WORKSPACE_MODEL
    columns = [both[name] if is_both else "r.key" for name in asked]
    shown = [
        column if name in _TEXT else f"NULLIF({column}, '')"
        for name, column in zip(asked, columns, strict=True)
    ]
    return ", ".join(
        f"{column}::text AS k{n}" for n, column in enumerate([*shown, "NULL", "NULL"][:2])
    )


def _as_branch(source: _Sql | Q, part: Part) -> _Sql | None:
    """Rows that meet a condition, as SQL; None where none can."""
    if not isinstance(source, Q):
        return source
    columns = [COLUMNS[name] for name in part.dimensions]
    rows = UsageEffective.objects.filter(source).values("occurred_at", *columns, *SUMS)
    try:
        inner, params = rows.query.sql_with_params()
    except EmptyResultSet:
        return None
    keys = ", ".join(
        f"{column}::text AS k{n}" for n, column in enumerate([*columns, "NULL", "NULL"][:2])
    )
    return f"SELECT occurred_at AS at, {keys}, {_NAMES} FROM ({inner}) AS raw", list(params)  # noqa: S608 - our own names


def _fetched(cursor: CursorWrapper, sql: str, params: list[Any]) -> list[tuple[Any, ...]] | None:
    """The statement's rows; None when the watermark had moved before it."""
    try:
        cursor.execute(sql, params)
    except OperationalError as error:
        if getattr(error.__cause__, "sqlstate", None) == _CANCELLED:
            raise QueryTooBroad(
                "This took too long. Ask for less, or export the events: GET"
                " /api/v1/billing/usage as text/csv.",
                export="/api/v1/billing/usage?format=csv",
            ) from error
        raise
    rows: list[tuple[Any, ...]] = cursor.fetchall()
    return None if any(row[0] == _MOVED for row in rows) else rows


def _parted(rows: list[tuple[Any, ...]], parts: Sequence[Part]) -> tuple[tuple[Row, ...], ...]:
    found: list[list[Row]] = [[] for _ in parts]
    for number, bucket, *values in rows:
        key = zip(parts[number].dimensions, values[:2], strict=False)
        found[number].append(
            Row(
                bucket=bucket,
                key=tuple(_key(name, value) for name, value in key),
                totals=_totals(values[2:]),
            )
        )
    return tuple(tuple(one) for one in found)


def _key(name: str, value: str | None) -> UUID | str | None:
    return value if name in _TEXT or value is None else UUID(value)


def _totals(values: Sequence[Any]) -> Totals:
    """From values in the order of `SUMS`; PostgreSQL sums whole numbers as numeric."""
    counts = map(int, values[: len(_COUNTED)])
    return Totals(**dict(zip(SUMS, [*counts, *values[len(_COUNTED) :]], strict=True)))
