"""A serial model of one customer's money: plain arithmetic, no database."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

ZERO = Decimal(0)


@dataclass
class Budget:
    """A hard limit for one user, or for all (`user` None)."""

    hard: Decimal
    user: UUID | None
    spent: Decimal = ZERO
    held: Decimal = ZERO

    @property
    def room(self) -> Decimal:
        return self.hard - self.spent - self.held


@dataclass
class Call:
    """A reserved call; `parts` is what its settlement took, paid and promotional."""

    amount: Decimal
    user: UUID
    state: str = "dispatched"
    parts: tuple[Decimal, Decimal] = (ZERO, ZERO)

    @property
    def is_live(self) -> bool:
        return self.state == "dispatched"


@dataclass
class Purse:
    """What the platform must agree with after every step."""

    budgets: list[Budget]
    paid: Decimal = ZERO
    promo: Decimal = ZERO
    held: Decimal = ZERO
    calls: dict[UUID, Call] = field(default_factory=dict)

    @property
    def available(self) -> Decimal:
        return self.paid + self.promo - self.held

    def _budgets_of(self, user: UUID) -> list[Budget]:
        return [one for one in self.budgets if one.user in (None, user)]

    def refusal(self, amount: Decimal, user: UUID) -> str | None:
        """Why a call of this amount is refused now; None when it is admitted."""
        tight = min(self._budgets_of(user), key=lambda one: one.room, default=None)
        if tight is not None and tight.room < amount:
            if amount > tight.hard:
                return "exceeds_limit"
            return self._waits(tight.spent + amount <= tight.hard, tight.held, "budget_exceeded")
        if amount > 0 and self.available < amount:
            fits_alone = self.paid + self.promo >= amount
            return self._waits(fits_alone, self.held, "insufficient_credits")
        return None

    @staticmethod
    def _waits(fits_alone: bool, held: Decimal, otherwise: str) -> str:
        return "in_flight_exhausted" if fits_alone and held > 0 else otherwise

    def reserve(self, key: UUID, amount: Decimal, user: UUID) -> None:
        self.calls[key] = Call(amount=amount, user=user)
        self._hold(user, amount)

    def extend(self, key: UUID, amount: Decimal) -> None:
        call = self.calls[key]
        self._hold(call.user, amount - call.amount)
        call.amount = amount

    def release(self, key: UUID, state: str) -> None:
        call = self.calls[key]
        self._hold(call.user, -call.amount)
        call.state = state

    def settle(self, key: UUID, cost: Decimal) -> None:
        """Promotional credit first; the rest is paid, below zero if it must be."""
        call = self.calls[key]
        if call.is_live:
            self._hold(call.user, -call.amount)
        call.state = "settled"
        promo = min(max(self.promo, ZERO), cost)
        self.promo -= promo
        self.paid -= cost - promo
        call.parts = (cost - promo, promo)
        for budget in self._budgets_of(call.user):
            budget.spent += cost

    def refund(self, key: UUID) -> None:
        paid, promo = self.calls[key].parts
        self.paid += paid
        self.promo += promo
        self.calls[key].state = "refunded"

    def _hold(self, user: UUID, amount: Decimal) -> None:
        self.held += amount
        for budget in self._budgets_of(user):
            budget.held += amount
