"""How the console writes money: exact where it is an amount, and never more than is there."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_DOWN, Decimal
from uuid import UUID

from django import template

register = template.Library()
_CENT = Decimal("0.01")
_MILLION = 1_000_000


@register.filter
def usd(amount: Decimal | None) -> str:
    """An amount in full, with two places at least; "-" where nobody knows it."""
    if amount is None:
        return "-"
    plain = amount.normalize()
    return format(plain if -int(plain.as_tuple().exponent) > 2 else plain.quantize(_CENT), "f")


@register.filter
def down(amount: Decimal) -> str:
    """What is available, rounded down to cents."""
    return format(amount.quantize(_CENT, rounding=ROUND_DOWN), "f")


@register.filter
def per_million(price: Decimal | None) -> str:
    """A price per token as people compare them: USD per million."""
    return "-" if price is None else usd(price * _MILLION)


@register.filter
def of(names: Mapping[UUID, str], person: UUID | None) -> str:
    """A person's address, else what is known of them."""
    return "the platform" if person is None else names.get(person, str(person))


@register.filter
def cell(value: object) -> str:
    """A cell of a report."""
    return usd(value) if isinstance(value, Decimal) else str(value if value is not None else "-")
