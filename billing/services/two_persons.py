"""From which amounts on a second person is needed, and how much of a day an operator has left.

The database decides when a transaction commits (migration 0019); this is how people are told
before. Units: USD.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db.models import Sum

from billing.models import HandMove, TwoPersonRule
from ideplatform.kit import money
from ideplatform.kit.db import database_now

DAYS_SHARE: Final = 5
RECONCILIATION_SHARE: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What one operator may move alone: at once, in a UTC day, and on a vendor's bill."""

    amount_usd: Decimal
    per_day_usd: Decimal
    reconciliation_usd: Decimal


def rule() -> Rule:
    """The rule as the database keeps it."""
    row = TwoPersonRule.objects.get()
    return Rule(
        amount_usd=row.amount, per_day_usd=row.per_day, reconciliation_usd=row.reconciliation
    )


def moved_today(operator_id: UUID) -> Decimal:
    """What an operator has moved alone in this UTC day."""
    today = database_now().astimezone(UTC).date()
    moves = HandMove.objects.filter(day=today, operator_id=operator_id, approval__isnull=True)
    total: Decimal | None = moves.aggregate(total=Sum("amount"))["total"]
    return total or money.ZERO


def why_two(*, operator_id: UUID, amount_usd: Decimal) -> str:
    """Why a signed amount needs a second person, "" when it does not."""
    limits = rule()
    if amount_usd < 0:
        return "It takes money from a customer."
    if amount_usd > limits.amount_usd:
        return f"It is more than {limits.amount_usd.normalize():f} USD."
    if moved_today(operator_id) + amount_usd > limits.per_day_usd:
        return f"You would have moved more than {limits.per_day_usd.normalize():f} USD today."
    return ""


def on_migrated(using: str, **_: Any) -> None:
    """Bring the setting into the database; connected to `post_migrate`."""
    amount: Decimal = settings.ENV.billing_two_person_usd
    TwoPersonRule.objects.using(using).filter(pk=1).update(
        amount=amount,
        per_day=amount * DAYS_SHARE,
        reconciliation=amount / RECONCILIATION_SHARE,
    )
