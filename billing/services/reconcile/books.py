"""Our own count of an account's days, by the classes in which its vendor reports them.

Units: whole tokens (or searches), USD at 12 places, UTC days. Corrections count with the event they
are of.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db import connection

from billing.comparison import Cell, Count
from billing.pricing import Model, PriceBook
from billing.types import UnitClass
from billing.vendor_reports import folded, tier
from ideplatform.kit import money


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """One event's part of a cell. `quantities` are of our own classes."""

    event_id: UUID
    customer_id: UUID
    is_estimated: bool
    quantities: Mapping[UnitClass, int]
    cost: Decimal | None

    @property
    def quantity(self) -> int:
        return sum(self.quantities.values())


def cells(
    provider_id: UUID, provider_type: str, starts_on: date, ends_on: date
) -> dict[Cell, Count]:
    """What we counted at an account in the UTC days `[starts_on, ends_on)`."""
    found: dict[Cell, list[tuple[int, Decimal, bool, int]]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(_CELLS, [provider_id, *_moments(starts_on, ends_on)])
        for day, model, service_tier, name, *counts in cursor.fetchall():
            cell = Cell(
                day=day,
                model=_plain(model),
                tier=tier(service_tier),
                unit_class=folded(provider_type, UnitClass(name)),
            )
            found[cell].append(tuple(counts))
    return {cell: _count(parts) for cell, parts in found.items()}


def shares(provider_id: UUID, provider_type: str, cell: Cell) -> list[Share]:
    """The events of a cell, with what each has in it."""
    rows: dict[UUID, list[tuple[UUID, bool, str, int, Decimal, bool]]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(_SHARES, [provider_id, *_moments(cell.day, cell.day + timedelta(days=1))])
        for event_id, model, service_tier, *part in cursor.fetchall():
            is_of_cell = folded(provider_type, UnitClass(part[2])) == cell.unit_class
            if _plain(model) == cell.model and tier(service_tier) == cell.tier and is_of_cell:
                rows[event_id].append(tuple(part))
    return [_share(event_id, parts) for event_id, parts in sorted(rows.items())]


def unit_price(book: PriceBook, provider_type: str, cell: Cell) -> Decimal | None:
    """The list price of a cell's class on its day, USD."""
    if not cell.unit_class:
        return None
    model, unit_class = _priced(provider_type, cell), UnitClass(cell.unit_class)
    price = book.resolve(model, unit_class, total_input=1)
    return None if price is None else price.unit_price


def knows_model(book: PriceBook, provider_type: str, cell: Cell) -> bool:
    """Whether the price book has any price of the cell's model at all."""
    model = _priced(provider_type, cell)
    return any(book.resolve(model, one, total_input=1) is not None for one in UnitClass)


def _priced(provider_type: str, cell: Cell) -> Model:
    return Model(
        provider_type=provider_type,
        name=cell.model,
        at=datetime.combine(cell.day, time(12), tzinfo=UTC),
        service_tier=cell.tier or "standard",
    )


def _plain(model: str) -> str:
    return model.removeprefix("models/")


def _moments(starts_on: date, ends_on: date) -> tuple[datetime, datetime]:
    start, end = (datetime.combine(day, time.min, tzinfo=UTC) for day in (starts_on, ends_on))
    return start, end


def _count(parts: Iterable[tuple[int, Decimal, bool, int]]) -> Count:
    quantities, costs, unknown, estimated = zip(*parts, strict=True)
    return Count(
        quantity=sum(quantities),
        cost=None if any(unknown) else money.quantise(money.total(list(costs))),
        estimated=sum(estimated),
    )


def _share(event_id: UUID, parts: list[tuple[UUID, bool, str, int, Decimal, bool]]) -> Share:
    quantities: dict[UnitClass, int] = defaultdict(int)
    for _, _, name, quantity, _, _ in parts:
        quantities[UnitClass(name)] += quantity
    return Share(
        event_id=event_id,
        customer_id=parts[0][0],
        is_estimated=any(is_estimated for _, is_estimated, *_ in parts),
        quantities={name: count for name, count in quantities.items() if count},
        cost=None
        if any(is_unknown for *_, is_unknown in parts)
        else money.total([cost for *_, cost, _ in parts]),
    )


# A correction says which tokens it changes, and one cost: that stands under the class of the line
# that found it, else of its tokens, else of the event's dearest class.
_USED: Final = """
WITH events AS MATERIALIZED (
    SELECT e.id, e.customer_id, (e.occurred_at AT TIME ZONE 'UTC')::date AS day, e.model,
        e.service_tier, e.accuracy = 'estimated' AS is_estimated, e.quantities, e.lines,
        EXISTS (SELECT 1 FROM billing_usage_corrections c
                WHERE c.event_id = e.id AND c.gives_price) AS is_priced_later
    FROM usage_events e
    WHERE e.provider_id = %s AND e.occurred_at >= %s AND e.occurred_at < %s
), parts AS (
    SELECT e.*, q.key AS class, q.value::bigint AS quantity, l.amount AS cost
    FROM events e CROSS JOIN LATERAL jsonb_each_text(e.quantities) AS q
    LEFT JOIN LATERAL (
        SELECT sum((x ->> 'amount')::numeric) AS amount
        FROM jsonb_array_elements(e.lines) AS x WHERE x ->> 'class' = q.key) AS l ON true
    UNION ALL
    SELECT e.*, q.key, q.value::bigint, 0::numeric
    FROM events e JOIN billing_usage_corrections c ON c.event_id = e.id
    CROSS JOIN LATERAL jsonb_each_text(c.delta_quantities) AS q
    UNION ALL
    SELECT e.*, coalesce(
            (SELECT nullif(r.unit_class, '') FROM billing_recon_lines r
             WHERE r.id = c.recon_line_id),
            (SELECT min(q.key) FROM jsonb_each_text(c.delta_quantities) AS q),
            (SELECT x ->> 'class' FROM jsonb_array_elements(e.lines) AS x
             ORDER BY (x ->> 'amount')::numeric DESC, x ->> 'class' LIMIT 1),
            (SELECT min(q.key) FROM jsonb_each_text(e.quantities) AS q), 'input'),
        0::bigint, c.delta_estimated_cost
    FROM events e JOIN billing_usage_corrections c ON c.event_id = e.id
    WHERE c.delta_estimated_cost <> 0
)
"""
_CELLS: Final = (
    _USED
    + """
SELECT day, model, service_tier, class, sum(quantity)::bigint, coalesce(sum(cost), 0::numeric),
    bool_or(cost IS NULL AND NOT is_priced_later),
    coalesce(sum(quantity) FILTER (WHERE is_estimated), 0)::bigint
FROM parts GROUP BY day, model, service_tier, class
"""
)
_SHARES: Final = (
    _USED
    + """
SELECT id, model, service_tier, customer_id, is_estimated, class, quantity,
    coalesce(cost, 0::numeric), cost IS NULL AND NOT is_priced_later
FROM parts
"""
)
