"""Exactness of prices: against rational numbers, in any order, in any number."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.pricing import Model, Price, PriceBook
from billing.types import TokenCount, UnitClass
from ideplatform.kit import ids, money
from tests.billing.calls import NOON

MODEL = Model(provider_type="openai", name="m", at=NOON)
unit_prices = st.decimals(min_value=0, max_value="0.002", places=15)
counts = st.integers(min_value=0, max_value=10_000_000)
classes = st.sampled_from(list(UnitClass))


def a_book(unit_price_of: dict[UnitClass, Decimal]) -> PriceBook:
    return PriceBook(
        Price(
            id=ids.new(),
            provider_type="openai",
            match="exact",
            pattern="m",
            service_tier="standard",
            region="",
            context_over_tokens=0,
            unit_class=unit_class,
            unit_price=unit_price,
        )
        for unit_class, unit_price in unit_price_of.items()
    )


def exact(unit_price_of: dict[UnitClass, Decimal], quantities: dict[UnitClass, int]) -> Fraction:
    return sum(
        (Fraction(unit_price_of[name]) * count for name, count in quantities.items()), Fraction(0)
    )


usages = st.dictionaries(classes, counts).flatmap(
    lambda quantities: st.tuples(
        st.fixed_dictionaries(dict.fromkeys(quantities, unit_prices)), st.just(quantities)
    )
)


@given(usages)
def test_a_cost_is_the_rational_sum_rounded_once_half_even(usage):
    unit_price_of, quantities = usage
    cost = a_book(unit_price_of).price_usage(MODEL, TokenCount(quantities)).cost
    assert cost is not None
    assert Fraction(cost) == Fraction(round(exact(unit_price_of, quantities) * 10**12), 10**12)


@given(usages)
def test_the_lines_sum_to_the_cost_before_rounding(usage):
    unit_price_of, quantities = usage
    priced = a_book(unit_price_of).price_usage(MODEL, TokenCount(quantities))
    amounts = sum((Fraction(line.amount) for line in priced.lines), Fraction(0))
    assert amounts == exact(unit_price_of, quantities)


@given(usages, st.randoms())
def test_the_order_of_classes_does_not_matter(usage, random):
    unit_price_of, quantities = usage
    shuffled = list(quantities.items())
    random.shuffle(shuffled)
    book = a_book(unit_price_of)
    one = book.price_usage(MODEL, TokenCount(quantities))
    other = book.price_usage(MODEL, TokenCount(dict(shuffled)))
    assert one == other


@given(unit_prices, st.lists(counts, max_size=20))
def test_splitting_a_line_changes_nothing_before_rounding(unit_price, parts):
    with_parts = money.total([money.product(part, unit_price) for part in parts])
    assert with_parts == money.product(sum(parts), unit_price)


@given(usages)
def test_a_quote_covers_every_call_within_its_bounds(usage):
    unit_price_of, quantities = usage
    bounds = {UnitClass.INPUT: Decimal(0), UnitClass.OUTPUT: Decimal(0)}
    book = a_book(bounds | unit_price_of)
    chat = {
        name: count
        for name, count in quantities.items()
        if name
        in {UnitClass.INPUT, UnitClass.CACHE_READ, UnitClass.CACHE_WRITE_5M, UnitClass.OUTPUT}
    }
    tokens = TokenCount(chat)
    quote = book.quote(MODEL, input_tokens=tokens.input, max_output_tokens=tokens.output)
    cost = book.price_usage(MODEL, tokens).cost
    assert cost is not None
    assert quote >= cost


def _many_tiny_events(number: int) -> None:
    """One token at 2e-8 USD each: DECIMAL(10,6) would have stored every one of them as zero."""
    unit_price = Decimal("0.00000002")
    book = a_book({UnitClass.INPUT: unit_price})
    tiny = TokenCount({UnitClass.INPUT: 1})
    costs = [book.price_usage(MODEL, tiny).cost or money.ZERO for _ in range(number)]
    assert 0 not in costs
    assert money.total(costs) == number * unit_price


def test_twenty_thousand_tiny_events_are_exact():
    _many_tiny_events(20_000)


@pytest.mark.scale
def test_a_million_tiny_events_are_exact():
    _many_tiny_events(1_000_000)
