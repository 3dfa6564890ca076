"""Charts as geometry: integers that a template draws as SVG, so that no script is needed.

Kinds of bars differ by pattern, not by colour alone. Money stays `Decimal` until it is a height.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal
from typing import Final

WIDTH: Final = 720
HEIGHT: Final = 240
LEFT: Final = 70
RIGHT: Final = 8
TOP: Final = 12
BOTTOM: Final = 28
PATTERNS: Final = 6
_PLOT_WIDTH: Final = WIDTH - LEFT - RIGHT
_PLOT_HEIGHT: Final = HEIGHT - TOP - BOTTOM
_STEPS: Final = 4
_NICE: Final = tuple(map(Decimal, ("1", "1.25", "1.5", "2", "2.5", "3", "4", "5", "6", "8", "10")))
_MOST_LABELS: Final = 8
_WIDEST_BAR: Final = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One rectangle; `pattern` tells which of the series it is of."""

    x: int
    y: int
    width: int
    height: int
    pattern: int
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A text at a place of an axis."""

    at: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """One kind of bar: its name, and an amount for every column."""

    name: str
    amounts: Sequence[Decimal]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """Everything the template draws."""

    bars: tuple[Bar, ...]
    rows: tuple[Mark, ...]
    columns: tuple[Mark, ...]
    legend: tuple[Mark, ...]
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    foot: int = HEIGHT - BOTTOM

    @property
    def label_at(self) -> int:
        return self.height - 8

    @property
    def tick_at(self) -> int:
        return self.left - 8


def stacked(
    columns: Sequence[str], series: Sequence[Series], *, amount: Callable[[Decimal], str]
) -> Chart:
    """Columns of stacked bars. `amount` writes an amount for titles and the axis."""
    sums = [sum((one.amounts[n] for one in series), Decimal(0)) for n in range(len(columns))]
    top = ceiling(max(sums, default=Decimal(0)))
    bars = [
        bar
        for n, name in enumerate(columns)
        for bar in _column(n, len(columns), name, series, top, amount)
    ]
    return Chart(
        bars=tuple(bars),
        rows=tuple(_rows(top, amount)),
        columns=tuple(_labels(columns)),
        legend=tuple(Mark(at=n % PATTERNS, text=one.name) for n, one in enumerate(series)),
    )


def ceiling(most: Decimal) -> Decimal:
    """The top of an axis in four steps of a round number; 0 of nothing."""
    if most <= 0:
        return Decimal(0)
    least = most / _STEPS
    unit = Decimal(1).scaleb(least.adjusted())
    step = next(nice * unit for nice in _NICE if nice * unit >= least)
    return step * _STEPS


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauge:
    """How full a limit is, in thousandths of a bar; what is beyond the limit has no room left."""

    spent: int
    held: int
    is_over: bool


def gauge(spent: Decimal, held: Decimal, limit: Decimal) -> Gauge:
    """The bar of a budget. A limit of 0 is full from the start."""
    is_over = spent + held >= limit
    if limit <= 0:
        return Gauge(spent=1_000, held=0, is_over=True)
    first = min(1_000, _thousandths(spent, limit))
    both = min(1_000, _thousandths(spent + held, limit))
    return Gauge(spent=first, held=max(0, both - first), is_over=is_over)


def _thousandths(part: Decimal, whole: Decimal) -> int:
    return int((part * 1_000 / whole).to_integral_value(ROUND_HALF_UP))


def _column(
    number: int,
    of: int,
    name: str,
    series: Sequence[Series],
    top: Decimal,
    amount: Callable[[Decimal], str],
) -> Iterator[Bar]:
    left, width = _place(number, of)
    below = Decimal(0)
    for kind, one in enumerate(series):
        value = one.amounts[number]
        if value <= 0 or not top:
            continue
        foot, head = _height(below, top), _height(below + value, top)
        title = f"{name}: {amount(value)}"
        yield Bar(
            x=left,
            y=HEIGHT - BOTTOM - max(head, foot + 1),
            width=width,
            height=max(1, head - foot),
            pattern=kind % PATTERNS,
            title=title if len(series) == 1 else f"{one.name}, {title}",
        )
        below += value


def _place(number: int, of: int) -> tuple[int, int]:
    """Left edge and width of a column's bar, a fifth of the column left free."""
    start, end = number * _PLOT_WIDTH // of, (number + 1) * _PLOT_WIDTH // of
    width = min(_WIDEST_BAR, max(1, (end - start) * 4 // 5))
    return LEFT + start + (end - start - width) // 2, width


def _height(value: Decimal, top: Decimal) -> int:
    return int((value * _PLOT_HEIGHT / top).to_integral_value(ROUND_HALF_UP))


def _rows(top: Decimal, amount: Callable[[Decimal], str]) -> Iterator[Mark]:
    for step in range(_STEPS + 1 if top else 1):
        value = top * step / _STEPS
        yield Mark(at=HEIGHT - BOTTOM - _PLOT_HEIGHT * step // _STEPS, text=amount(value))


def _labels(columns: Sequence[str]) -> Iterator[Mark]:
    every = max(1, int((Decimal(len(columns)) / _MOST_LABELS).to_integral_value(ROUND_CEILING)))
    for number, name in enumerate(columns):
        if number % every == 0:
            left, width = _place(number, len(columns))
            yield Mark(at=left + width // 2, text=name)
