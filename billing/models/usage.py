"""Tables of what was used: provider cards and usage events."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from accounts.models import Organization
from billing.models.ledger import Customer, LedgerTxn
from billing.models.prices import PriceVersion
from billing.types import Accuracy, BillingMode, Operation, Outcome, Source
from ideplatform.kit import ids, money
from ideplatform.kit.columns import choices, one_of
from workspaces.models import Workspace


class ProviderCard(models.Model):
    """What billing knows of a provider account. Outlives it, so that old usage keeps its name."""

    provider_id = models.UUIDField(primary_key=True)
    organization = models.ForeignKey(Organization, models.PROTECT, related_name="+")
    workspace_id = models.UUIDField(null=True, blank=True)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    provider_type = models.CharField(max_length=30)
    name = models.CharField(max_length=255)
    billing_mode = models.CharField(max_length=10, choices=choices(BillingMode))
    external_account_ref = models.CharField(max_length=200, blank=True, default="")
    deleted_at = models.DateTimeField(null=True, blank=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "billing_provider_cards"
        indexes = [models.Index(fields=["organization"], name="provider_cards_organization")]
        constraints = [one_of("billing_mode", BillingMode, "provider_cards_mode")]

    def __str__(self) -> str:
        return self.name


class UsageEvent(models.Model):
    """One dispatched provider call and what it cost. Append-only; users and workspaces may go.

    `tokens_input` counts cached and written parts, `tokens_output` reasoning; `quantities` holds
    the disjoint classes and `lines` their prices. `estimated_cost` is the vendor's price (null:
    unpriced), `billed_cost` what the customer pays, moved by `txn`. `budget_period_ids` are the
    budget periods that its hold had frozen. `created_at` is the database's clock.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    request_id = models.UUIDField()
    attempt = models.PositiveSmallIntegerField(default=1)
    customer = models.ForeignKey(Customer, models.PROTECT, related_name="+", db_index=False)
    provider_id = models.UUIDField()
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, related_name="+", db_index=False
    )
    workspace = models.ForeignKey(
        Workspace, models.SET_NULL, null=True, related_name="+", db_index=False
    )
    api_key_id = models.UUIDField(null=True)
    agent_id = models.CharField(max_length=100, blank=True, default="")
    conversation_id = models.UUIDField(null=True)
    run_id = models.UUIDField(null=True)
    operation = models.CharField(max_length=10, choices=choices(Operation))
    model = models.CharField(max_length=200)
    requested_model = models.CharField(max_length=200)
    served_model = models.CharField(max_length=200, blank=True, default="")
    provider_type = models.CharField(max_length=30)
    service_tier = models.CharField(max_length=30)
    region = models.CharField(max_length=40, blank=True, default="")
    provider_request_id = models.CharField(max_length=200, blank=True, default="")
    billing_mode = models.CharField(max_length=10, choices=choices(BillingMode))
    source = models.CharField(max_length=10, choices=choices(Source))
    accuracy = models.CharField(max_length=10, choices=choices(Accuracy))
    outcome = models.CharField(max_length=20, choices=choices(Outcome))
    status = models.PositiveSmallIntegerField()
    tokens_input = models.PositiveBigIntegerField()
    tokens_output = models.PositiveBigIntegerField()
    tokens_cache_read = models.PositiveBigIntegerField(default=0)
    tokens_cache_write = models.PositiveBigIntegerField(default=0)
    tokens_reasoning = models.PositiveBigIntegerField(default=0)
    quantities = models.JSONField(default=dict)
    lines = models.JSONField(default=list)
    price_version = models.ForeignKey(
        PriceVersion, models.PROTECT, null=True, related_name="+", db_index=False
    )
    estimated_cost = money.amount_field(null=True)
    billed_cost = money.amount_field(default=0)
    saved_by_cache = money.amount_field(default=0)
    currency = models.CharField(max_length=3, default="USD")
    occurred_at = models.DateTimeField()
    completed_at = models.DateTimeField()
    first_token_ms = models.PositiveIntegerField(null=True)
    duration_ms = models.PositiveIntegerField(null=True)
    streamed = models.BooleanField(default=True)
    hold_id = models.UUIDField(null=True)
    txn = models.ForeignKey(LedgerTxn, models.PROTECT, null=True, related_name="+", db_index=False)
    budget_period_ids = ArrayField(models.UUIDField(), default=list)
    payload_hash = models.BinaryField(max_length=32)
    trace_id = models.CharField(max_length=32, blank=True, default="")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "usage_events"
        constraints = [
            models.UniqueConstraint(fields=["request_id", "attempt"], name="usage_events_request"),
            models.UniqueConstraint(
                fields=["provider_id", "provider_request_id"],
                condition=~Q(provider_request_id=""),
                name="usage_events_provider_request",
            ),
            one_of("operation", Operation, "usage_events_operation"),
            one_of("billing_mode", BillingMode, "usage_events_mode"),
            one_of("source", Source, "usage_events_source"),
            one_of("accuracy", Accuracy, "usage_events_accuracy"),
            one_of("outcome", Outcome, "usage_events_outcome"),
            models.CheckConstraint(
                condition=Q(billed_cost__gte=0)
                & (Q(estimated_cost__isnull=True) | Q(estimated_cost__gte=0)),
                name="usage_events_money",
            ),
            models.CheckConstraint(
                condition=Q(tokens_cache_read__lte=F("tokens_input"))
                & Q(tokens_cache_write__lte=F("tokens_input") - F("tokens_cache_read"))
                & Q(tokens_reasoning__lte=F("tokens_output")),
                name="usage_events_tokens",
            ),
            models.CheckConstraint(
                condition=Q(billing_mode=BillingMode.PLATFORM) | Q(billed_cost=0),
                name="usage_events_own_key_is_free",
            ),
        ]
        indexes = [
            models.Index(
                F("customer"), F("occurred_at").desc(), F("id"), name="usage_events_customer"
            ),
            models.Index(fields=["workspace", "occurred_at"], name="usage_events_workspace"),
            models.Index(fields=["user", "occurred_at"], name="usage_events_user"),
            models.Index(
                fields=["run_id"], condition=Q(run_id__isnull=False), name="usage_events_run"
            ),
            BrinIndex(fields=["occurred_at"], name="usage_events_time"),
        ]

    def __str__(self) -> str:
        return f"{self.request_id}/{self.attempt}"
