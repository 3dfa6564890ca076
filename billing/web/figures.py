"""Numbers as people read them, in the reader's language (pure but for Django's formats).

What is spent or due rounds half up, what is available rounds down; an amount that is not zero
never looks like zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import Final

from django.utils.formats import number_format
from django.utils.translation import get_language

from billing.types import Precision
from ideplatform.kit import money

_SYMBOLS: Final = {"pt-br": "US$\u00a0"}
_SYMBOL: Final = "$"
_CENTS: Final = 2
_EVERY_PLACE: Final = 12
_PACE_DAYS: Final = 7
_MOST_DAYS: Final = 999
_DAY: Final = timedelta(days=1)
_SECOND: Final = timedelta(seconds=1)
_SMALL: Final = ((Decimal(1), _CENTS), (Decimal("0.01"), 4))
_SMALLEST_PLACES: Final = 6


def usd(amount: Decimal, precision: Precision, *, rounds_down: bool = False) -> str:
    """An amount with its currency: `$1,234.50`, `US$ 1.234,50`, `$0.0014`, `<$0.01`."""
    places = _places(amount, precision)
    shown = _rounded(amount, places, rounds_down=rounds_down)
    sign = "-" if shown < 0 else ""
    if not shown and amount > 0 and not rounds_down:
        return f"<{_money(Decimal(1).scaleb(-places), places)}"
    return sign + _money(abs(shown), places)


def count(number: int) -> str:
    """An integer with its thousands apart."""
    return str(number_format(number, 0, force_grouping=True))


def change(now: Decimal, before: Decimal) -> int | None:
    """How many percent more than before, rounded to the nearest; None when there was nothing."""
    if not before:
        return None
    return int(((now - before) * 100 / before).quantize(Decimal(1), ROUND_HALF_UP))


def pace(days: Sequence[tuple[datetime, datetime, Decimal]], now: datetime) -> Decimal:
    """What a day cost of late, USD: the mean over the last seven days, or as many as there are.

    `days` are `(start, end, amount)` in order; the running day counts for the part that has gone.
    """
    begun = [day for day in days if day[0] < now][-_PACE_DAYS:]
    seconds = sum((min(end, now) - start) // _SECOND for start, end, _ in begun)
    if seconds <= 0:
        return money.ZERO
    spent = money.total([amount for _, _, amount in begun])
    return spent / max(Decimal(seconds) / (_DAY // _SECOND), Decimal(1))


def days_left(available: Decimal, a_day: Decimal) -> int | None:
    """How many whole days the money lasts at this pace; None when nothing is being spent."""
    if a_day <= 0:
        return None
    return min(_MOST_DAYS, max(0, int((available / a_day).to_integral_value(ROUND_FLOOR))))


def _places(amount: Decimal, precision: Precision) -> int:
    if precision is Precision.CENTS:
        return _CENTS
    if precision is Precision.EXACT:
        return max(_CENTS, min(_EVERY_PLACE, _needed(amount)))
    if not amount:
        return _CENTS
    most = next((p for least, p in _SMALL if abs(amount) >= least), _SMALLEST_PLACES)
    return max(_CENTS, min(most, _needed(amount)))


def _needed(amount: Decimal) -> int:
    return -int(amount.normalize().as_tuple().exponent)


def _rounded(amount: Decimal, places: int, *, rounds_down: bool) -> Decimal:
    rounding = ROUND_FLOOR if rounds_down else ROUND_HALF_UP
    return amount.quantize(Decimal(1).scaleb(-places), rounding, context=money.EXACT)


def _money(amount: Decimal, places: int) -> str:
    symbol = _SYMBOLS.get(get_language() or "", _SYMBOL)
    return f"{symbol}{number_format(amount, places, force_grouping=True)}"
