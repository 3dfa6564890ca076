"""Money is exact until it is quantised once."""

from decimal import Decimal
from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from ideplatform.kit import money

prices = st.decimals(min_value=0, max_value=100, places=15, allow_nan=False)


@given(st.lists(st.tuples(st.integers(0, 10**9), prices), max_size=20))
def test_products_and_totals_lose_nothing(lines):
    total = money.total([money.product(quantity, price) for quantity, price in lines])
    assert Fraction(total) == sum((q * Fraction(p) for q, p in lines), Fraction(0))


def test_quantising_rounds_half_even_at_the_twelfth_place():
    assert money.quantise(Decimal("0.0000000000005")) == Decimal("0E-12")
    assert money.quantise(Decimal("0.0000000000015")) == Decimal("0.000000000002")


def test_text_has_no_exponent():
    assert money.text(Decimal("1E-12")) == "0.000000000001"
    assert money.text(Decimal("1E+3")) == "1000"
