"""What a call turned out to be, as an operator types it, and the change that leads there.

The counts of tokens are those that hold from now on, not differences. Without costs given, new
counts are priced as the call was: by the book and the markups of its dispatch. Units: USD, tokens.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from billing import pricing
from billing.errors import CorrectionUnpriced
from billing.models import UsageCorrection, UsageEvent
from billing.services import corrections, prices
from billing.services.corrections import Change, Effective
from billing.types import BillingMode, TokenCount, UnitClass
from ideplatform.kit import money
from ideplatform.kit.serializers import wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What shall hold of an event; None leaves a cost as it is, unless the counts change."""

    quantities: Mapping[UnitClass, int]
    estimated_cost: Decimal | None = None
    billed_cost: Decimal | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An event with its corrections: counts by class, and costs."""

    event: UsageEvent
    quantities: Mapping[UnitClass, int]
    costs: Effective


def standing(event: UsageEvent) -> Standing:
    """What holds of an event now."""
    counts = {UnitClass(name): count for name, count in event.quantities.items()}
    for deltas in UsageCorrection.objects.filter(event=event).values_list(
        "delta_quantities", flat=True
    ):
        for name, delta in deltas.items():
            counts[UnitClass(name)] = counts.get(UnitClass(name), 0) + delta
    return Standing(event=event, quantities=counts, costs=corrections.effective(event))


def change_to(now: Standing, facts: Facts) -> Change:
    """The change that brings an event to new facts.

    Raises InvalidInput when it changes nothing, CorrectionUnpriced for counts without a price.
    """
    deltas = {
        name: facts.quantities.get(name, 0) - now.quantities.get(name, 0)
        for name in {*facts.quantities, *now.quantities}
    }
    moved = {name: delta for name, delta in deltas.items() if delta}
    cost, billed, saved = facts.estimated_cost, facts.billed_cost, now.costs.saved_by_cache
    if moved and (cost is None or billed is None):
        priced = _priced(now.event, TokenCount(dict(facts.quantities)))
        saved = priced.saved_by_cache
        cost = priced.cost if cost is None else cost
        billed = _billed(now.event, priced, facts) if billed is None else billed
    change = Change(
        estimated_cost=None if cost is None else _delta(cost, now.costs.estimated_cost),
        billed_cost=money.ZERO if billed is None else _delta(billed, now.costs.billed_cost),
        saved_by_cache=saved - now.costs.saved_by_cache,
        quantities=moved,
    )
    gives_price = now.costs.estimated_cost is None and cost is not None
    if not (moved or change.estimated_cost or change.billed_cost or gives_price):
        raise wrong("/", "these are the facts as they stand")
    return change


def _delta(wanted: Decimal, was: Decimal | None) -> Decimal:
    return money.quantise(wanted) - (was or money.ZERO)


def _priced(event: UsageEvent, tokens: TokenCount) -> pricing.PricedUsage:
    model = pricing.Model(
        provider_type=event.provider_type,
        name=event.model,
        at=event.occurred_at,
        service_tier=event.service_tier,
        region=event.region,
    )
    priced = prices.current().price_usage(model, tokens)
    if priced.cost is None:
        raise CorrectionUnpriced
    return priced


def _billed(event: UsageEvent, priced: pricing.PricedUsage, facts: Facts) -> Decimal:
    terms = prices.tariff().terms(
        customer_id=event.customer_id,
        provider_type=event.provider_type,
        model=event.requested_model,
        at=event.occurred_at,
    )
    tokens = TokenCount(dict(facts.quantities)).total
    return pricing.billed(priced, BillingMode(event.billing_mode), terms=terms, tokens=tokens)
