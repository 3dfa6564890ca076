"""What reports say, whoever wrote them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import TypeVar

import msgspec

from billing.types import UnitClass

T = TypeVar("T")


class Malformed(ValueError):
    """The page is not of the kind it was said to be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What was used of one class; empty names are what the vendor left out."""

    day: date
    model: str
    key: str
    project: str
    tier: str
    unit_class: UnitClass
    quantity: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Charge:
    """What was charged, USD; None is "of any". A negative amount is a credit."""

    day: date
    amount: Decimal
    label: str
    project: str | None = None
    key: str | None = None
    model: str | None = None
    tier: str | None = None
    unit_class: UnitClass | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A vendor's account of some days."""

    usages: tuple[Usage, ...] = ()
    charges: tuple[Charge, ...] = ()

    def within(self, start: date, end: date) -> Report:
        """The part about the days `[start, end)`."""
        return Report(
            usages=tuple(one for one in self.usages if start <= one.day < end),
            charges=tuple(one for one in self.charges if start <= one.day < end),
        )


def decode(raw: bytes, kind: type[T]) -> T:
    """A page as its type; decimals come from the digits of the text."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as wrong:
        raise Malformed("the page is not a report of this kind") from wrong


def finite(amount: Decimal) -> Decimal:
    """A number; NaN and infinities are none."""
    if not amount.is_finite() or abs(amount) >= 10**15:
        raise Malformed("an amount is no number")
    return amount


def whole(amount: Decimal) -> int:
    """A count; half a token is no count."""
    if finite(amount) != amount.to_integral_value() or amount < 0:
        raise Malformed("a quantity is no whole number")
    return int(amount)


def require_dollars(currency: str) -> None:
    if currency.upper() != "USD":
        raise Malformed("amounts of this report are in US dollars")
