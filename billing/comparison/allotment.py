"""A vendor's report by cells: usage added up, each charge divided among what it can be for. Pure.

Cost reports say less than usage reports (no key, often no tier), so one charge may cover several
cells: it is divided by what each would cost at list price, to 12 places, and nothing is lost.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Final

from billing.comparison.values import Cell, Context, Count
from billing.vendor_reports import Charge, Report, Usage, folded, tier
from ideplatform.kit import money

LABEL_LENGTH: Final = 200
_DATED: Final = re.compile(r"(?P<base>.+?)[-@](?:20\d{2}-?\d{2}-?\d{2}|latest)")
Names = Mapping[tuple[date, str], str]


def cells(ours: Iterable[Cell], report: Report, context: Context) -> dict[Cell, Count]:
    """What the vendor counted and charged; cells of our own key or project bear our reference."""
    names = _names(ours, report)
    used = _used(report.usages, names, context)
    charged: dict[Cell, list[Decimal]] = defaultdict(list)
    for charge in report.charges:
        if charge.amount > 0:
            for cell, amount in _divided(charge, used, names, context):
                charged[cell].append(amount)
    found = {
        cell: Count(quantity=used.get(cell), cost=_charged(cell, charged.get(cell), context))
        for cell in used.keys() | charged.keys()
    }
    return _merged(found, context)


def given_back(report: Report, context: Context) -> dict[Cell, Count]:
    """Credits and discounts by day and name; one that names nobody is the whole account's."""
    sums: dict[Cell, list[Decimal]] = defaultdict(list)
    for charge in report.charges:
        if charge.amount < 0:
            sums[_nameless(charge, charge.label, context)].append(charge.amount)
    return {
        cell: Count(quantity=None, cost=money.quantise(money.total(amounts)))
        for cell, amounts in sums.items()
    }


def absent(cell: Cell, context: Context) -> Count:
    """What the report says of a cell that it does not mention."""
    return Count(quantity=0, cost=_charged(cell, None, context))


def _charged(cell: Cell, amounts: list[Decimal] | None, context: Context) -> Decimal | None:
    """Anthropic's cost report leaves the priority tier out; elsewhere no charge is one of 0."""
    if amounts:
        return money.total(amounts)
    is_left_out = context.provider_type == "anthropic" and cell.tier == "priority"
    return None if is_left_out else money.ZERO


def _used(usages: Iterable[Usage], names: Names, context: Context) -> dict[Cell, int]:
    sums: dict[Cell, int] = defaultdict(int)
    for one in usages:
        cell = Cell(
            day=one.day,
            model=names.get((one.day, one.model), one.model),
            key=one.key,
            project=one.project,
            tier=tier(one.tier),
            unit_class=folded(context.provider_type, one.unit_class),
        )
        sums[cell] += one.quantity
    return dict(sums)


def _divided(
    charge: Charge, used: Mapping[Cell, int], names: Names, context: Context
) -> Iterator[tuple[Cell, Decimal]]:
    model = None if charge.model is None else names.get((charge.day, charge.model), charge.model)
    meant = [cell for cell in used if _covers(charge, model, cell, context)]
    if not meant:
        yield _nameless(charge, model or charge.label, context), charge.amount
        return
    meant.sort(key=lambda cell: cell.order)
    weights = _weights(meant, used, context)
    whole, left = money.total(weights), charge.amount
    for cell, weight in zip(meant[:-1], weights, strict=False):
        share = _share(charge.amount, weight, whole)
        left = money.total([left, -share])
        yield cell, share
    yield meant[-1], left


def _share(amount: Decimal, weight: Decimal, whole: Decimal) -> Decimal:
    if not whole:
        return money.ZERO
    return money.quantise(money.EXACT.divide(money.EXACT.multiply(amount, weight), whole))


def _weights(meant: Sequence[Cell], used: Mapping[Cell, int], context: Context) -> list[Decimal]:
    prices = [context.unit_price(cell) for cell in meant]
    usual = max((price for price in prices if price), default=Decimal(1))
    return [
        money.product(used[cell], usual if price is None else price)
        for cell, price in zip(meant, prices, strict=True)
    ]


def _covers(charge: Charge, model: str | None, cell: Cell, context: Context) -> bool:
    if charge.unit_class is None:  # storage, sessions, tax: nothing that is counted in tokens
        return False
    asked = (
        (charge.day, cell.day),
        (folded(context.provider_type, charge.unit_class), cell.unit_class),
        (model, cell.model),
        (charge.key, cell.key),
        (charge.project, cell.project),
        (None if charge.tier is None else tier(charge.tier), cell.tier),
    )
    return all(wanted is None or wanted == had for wanted, had in asked)


def _nameless(charge: Charge, name: str, context: Context) -> Cell:
    """The cell of a charge without usage; one without key and project is the whole account's."""
    unit_class = charge.unit_class
    cell = Cell(
        day=charge.day,
        model=name[:LABEL_LENGTH],
        key=charge.key or "",
        project=charge.project or "",
        tier="" if unit_class is None else tier(charge.tier or ""),
        unit_class="" if unit_class is None else folded(context.provider_type, unit_class),
    )
    is_ours = context.is_ours(cell) or not (cell.key or cell.project)
    return context.own(cell) if is_ours else cell


def _merged(found: Mapping[Cell, Count], context: Context) -> dict[Cell, Count]:
    groups: dict[Cell, list[Count]] = defaultdict(list)
    for cell, count in found.items():
        groups[context.own(cell) if context.is_ours(cell) else cell].append(count)
    return {cell: _sum(counts) for cell, counts in groups.items()}


def _sum(counts: Sequence[Count]) -> Count:
    quantities = [one.quantity for one in counts if one.quantity is not None]
    costs = [one.cost for one in counts if one.cost is not None]
    return Count(
        quantity=sum(quantities) if quantities else None,
        cost=money.quantise(money.total(costs)) if costs else None,
    )


def _names(ours: Iterable[Cell], report: Report) -> Names:
    """The vendor's names of a day as ours.

    An answer says `gpt-5-2026-08-07` where another, or the report, says `gpt-5`: names that are
    the same but for their date are one model, when only one of ours can be meant.
    """
    mine: dict[date, set[str]] = defaultdict(set)
    for cell in ours:
        mine[cell.day].add(cell.model)
    told = {(one.day, one.model) for one in report.usages}
    told |= {(one.day, one.model) for one in report.charges if one.model is not None}
    found = {}
    for day, name in told:
        alike = {one for one in mine[day] if _base(one) == _base(name)}
        if name not in mine[day] and len(alike) == 1:
            found[day, name] = alike.pop()
    return found


def _base(name: str) -> str:
    plain = name.lower().removeprefix("models/")
    dated = _DATED.fullmatch(plain)
    return dated["base"] if dated else plain
