"""What customers would have paid in the last days under another markup: the reviewer's "how much?".

Calls are summed by customer, vendor and the model asked for before terms are applied, so the sums
are exact but for the rounding of each call (half of 10^-12 USD). Units: USD.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db import connection

from billing import markups
from billing.markups import Rule
from billing.services import prices
from billing.services.markup_reviews import Markup
from billing.services.rerating import DAYS
from ideplatform.kit import ids, money
from ideplatform.kit.db import database_now


@dataclass(frozen=True, slots=True, kw_only=True)
class Bills:
    """The platform's calls of the last days that the markup is of, by today's rules and by it."""

    calls: int
    now_usd: Decimal
    then_usd: Decimal

    @property
    def delta_usd(self) -> Decimal:
        return self.then_usd - self.now_usd


@dataclass(frozen=True, slots=True, kw_only=True)
class _Used:
    customer_id: UUID
    provider_type: str
    model: str
    calls: int
    tokens: int
    cost_usd: Decimal


def rerate(markup: Markup, *, replaces: UUID | None) -> Bills:
    """The bills of the last days with the markup in the place of the rule that it replaces."""
    at = database_now()
    rules = prices.tariff().rules
    wanted = _rule(markup, at)
    others = [*(rule for rule in rules if rule.id != replaces), wanted]
    used = [
        one for one in _used() if wanted.fits(one.customer_id, one.provider_type, one.model, at)
    ]
    return Bills(
        calls=sum(one.calls for one in used),
        now_usd=_billed(rules, used, at),
        then_usd=_billed(others, used, at),
    )


def _billed(rules: Iterable[Rule], used: Iterable[_Used], at: datetime) -> Decimal:
    standing = tuple(rules)
    amounts = []
    for one in used:
        terms = markups.terms(
            standing,
            customer_id=one.customer_id,
            provider_type=one.provider_type,
            model=one.model,
            at=at,
        )
        fees = money.product(one.calls - 1, terms.per_request)
        amounts += [terms.apply(one.cost_usd, tokens=one.tokens), fees]
    return money.quantise(money.total(amounts))


def _rule(markup: Markup, at: datetime) -> Rule:
    return Rule(
        id=ids.new(),
        priority=markup.priority,
        customer_id=markup.customer_id,
        provider_type=markup.provider_type,
        model_glob=markup.model_glob,
        kind=markup.kind,
        value=markup.value,
        starts_at=at,
        ends_at=None,
    )


def _used() -> list[_Used]:
    with connection.cursor() as cursor:
        cursor.execute(_USED, [DAYS])
        return [
            _Used(
                customer_id=customer_id,
                provider_type=provider_type,
                model=model,
                calls=calls,
                tokens=int(tokens),
                cost_usd=cost,
            )
            for customer_id, provider_type, model, calls, tokens, cost in cursor.fetchall()
        ]


# Calls that bear a markup at all: the platform's, priced, answered, and of some use.
_USED: Final = """
SELECT customer_id, provider_type, requested_model, count(*), sum(tokens_input + tokens_output),
       sum(estimated_cost)
FROM usage_events
WHERE occurred_at >= now() - make_interval(days => %s) AND billing_mode = 'platform'
  AND estimated_cost IS NOT NULL AND NOT (status = 0 AND accuracy = 'estimated')
  AND lines <> '[]'
GROUP BY customer_id, provider_type, requested_model
"""
