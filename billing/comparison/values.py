"""Cells, what was counted of them, and what a comparison knows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal

from billing.types import LineClass
from ideplatform.kit import money


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What is compared. Ours bears the account's own reference as its key."""

    day: date
    model: str
    key: str = ""
    project: str = ""
    tier: str = ""
    unit_class: str = ""

    def on(self, day: date) -> Cell:
        return replace(self, day=day)

    @property
    def order(self) -> tuple[date, str, str, str, str, str]:
        return self.day, self.model, self.key, self.project, self.tier, self.unit_class


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """How much of a cell, and for how much; None is what nobody knows.

    `estimated` is the part of our quantity that we had to estimate.
    """

    quantity: int | None = 0
    cost: Decimal | None = money.ZERO
    estimated: int = 0

    @property
    def is_something(self) -> bool:
        return bool(self.quantity or self.cost)


NOTHING = Count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A cell and what it comes to. `explained` is what people had decided about it before."""

    cell: Cell
    ours: Count
    theirs: Count
    explained: Count = NOTHING
    line_class: LineClass = LineClass.MATCH

    @property
    def quantity_off(self) -> int:
        """What the vendor counted more than we (less: negative); 0 where it counts nothing."""
        if self.theirs.quantity is None:
            return 0
        return self.theirs.quantity - (self.ours.quantity or 0) - (self.explained.quantity or 0)

    @property
    def cost_off(self) -> Decimal | None:
        """What the vendor charges more than we booked, USD; None where one side has no cost."""
        if self.theirs.cost is None or self.ours.cost is None:
            return None
        return self.unbooked

    @property
    def unbooked(self) -> Decimal:
        """The same, where an unknown cost counts as none."""
        ours, explained = self.ours.cost or money.ZERO, self.explained.cost or money.ZERO
        if self.theirs.cost is None:
            return money.ZERO
        return money.total([self.theirs.cost, -ours, -explained])


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a comparison knows beside the two counts.

    `account_ref` is the vendor's name of our key or project, empty when all of the account is
    ours. `settled_before`: days before it are complete at the vendor. `unit_price` is the list
    price of a cell, None for what we have no price for. `explained` and `beside` (the open
    differences of the days around the window) come from earlier comparisons.
    """

    provider_type: str
    account_ref: str
    settled_before: date
    unit_price: Callable[[Cell], Decimal | None]
    knows_model: Callable[[Cell], bool]
    explained: Mapping[Cell, Count] = field(default_factory=dict)
    beside: Mapping[Cell, Finding] = field(default_factory=dict)

    def is_ours(self, cell: Cell) -> bool:
        """Whether a cell of the report is of our own key or project."""
        names = (cell.key, cell.project, f"{cell.project}/{cell.key}")
        return self.account_ref in ("", *names)

    def own(self, cell: Cell) -> Cell:
        return replace(cell, key=self.account_ref, project="")
