"""The table of holds: money reserved for a call, and everything its usage event needs."""

from __future__ import annotations

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing.models.ledger import Customer
from billing.models.prices import PriceVersion
from billing.types import BillingMode, HoldState, Operation
from ideplatform.kit import ids, money
from ideplatform.kit.columns import choices, one_of

LIVE = (HoldState.PENDING, HoldState.DISPATCHED)


class Hold(models.Model):
    """One attempt of a call: reserved, dispatched (committed before its bytes leave), settled.

    `amount` is what it reserves of the wallet (0 with the customer's own key), `budget_amount` of
    its budget periods, which are frozen here. Whoever runs the call renews `expires_at` and the
    journal (`input_bytes` to `first_token_ms`); bytes are UTF-8 bytes of content. `headroom` is
    what the wallet could still give right after the latest grant.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    request_id = models.UUIDField()
    attempt = models.PositiveSmallIntegerField(default=1)
    customer = models.ForeignKey(Customer, models.PROTECT, related_name="+", db_index=False)
    state = models.CharField(max_length=10, choices=choices(HoldState))
    amount = money.amount_field()
    budget_amount = money.amount_field()
    budget_period_ids = ArrayField(models.UUIDField(), default=list)
    headroom = money.amount_field(null=True)
    price_version = models.ForeignKey(
        PriceVersion, models.PROTECT, null=True, related_name="+", db_index=False
    )
    provider_id = models.UUIDField()
    provider_type = models.CharField(max_length=50)
    billing_mode = models.CharField(max_length=10, choices=choices(BillingMode))
    operation = models.CharField(max_length=10, choices=choices(Operation))
    model = models.CharField(max_length=250)
    requested_model = models.CharField(max_length=250)
    workspace_id = models.UUIDField(null=True)
    user_id = models.UUIDField(null=True)
    api_key_id = models.UUIDField(null=True)
    agent_id = models.CharField(max_length=255, blank=True, default="")
    conversation_id = models.UUIDField(null=True)
    run_id = models.UUIDField(null=True)
    input_ratio = models.DecimalField(max_digits=12, decimal_places=6)
    output_ratio = models.DecimalField(max_digits=12, decimal_places=6)
    created_at = models.DateTimeField(db_default=Now())
    dispatched_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField()
    input_bytes = models.PositiveBigIntegerField(default=0)
    output_bytes = models.PositiveBigIntegerField(default=0)
    last_usage = models.JSONField(null=True)
    served_model = models.CharField(max_length=250, blank=True, default="")
    service_tier = models.CharField(max_length=30, default="standard")
    provider_request_id = models.CharField(max_length=200, blank=True, default="")
    first_token_ms = models.PositiveIntegerField(null=True)
    ended_at = models.DateTimeField(null=True)
    settled_amount = money.amount_field(null=True)
    overrun = money.amount_field(default=0)

    class Meta:
        db_table = "billing_holds"
        constraints = [
            models.UniqueConstraint(fields=["request_id", "attempt"], name="holds_request"),
            one_of("state", HoldState, "holds_state"),
            one_of("billing_mode", BillingMode, "holds_mode"),
            models.CheckConstraint(
                condition=Q(amount__gte=0, budget_amount__gte=0, overrun__gte=0),
                name="holds_money",
            ),
            models.CheckConstraint(
                condition=Q(headroom__isnull=True) | Q(headroom__gte=0), name="holds_covered"
            ),
            models.CheckConstraint(
                condition=Q(billing_mode=BillingMode.PLATFORM) | Q(amount=0),
                name="holds_own_key_is_free",
            ),
            models.CheckConstraint(
                condition=Q(state__in=LIVE, ended_at__isnull=True)
                | (~Q(state__in=LIVE) & Q(ended_at__isnull=False)),
                name="holds_ended",
            ),
            models.CheckConstraint(
                condition=~Q(state=HoldState.DISPATCHED) | Q(dispatched_at__isnull=False),
                name="holds_dispatched",
            ),
        ]
        indexes = [
            models.Index(fields=["expires_at"], condition=Q(state__in=LIVE), name="holds_expiring"),
            models.Index(fields=["customer"], condition=Q(state__in=LIVE), name="holds_live"),
            models.Index(
                fields=["ended_at"], condition=Q(ended_at__isnull=False), name="holds_ended_at"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.request_id}/{self.attempt}"
