"""Approvals beyond a budget's hard limit: what waits for a decision, and what was decided."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from django.db.models import QuerySet

from accounts.services import access
from accounts.types import Actor, Permission
from billing.models import Budget, BudgetApproval
from billing.types import BudgetDecision
from ideplatform.kit.db import database_now
from ideplatform.kit.errors import NotFound

SHOWN: Final = 100


def approvals_of(actor: Actor, budget_id: UUID) -> Sequence[BudgetApproval]:
    """The latest approvals of a budget, newest first; raises NotFound."""
    access.require_scope(actor, Permission.BILLING_VIEW)
    budget = Budget.objects.filter(pk=budget_id, deleted_at__isnull=True).first()
    if budget is None:
        raise NotFound
    access.authorise(actor, Permission.BILLING_VIEW, budget.customer_id)
    rows = BudgetApproval.objects.select_related("period").filter(period__budget=budget)
    return list(rows.order_by("-created_at", "-pk")[:SHOWN])


def waiting(organization_id: UUID) -> QuerySet[BudgetApproval]:
    """What an organization can still decide; the caller has authorised the reader."""
    return (
        BudgetApproval.objects.select_related("period__budget")
        .filter(
            state=BudgetDecision.OPEN,
            period__budget__customer=organization_id,
            period__budget__deleted_at__isnull=True,
        )
        .exclude(period__ends_at__lte=database_now())
        .order_by("created_at", "pk")
    )
