"""What billing's REST accepts and answers of balances and budgets."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from rest_framework import serializers

from billing.models import Budget, BudgetApproval
from billing.selectors import Filled, Funds
from billing.services.budgets import LARGEST_STEP, STEPS, Limits, Subject
from billing.types import BudgetScope, OnHard, PeriodKind
from ideplatform.kit import money, paging
from ideplatform.kit.serializers import StrictSerializer

_LARGEST = Decimal(10) ** 12


def _amount(**options: Any) -> serializers.DecimalField:
    return serializers.DecimalField(
        30, 12, required=False, allow_null=True, max_value=_LARGEST, **options
    )


class BalanceForm(StrictSerializer):
    organization_id = serializers.UUIDField(required=False)


class BudgetsForm(BalanceForm):
    cursor = serializers.CharField(
        required=False, default="", allow_blank=True, max_length=paging.MAX_CURSOR_LENGTH
    )
    limit = serializers.IntegerField(
        required=False, default=paging.DEFAULT_LIMIT, min_value=1, max_value=paging.MOST
    )


class BudgetChangeForm(StrictSerializer):
    """The limits of a budget; what is left out stays."""

    name = serializers.CharField(required=False, max_length=100, allow_blank=True)
    hard = _amount(min_value=Decimal(0))
    soft = _amount(min_value=Decimal(10) ** -12)
    alert_steps = serializers.ListField(
        required=False, child=serializers.IntegerField(min_value=1, max_value=LARGEST_STEP)
    )
    on_hard = serializers.ChoiceField([one.value for one in OnHard], required=False)
    degrade_to = serializers.CharField(required=False, max_length=200, allow_blank=True)
    inherit_from = serializers.UUIDField(required=False, allow_null=True)
    counts_byok = serializers.BooleanField(required=False)
    is_enabled = serializers.BooleanField(required=False)


class BudgetApprovalForm(StrictSerializer):
    """A decision; `amount` is granted in USD, by default what the refused call lacked."""

    action = serializers.ChoiceField(["grant", "refuse"])
    amount = _amount(min_value=Decimal(10) ** -12)


class BudgetForm(BudgetChangeForm):
    """A new budget of an organization; `scope_id` `*` limits each one of the scope by itself."""

    organization_id = serializers.UUIDField()
    scope = serializers.ChoiceField([one.value for one in BudgetScope])
    scope_id = serializers.CharField(required=False, default="", max_length=200, allow_blank=True)
    period = serializers.ChoiceField(
        [one.value for one in PeriodKind], required=False, default=PeriodKind.MONTH.value
    )
    tz = serializers.CharField(required=False, default="UTC", max_length=64)


def subject(form: dict[str, Any]) -> Subject:
    return Subject(
        scope=BudgetScope(form["scope"]),
        scope_id=form["scope_id"],
        period=PeriodKind(form["period"]),
        tz=form["tz"],
    )


def limits(form: dict[str, Any]) -> Limits:
    return Limits(**({"alert_steps": STEPS} | changes(form)))


def changes(form: dict[str, Any]) -> dict[str, Any]:
    given = {name: form[name] for name in Limits.__dataclass_fields__ if name in form}
    if "on_hard" in given:
        given["on_hard"] = OnHard(given["on_hard"])
    return given


def funds(found: Funds) -> dict[str, object]:
    """Amounts are decimal strings in USD, exact."""
    return {"organization_id": found.organization_id, "status": found.status} | balance(found)


def balance(found: Funds) -> dict[str, object]:
    held = found.balance
    return {
        "currency": "USD",
        "posted": money.text(held.posted + held.promo),
        "paid": money.text(held.posted),
        "promo": money.text(held.promo),
        "held": money.text(held.held),
        "limit": money.text(held.limit),
        "available": money.text(held.available),
    }


def budget(found: Filled) -> dict[str, object]:
    """A budget and how full its present window is, the fullest subjects first."""
    row: Budget = found.budget
    return {
        "id": row.pk,
        "organization_id": row.customer_id,
        "name": row.name,
        "scope": row.scope,
        "scope_id": row.scope_id,
        "period": row.period,
        "tz": row.tz,
        "hard": None if row.hard is None else money.text(row.hard),
        "soft": None if row.soft is None else money.text(row.soft),
        "alert_steps": row.alert_steps,
        "on_hard": row.on_hard,
        "degrade_to": row.degrade_to,
        "inherit_from": row.inherit_from_id,
        "counts_byok": row.counts_byok,
        "is_enabled": row.is_enabled,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
        "fills": [
            {
                "subject": fill.subject,
                "starts_at": fill.starts_at,
                "resets_at": fill.ends_at,
                "spent": money.text(fill.spent),
                "held": money.text(fill.held),
                "granted": money.text(fill.granted),
                "pct": found.percent(fill),
            }
            for fill in found.fills
        ],
    }


def budget_approval(row: BudgetApproval) -> dict[str, object]:
    """Of which window of which subject it is, and what became of it."""
    period = row.period
    return {
        "id": row.pk,
        "budget_id": period.budget_id,
        "subject": period.subject,
        "starts_at": period.starts_at,
        "resets_at": period.ends_at,
        "needs": money.text(row.needs),
        "state": row.state,
        "granted": money.text(row.granted),
        "decided_by_id": row.decided_by_id,
        "decided_at": row.decided_at,
        "created_at": row.created_at,
    }


def budget_in_summary(found: Filled) -> dict[str, object]:
    """One line per budget: its fullest subject."""
    fullest = found.fills[0]
    return {
        "id": found.budget.pk,
        "scope": found.budget.scope,
        "subject": fullest.subject,
        "limit": money.text(found.limit_in(fullest)),
        "spent": money.text(fullest.spent),
        "held": money.text(fullest.held),
        "pct": found.percent(fullest),
        "resets_at": fullest.ends_at,
    }
