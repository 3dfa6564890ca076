"""Exact money: `Decimal` in USD, quantised once, written as decimal strings.

Units: amounts NUMERIC(30,12) USD, unit prices NUMERIC(24,15) USD. Never a float.
"""

from __future__ import annotations

import functools
from decimal import ROUND_HALF_EVEN, Context, Decimal

from django.db import models

PLACES = Decimal("0.000000000001")
EXACT = Context(prec=60, rounding=ROUND_HALF_EVEN)
ZERO = Decimal(0)


def quantise(amount: Decimal) -> Decimal:
    """The amount to 12 places, half even: done once, on a total."""
    return amount.quantize(PLACES, context=EXACT)


def product(quantity: int, unit_price: Decimal) -> Decimal:
    """quantity x unit price, exact (60 digits)."""
    return EXACT.multiply(quantity, unit_price)


def multiplied(amount: Decimal, factor: Decimal) -> Decimal:
    """amount x factor, exact (60 digits)."""
    return EXACT.multiply(amount, factor)


def total(amounts: list[Decimal]) -> Decimal:
    """The exact sum."""
    return functools.reduce(EXACT.add, amounts, ZERO)


def text(amount: Decimal) -> str:
    """The amount as JSON carries it: plain digits, no exponent."""
    return format(amount, "f")


def plain(number: Decimal) -> str:
    """Six significant digits for people, without an exponent or zeros at the end."""
    return format(Context(prec=6).create_decimal(number).normalize(), "f")


def amount_field(**options: object) -> models.DecimalField:  # type: ignore[type-arg]
    """A NUMERIC(30,12) column."""
    return models.DecimalField(max_digits=30, decimal_places=12, **options)  # type: ignore[arg-type]


def unit_price_field(**options: object) -> models.DecimalField:  # type: ignore[type-arg]
    """A NUMERIC(24,15) column."""
    return models.DecimalField(max_digits=24, decimal_places=15, **options)  # type: ignore[arg-type]
