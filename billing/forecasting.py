"""What a window will probably have cost at its end (pure): exact arithmetic on USD."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal, localcontext
from enum import StrEnum
from typing import Final

from billing.windows import Window
from ideplatform.kit import money

HISTORY_DAYS: Final = 28
FEWEST_DAYS: Final = 3
SPREAD: Final = Decimal("1.2816")
"""Standard deviations around the mean that hold four of five outcomes of a normal distribution."""
_MICROSECONDS_PER_DAY: Final = 86_400_000_000
_TICK: Final = timedelta(microseconds=1)


class ForecastMethod(StrEnum):
    """`closed`: the window is over. `pace`: it goes on as it began, for want of whole days before.

    `mean_of_days`: the days of the four weeks before today, from the first with any cost on.
    """

    CLOSED = "closed"
    PACE = "pace"
    MEAN_OF_DAYS = "mean_of_days"


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What will have been billed, USD: probably `mid`, in four of five cases `low` to `high`.

    By `pace` nothing is known of the spread: `low` is what is spent already.
    """

    low: Decimal
    mid: Decimal
    high: Decimal
    method: ForecastMethod


def forecast(
    window: Window, *, now: datetime, spent: Decimal, history: Sequence[Decimal]
) -> Forecast:
    """From what is spent and what each of the days before today had cost, oldest first."""
    if window.end <= now:
        return Forecast(low=spent, mid=spent, high=spent, method=ForecastMethod.CLOSED)
    days = _used(history)
    with localcontext(money.EXACT):
        if len(days) >= FEWEST_DAYS:
            return _by_days(window, now, spent, days)
        return _by_pace(window, now, spent)


def _used(history: Sequence[Decimal]) -> list[Decimal]:
    first = next((n for n, cost in enumerate(history) if cost), len(history))
    return list(history[first:])


def _by_days(window: Window, now: datetime, spent: Decimal, days: list[Decimal]) -> Forecast:
    left = _days(window.end - max(now, window.start))
    mid = spent + statistics.mean(days) * left
    spread = SPREAD * statistics.stdev(days) * left.sqrt()
    return Forecast(
        low=money.quantise(max(spent, mid - spread)),
        mid=money.quantise(mid),
        high=money.quantise(mid + spread),
        method=ForecastMethod.MEAN_OF_DAYS,
    )


def _by_pace(window: Window, now: datetime, spent: Decimal) -> Forecast:
    gone = _days(max(now - window.start, timedelta()))
    mid = money.quantise(spent * _days(window.length) / gone) if gone else spent
    return Forecast(low=spent, mid=mid, high=2 * mid - spent, method=ForecastMethod.PACE)


def _days(length: timedelta) -> Decimal:
    return Decimal(length // _TICK) / _MICROSECONDS_PER_DAY
