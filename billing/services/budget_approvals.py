"""More than a budget's hard limit, in one window: granted or refused, once, by who manages money.

The refusal of a call opened the approval and named it; the database adds what is granted to the
window itself (migration 0023), so that it counts in the very next call. Units: USD.
"""

from __future__ import annotations

from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models.functions import Now

from accounts.services import audit
from accounts.types import Actor, Permission
from billing.errors import BudgetApprovalClosed
from billing.models import Budget, BudgetApproval, BudgetPeriod
from billing.services import budgets
from billing.types import BudgetDecision
from ideplatform.kit import money
from ideplatform.kit.db import database_now
from ideplatform.kit.errors import NotFound
from ideplatform.kit.serializers import wrong

LARGEST_USD: Final = Decimal(10) ** 12


@transaction.atomic
def grant(
    *, actor: Actor, budget_id: UUID, approval_id: UUID, amount_usd: Decimal | None = None
) -> BudgetApproval:
    """Let so much more be spent in the approval's window; by default what the refused call lacked.

    Raises NotFound, InvalidInput, BudgetApprovalClosed when it was decided, or its window is over.
    """
    budget = budgets.of(actor, budget_id, Permission.BILLING_MANAGE)
    asked = _open(budget, approval_id)
    amount = money.quantise(asked.needs if amount_usd is None else amount_usd)
    if not 0 < amount <= LARGEST_USD:
        raise wrong("/amount", "more than 0, in USD")
    return _decided(actor, budget, asked, BudgetDecision.GRANTED, amount)


@transaction.atomic
def refuse(*, actor: Actor, budget_id: UUID, approval_id: UUID) -> BudgetApproval:
    """Let the limit stand; the next refused call asks again. Raises as `grant` does."""
    budget = budgets.of(actor, budget_id, Permission.BILLING_MANAGE)
    asked = _open(budget, approval_id)
    return _decided(actor, budget, asked, BudgetDecision.REFUSED, money.ZERO)


def _open(budget: Budget, approval_id: UUID) -> BudgetApproval:
    """The approval, locked behind its window: the order in which calls lock them too."""
    rows = BudgetApproval.objects.filter(pk=approval_id, period__budget=budget)
    found = rows.first()
    if found is None:
        raise NotFound
    period = BudgetPeriod.objects.select_for_update(no_key=True).get(pk=found.period_id)
    locked = rows.select_for_update(no_key=True, of=("self",)).select_related("period").get()
    is_over = period.ends_at is not None and period.ends_at <= database_now()
    if locked.state != BudgetDecision.OPEN or is_over:
        raise BudgetApprovalClosed
    return locked


def _decided(
    actor: Actor, budget: Budget, asked: BudgetApproval, state: BudgetDecision, amount: Decimal
) -> BudgetApproval:
    BudgetApproval.objects.filter(pk=asked.pk).update(
        state=state, granted=amount, decided_by_id=actor.user_id, decided_at=Now()
    )
    asked.refresh_from_db()
    audit.record(
        action=f"budget.{state.value}",
        actor=actor,
        organization_id=budget.customer_id,
        target=asked.pk,
        details={"kind": budget.scope, "name": budget.name, "amount_usd": money.text(amount)},
    )
    return asked
