"""Tables of budgets: limits per scope and period, what each period has spent, alerts given."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing.models.ledger import Customer
from billing.types import AlertKind, BudgetDecision, BudgetScope, OnHard, PeriodKind
from ideplatform.kit import ids, money
from ideplatform.kit.columns import choices, one_of


class Budget(models.Model):
    """A limit in USD of a scope within each period of an IANA zone.

    `scope_id` names what is limited: an id, an agent's name, a model glob; `*` limits each one of
    its scope by itself. `hard` refuses, `soft` only tells; the steps are percent of `hard`, or of
    `soft` where there is no `hard`. With `inherit_from` both are the other budget's: the database
    copies them, now and whenever they change (migration 0022).
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    customer = models.ForeignKey(Customer, models.PROTECT, related_name="budgets")
    name = models.CharField(max_length=100, blank=True, default="")
    scope = models.CharField(max_length=12, choices=choices(BudgetScope))
    scope_id = models.CharField(max_length=200, blank=True, default="")
    period = models.CharField(max_length=6, choices=choices(PeriodKind))
    tz = models.CharField(max_length=64, default="UTC")
    hard = money.amount_field(null=True, blank=True)
    soft = money.amount_field(null=True, blank=True)
    alert_steps = ArrayField(models.PositiveSmallIntegerField(), default=list)
    on_hard = models.CharField(max_length=8, choices=choices(OnHard), default=OnHard.BLOCK)
    degrade_to = models.CharField(max_length=200, blank=True, default="")
    inherit_from = models.ForeignKey(
        "self", models.PROTECT, null=True, blank=True, related_name="heirs"
    )
    counts_byok = models.BooleanField(default=False)
    is_enabled = models.BooleanField(default=True)
    created_by_id = models.UUIDField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "billing_budgets"
        constraints = [
            one_of("scope", BudgetScope, "budgets_scope"),
            one_of("period", PeriodKind, "budgets_period"),
            one_of("on_hard", OnHard, "budgets_on_hard"),
            models.CheckConstraint(
                condition=Q(scope=BudgetScope.CUSTOMER, scope_id="")
                | (~Q(scope=BudgetScope.CUSTOMER) & ~Q(scope_id="")),
                name="budgets_scope_id",
            ),
            models.CheckConstraint(
                condition=Q(hard__gte=0) | Q(hard__isnull=True), name="budgets_hard"
            ),
            models.CheckConstraint(
                condition=Q(soft__gt=0) | Q(soft__isnull=True), name="budgets_soft"
            ),
            models.CheckConstraint(
                condition=Q(hard__isnull=False) | Q(soft__isnull=False), name="budgets_limit"
            ),
            models.CheckConstraint(
                condition=(~Q(on_hard=OnHard.DEGRADE) & Q(degrade_to=""))
                | (Q(on_hard=OnHard.DEGRADE) & ~Q(degrade_to="")),
                name="budgets_degrade_to",
            ),
            models.CheckConstraint(
                condition=~Q(on_hard=OnHard.APPROVE) | Q(hard__isnull=False),
                name="budgets_approve",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.scope} {self.scope_id} per {self.period}"


class BudgetPeriod(models.Model):
    """One window of a budget, made by the first call in it. `subject` tells apart what `*` means.

    `spent` is what settled calls cost, `held` what live holds reserve, `granted` what approvals
    let be spent beyond the hard limit in this window; only they change it.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    budget = models.ForeignKey(Budget, models.PROTECT, related_name="periods")
    subject = models.CharField(max_length=255, blank=True, default="")
    starts_at = models.DateTimeField()
    ends_at = models.DateTimeField(null=True)
    spent = money.amount_field(default=0)
    held = money.amount_field(default=0)
    granted = money.amount_field(db_default=0)

    class Meta:
        db_table = "billing_budget_periods"
        constraints = [
            models.UniqueConstraint(
                fields=["budget", "subject", "starts_at"], name="budget_periods_once"
            ),
            models.CheckConstraint(
                condition=Q(spent__gte=0, held__gte=0), name="budget_periods_money"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.budget_id} {self.starts_at}"


class BudgetApproval(models.Model):
    """A window's hard limit that refused a call, and whether more may be spent in it.

    Opened by the refusal (`needs`: the most that a refused call lacked), decided once by somebody
    who manages the money: `granted` USD more, in this window alone.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    period = models.ForeignKey(BudgetPeriod, models.PROTECT, related_name="approvals")
    needs = money.amount_field()
    state = models.CharField(
        max_length=7, choices=choices(BudgetDecision), default=BudgetDecision.OPEN
    )
    granted = money.amount_field(default=0)
    decided_by_id = models.UUIDField(null=True)
    decided_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_budget_approvals"
        constraints = [
            one_of("state", BudgetDecision, "budget_approvals_state"),
            models.UniqueConstraint(
                fields=["period"],
                condition=Q(state=BudgetDecision.OPEN),
                name="budget_approvals_one_open",
            ),
            models.CheckConstraint(
                condition=Q(state=BudgetDecision.GRANTED, granted__gt=0)
                | (~Q(state=BudgetDecision.GRANTED) & Q(granted=0)),
                name="budget_approvals_granted",
            ),
            models.CheckConstraint(
                condition=Q(
                    state=BudgetDecision.OPEN, decided_at__isnull=True, decided_by_id__isnull=True
                )
                | (
                    ~Q(state=BudgetDecision.OPEN)
                    & Q(decided_at__isnull=False, decided_by_id__isnull=False)
                ),
                name="budget_approvals_decided",
            ),
            models.CheckConstraint(condition=Q(needs__gt=0), name="budget_approvals_needs"),
        ]

    def __str__(self) -> str:
        return f"{self.period_id} {self.state}"


class BudgetAlert(models.Model):
    """A step that a period reached: told once, never again. `step` is percent, 0 for `soft`."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    period = models.ForeignKey(BudgetPeriod, models.PROTECT, related_name="alerts")
    kind = models.CharField(max_length=4, choices=choices(AlertKind))
    step = models.PositiveSmallIntegerField()
    spent = money.amount_field()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_budget_alerts"
        constraints = [
            models.UniqueConstraint(fields=["period", "kind", "step"], name="budget_alerts_once"),
            one_of("kind", AlertKind, "budget_alerts_kind"),
        ]

    def __str__(self) -> str:
        return f"{self.period_id} {self.step} %"
