"""What a difference is: its class. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Final

from billing.comparison import allotment
from billing.comparison.values import NOTHING, Cell, Context, Count, Finding
from billing.types import LineClass
from billing.vendor_reports import Report
from ideplatform.kit import money

COST_TOLERANCE_USD: Final = Decimal("0.01")
COST_TOLERANCE_SHARE: Final = Decimal("0.005")
AGREEING: Final = frozenset({LineClass.MATCH, LineClass.ROUNDING, LineClass.BOUNDARY_SKEW})
_PAIRED: Final = frozenset({LineClass.LATE, LineClass.MISSING_USAGE, LineClass.PHANTOM_USAGE})
_DAY: Final = timedelta(days=1)


def compare(ours: Mapping[Cell, Count], report: Report, context: Context) -> list[Finding]:
    """A finding for every cell that one of the two sides counted, by day and name.

    `ours` has the vendor's classes (see `vendor_reports.folded`), and neither key nor project.
    """
    theirs = allotment.cells(ours, report, context)
    mine = {context.own(cell): count for cell, count in ours.items()}
    used = [
        Finding(
            cell=cell,
            ours=mine.get(cell, NOTHING),
            theirs=theirs.get(cell) or allotment.absent(cell, context),
            explained=context.explained.get(cell, NOTHING),
        )
        for cell in mine.keys() | theirs.keys()
    ]
    judged = [replace(one, line_class=_class_of(one, context)) for one in used]
    found = [*_without_skew(judged, context), *_credits(report, context)]
    return sorted(
        (one for one in found if one.ours.is_something or one.theirs.is_something),
        key=lambda one: one.cell.order,
    )


def beside_skewed(findings: Iterable[Finding], context: Context) -> list[Cell]:
    """The open differences of days around the window that these findings take back."""
    skewed = [one for one in findings if one.line_class is LineClass.BOUNDARY_SKEW]
    return [
        cell
        for cell, other in context.beside.items()
        if any(_are_a_pair(replace(one, line_class=LineClass.LATE), other) for one in skewed)
    ]


def _class_of(one: Finding, context: Context) -> LineClass:
    if _is_explained(one):
        return LineClass.MATCH
    if not context.is_ours(one.cell):
        return LineClass.FOREIGN_TRAFFIC
    if not one.ours.quantity and not context.knows_model(one.cell):
        return LineClass.UNKNOWN_MODEL
    if one.ours.quantity and one.ours.cost is None and not one.quantity_off:
        return LineClass.UNPRICED
    if not one.quantity_off and _is_paid(one):
        return LineClass.ROUNDING if one.cost_off else LineClass.MATCH
    if one.cell.day >= context.settled_before:
        return LineClass.LATE
    return _settled_class(one)


def _settled_class(one: Finding) -> LineClass:
    """A difference of a day on which nothing more arrives."""
    if one.quantity_off:
        return LineClass.MISSING_USAGE if one.quantity_off > 0 else LineClass.PHANTOM_USAGE
    if one.theirs.quantity is None or not one.ours.quantity:  # charged, and counted by nobody
        return LineClass.MISSING_USAGE if one.unbooked > 0 else LineClass.PHANTOM_USAGE
    return LineClass.PRICE_DRIFT


def _is_explained(one: Finding) -> bool:
    """Whether people decided about exactly this before."""
    return one.explained.is_something and not one.quantity_off and _is_small(one.unbooked, one)


def _is_paid(one: Finding) -> bool:
    """Whether the costs agree, as far as both are known."""
    return one.cost_off is None or _is_small(one.cost_off, one)


def _is_small(amount: Decimal, one: Finding) -> bool:
    larger = max(abs(one.theirs.cost or money.ZERO), abs(one.ours.cost or money.ZERO))
    allowed = max(COST_TOLERANCE_USD, money.EXACT.multiply(larger, COST_TOLERANCE_SHARE))
    return abs(amount) <= allowed


def _without_skew(findings: Sequence[Finding], context: Context) -> list[Finding]:
    """Differences that the next day, or the one before, takes back: one call on two days."""
    by_cell = dict(context.beside) | {one.cell: one for one in findings}
    skewed: set[Cell] = set()
    for one in sorted(findings, key=lambda one: one.cell.order):
        for step in (-_DAY, _DAY):
            other = by_cell.get(one.cell.on(one.cell.day + step))
            if other is not None and not skewed & {one.cell, other.cell}:
                skewed |= {one.cell, other.cell} if _are_a_pair(one, other) else set()
    return [
        replace(one, line_class=LineClass.BOUNDARY_SKEW) if one.cell in skewed else one
        for one in findings
    ]


def _are_a_pair(one: Finding, other: Finding) -> bool:
    """Whether the sums of both days agree."""
    if not {one.line_class, other.line_class} <= _PAIRED or not one.quantity_off:
        return False
    if abs((one.cell.day - other.cell.day).days) != 1 or one.cell != other.cell.on(one.cell.day):
        return False
    if one.quantity_off + other.quantity_off:
        return False
    if one.cost_off is None or other.cost_off is None:
        return True
    return _is_small(money.total([one.cost_off, other.cost_off]), one)


def _credits(report: Report, context: Context) -> list[Finding]:
    return [
        _credit(
            Finding(
                cell=cell,
                ours=NOTHING,
                theirs=count,
                explained=context.explained.get(cell, NOTHING),
            ),
            context,
        )
        for cell, count in allotment.given_back(report, context).items()
    ]


def _credit(one: Finding, context: Context) -> Finding:
    """A gift of any size is looked at; only what was decided about is done."""
    if not one.unbooked:
        return one
    is_ours = context.is_ours(one.cell)
    line_class = LineClass.CREDIT_OR_DISCOUNT if is_ours else LineClass.FOREIGN_TRAFFIC
    return replace(one, line_class=line_class)
