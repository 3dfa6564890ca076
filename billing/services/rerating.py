"""What recent calls would have cost at a draft's prices: the reviewer's answer to "how much?".

Events are summed by model, tier and price threshold before they are priced, so the sums are exact
but for the rounding of each call (half of 10^-12 USD). Units: USD.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db import connection

from billing import pricing
from billing.models import Price
from billing.services import price_versions
from billing.types import UnitClass
from ideplatform.kit import clock, money

DAYS: Final = 7
MOST_MODELS: Final = 25


@dataclass(frozen=True, slots=True, kw_only=True)
class Rerated:
    """Calls of one model in the last days: what they cost by the book and by the draft."""

    provider_type: str
    model: str
    calls: int
    now_usd: Decimal | None
    then_usd: Decimal | None

    @property
    def delta_usd(self) -> Decimal | None:
        if self.now_usd is None or self.then_usd is None:
            return None
        return self.then_usd - self.now_usd


def rerate(version_id: UUID) -> list[Rerated]:
    """The models whose calls would have cost otherwise, those that differ most first."""
    draft = list(Price.objects.filter(version=version_id))
    if not draft:
        return []
    in_force = price_versions.open_prices()
    drafted = {price_versions.key_of(row): row for row in draft}
    now, then = _book(in_force.values()), _book((in_force | drafted).values())
    # The least input of each band: a threshold counts for what is strictly above it.
    bands = sorted({row.context_over_tokens + 1 for row in (*in_force.values(), *draft)})
    sums: dict[tuple[str, str], list[Decimal | None]] = {}
    calls: dict[tuple[str, str], int] = defaultdict(int)
    for used in _used({row.provider_type for row in draft}, bands):
        name = used.model.provider_type, used.model.name
        both = sums.setdefault(name, [money.ZERO, money.ZERO])
        calls[name] += used.calls
        for place, book in enumerate((now, then)):
            cost, before = _cost(book, used), both[place]
            both[place] = None if cost is None or before is None else before + cost
    rows = [
        Rerated(provider_type=name[0], model=name[1], calls=calls[name], now_usd=one, then_usd=two)
        for name, (one, two) in sums.items()
        if one != two
    ]
    return sorted(rows, key=lambda row: -abs(row.delta_usd or money.ZERO))[:MOST_MODELS]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Used:
    """Calls that the same prices apply to; `least_input` tokens had each of them at least."""

    model: pricing.Model
    least_input: int
    calls: int
    quantities: Mapping[UnitClass, int]


def _used(vendors: Iterable[str], bands: Sequence[int]) -> Iterable[_Used]:
    with connection.cursor() as cursor:
        cursor.execute(_USED, [list(bands), DAYS, list(vendors)])
        for vendor, name, tier, band, calls, quantities in cursor.fetchall():
            yield _Used(
                model=pricing.Model(
                    provider_type=vendor, name=name, at=clock.now(), service_tier=tier
                ),
                least_input=bands[band - 1] if band else 0,
                calls=calls,
                quantities={UnitClass(key): int(count) for key, count in quantities},
            )


def _cost(book: pricing.PriceBook, used: _Used) -> Decimal | None:
    amounts = []
    for unit_class, count in used.quantities.items():
        price = book.resolve(used.model, unit_class, total_input=used.least_input)
        if price is None:
            return None
        amounts.append(money.product(count, price.unit_price))
    return money.total(amounts)


def _book(rows: Iterable[Price]) -> pricing.PriceBook:
    return pricing.PriceBook(
        pricing.Price(
            id=row.pk,
            provider_type=row.provider_type,
            match=row.match,
            pattern=row.pattern,
            service_tier=row.service_tier,
            region=row.region,
            context_over_tokens=row.context_over_tokens,
            unit_class=UnitClass(row.unit_class),
            unit_price=row.unit_price,
        )
        for row in rows
    )


_USED: Final = """
WITH used AS (
    SELECT provider_type, model, service_tier, width_bucket(tokens_input, %s::bigint[]) AS band,
           quantities
    FROM usage_events
    WHERE occurred_at >= now() - make_interval(days => %s) AND provider_type = ANY(%s)
), classes AS (
    SELECT provider_type, model, service_tier, band, q.key, sum(q.value::numeric) AS total
    FROM used CROSS JOIN LATERAL jsonb_each_text(quantities) AS q
    GROUP BY provider_type, model, service_tier, band, q.key
)
SELECT u.provider_type, u.model, u.service_tier, u.band, u.calls,
       (SELECT coalesce(array_agg(ARRAY[c.key, c.total::text]), '{}') FROM classes c
        WHERE (c.provider_type, c.model, c.service_tier, c.band)
            = (u.provider_type, u.model, u.service_tier, u.band))
FROM (SELECT provider_type, model, service_tier, band, count(*) AS calls FROM used
      GROUP BY provider_type, model, service_tier, band) AS u
"""
