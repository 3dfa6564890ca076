"""A bill is the vendor's exact price, marked up, plus fees, rounded once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from billing import markups, pricing
from billing.markups import Rule
from billing.pricing import Price, PriceBook
from billing.types import BillingMode, MarkupKind, TokenCount, UnitClass

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
OURS = UUID(int=1)
MODEL = pricing.Model(provider_type="openai", name="m-1", at=NOON)
unit_prices = st.decimals(0, "0.002", places=15)
counts = st.integers(0, 10**9)


def a_rule(number: int, kind: MarkupKind, value: Decimal, **facts: object) -> Rule:
    values: dict[str, object] = {
        "priority": 0,
        "customer_id": None,
        "provider_type": "",
        "model_glob": "",
        "starts_at": NOON - timedelta(days=1),
        "ends_at": None,
    } | facts
    return Rule(id=UUID(int=number), kind=kind, value=value, **values)  # type: ignore[arg-type]


def a_book(**of_class: Decimal) -> PriceBook:
    return PriceBook(
        [
            Price(
                id=UUID(int=number),
                provider_type="openai",
                match="exact",
                pattern="m-1",
                service_tier="standard",
                region="",
                context_over_tokens=0,
                unit_class=UnitClass(name),
                unit_price=price,
            )
            for number, (name, price) in enumerate(of_class.items())
        ]
    )


def exactly(value: Decimal) -> Fraction:
    return Fraction(value)


def rounded(amount: Fraction) -> Decimal:
    """Half even at 12 places, by whole numbers alone."""
    scaled = amount * 10**12
    below = scaled.numerator // scaled.denominator
    rest = scaled - below
    up = rest > Fraction(1, 2) or (rest == Fraction(1, 2) and below % 2 == 1)
    return Decimal(below + up).scaleb(-12)


@given(
    prices=st.tuples(unit_prices, unit_prices),
    quantities=st.tuples(counts, counts),
    percent=st.decimals(-100, 1000, places=6),
    per_token=st.decimals(0, "0.002", places=15),
    per_request=st.decimals(0, 100, places=15),
)
def test_a_bill_is_exact(prices, quantities, percent, per_token, per_request):
    used = TokenCount({UnitClass.INPUT: quantities[0], UnitClass.OUTPUT: quantities[1]})
    priced = a_book(input=prices[0], output=prices[1]).price_usage(MODEL, used)
    rules = [
        a_rule(1, MarkupKind.PERCENT, percent),
        a_rule(2, MarkupKind.PER_UNIT, per_token),
        a_rule(3, MarkupKind.PER_REQUEST, per_request),
    ]
    terms = markups.terms(rules, customer_id=OURS, provider_type="openai", model="m-1", at=NOON)
    billed = pricing.billed(priced, BillingMode.PLATFORM, terms=terms, tokens=used.total)
    cost = sum(Fraction(p) * q for p, q in zip(prices, quantities, strict=True))
    total = sum(quantities)
    wanted = cost * (1 + Fraction(percent) / 100) + Fraction(per_token) * total
    wanted += Fraction(per_request)
    assert billed == (rounded(wanted) if total else 0)
    assert pricing.billed(priced, BillingMode.BYOK, terms=terms, tokens=used.total) == 0


@given(prices=st.tuples(unit_prices, unit_prices), quantities=st.tuples(counts, counts))
def test_without_rules_a_customer_pays_what_the_vendor_asks(prices, quantities):
    used = TokenCount({UnitClass.INPUT: quantities[0], UnitClass.OUTPUT: quantities[1]})
    priced = a_book(input=prices[0], output=prices[1]).price_usage(MODEL, used)
    terms = markups.terms([], customer_id=OURS, provider_type="openai", model="m-1", at=NOON)
    billed = pricing.billed(priced, BillingMode.PLATFORM, terms=terms, tokens=used.total)
    assert billed == priced.cost


@given(
    bound=st.integers(1, 10**6),
    share=st.integers(0, 10**6),
    percent=st.decimals(-100, 1000, places=6),
    fees=st.tuples(st.decimals(0, "0.002", places=15), st.decimals(0, 100, places=15)),
    price=unit_prices,
)
def test_what_was_reserved_covers_every_bill_within_its_bound(bound, share, percent, fees, price):
    """The quote of at most `bound` tokens is never below the bill of fewer."""
    terms = markups.Terms(factor=(100 + percent) / 100, per_token=fees[0], per_request=fees[1])
    used = TokenCount({UnitClass.INPUT: min(bound, share)})
    priced = a_book(input=price).price_usage(MODEL, used)
    reserved = terms.apply(bound * price, tokens=bound)
    billed = pricing.billed(priced, BillingMode.PLATFORM, terms=terms, tokens=used.total)
    assert billed <= reserved.quantize(Decimal("1e-12"), rounding=ROUND_HALF_EVEN)
