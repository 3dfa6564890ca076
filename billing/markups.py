"""What customers pay beside the vendor's price (pure): percent, USD a token, USD a call.

Each kind is decided by one rule: of those that fit the call the one with the highest priority,
then the more particular one, then the newer. Amounts stay exact; the bill is rounded once.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from billing.types import MarkupKind
from ideplatform.kit import money

_HUNDRED: Final = Decimal(100)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One markup; empty or None means any. In force in `[starts_at, ends_at)`."""

    id: UUID
    priority: int
    customer_id: UUID | None
    provider_type: str
    model_glob: str
    kind: MarkupKind
    value: Decimal
    starts_at: datetime
    ends_at: datetime | None

    def fits(self, customer_id: UUID, provider_type: str, model: str, at: datetime) -> bool:
        return (
            self.customer_id in (None, customer_id)
            and self.provider_type in ("", provider_type)
            and (not self.model_glob or _matches(self.model_glob, model))
            and self.starts_at <= at
            and (self.ends_at is None or at < self.ends_at)
        )

    @property
    def rank(self) -> tuple[int, bool, bool, int, UUID]:
        return (
            self.priority,
            self.customer_id is not None,
            bool(self.provider_type),
            len(self.model_glob),
            self.id,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What is made of a vendor's price: USD x `factor`, and fees in USD."""

    factor: Decimal = Decimal(1)
    per_token: Decimal = money.ZERO
    per_request: Decimal = money.ZERO

    def apply(self, cost: Decimal, *, tokens: int) -> Decimal:
        """The exact amount for a call of `tokens` tokens that costs `cost`; not rounded."""
        marked_up = money.multiplied(cost, self.factor)
        fee = money.product(tokens, self.per_token)
        return money.total([marked_up, fee, self.per_request])

    def of_token(self, price: Decimal) -> Decimal:
        """What one more token costs, exact."""
        return money.total([money.multiplied(price, self.factor), self.per_token])


PLAIN: Final = Terms()
"""The vendor's price and nothing else."""


def terms(
    rules: Sequence[Rule], *, customer_id: UUID, provider_type: str, model: str, at: datetime
) -> Terms:
    """The terms of a call, by the name of the model that was asked for and its dispatch."""
    found = [rule for rule in rules if rule.fits(customer_id, provider_type, model, at)]
    if not found:
        return PLAIN
    value = {
        kind: max((rule for rule in found if rule.kind is kind), key=_rank, default=None)
        for kind in MarkupKind
    }
    percent, per_unit, per_request = (
        rule.value if (rule := value[kind]) is not None else money.ZERO
        for kind in (MarkupKind.PERCENT, MarkupKind.PER_UNIT, MarkupKind.PER_REQUEST)
    )
    return Terms(
        factor=(_HUNDRED + percent) / _HUNDRED, per_token=per_unit, per_request=per_request
    )


def _rank(rule: Rule) -> tuple[int, bool, bool, int, UUID]:
    return rule.rank


@functools.lru_cache(maxsize=1_000)
def _matches(glob: str, model: str) -> bool:
    return re.fullmatch(fnmatch.translate(glob), model) is not None
