"""Tables of billing: the price book, provider cards and usage events.

Migration 0002 adds what columns cannot say: prices that never overlap in time, facts that refuse
UPDATE, DELETE and TRUNCATE, and `usage_events.commit_xid` (the writing transaction, for roll-ups).
"""

from __future__ import annotations

from decimal import Decimal

from django.conf import settings
from django.contrib.postgres.fields import DateTimeRangeField
from django.contrib.postgres.indexes import BrinIndex
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from accounts.models import Organization
from billing.types import (
    Accuracy,
    BillingMode,
    Operation,
    Outcome,
    PriceMatch,
    ServiceTier,
    Source,
    UnitClass,
    VersionState,
)
from ideplatform.kit import ids, money
from ideplatform.kit.columns import choices, one_of
from workspaces.models import Workspace

# Dearer than any token sold (600 USD per million) and below the cheapest one (0.0025 USD per
# million) times a million: a price entered per million tokens instead of per token is refused.
DEAREST_TOKEN = Decimal("0.002")


class Customer(models.Model):
    """Who pays: an organization that has used something. Its id is the organization's."""

    organization = models.OneToOneField(
        Organization, models.PROTECT, primary_key=True, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_customers"

    def __str__(self) -> str:
        return str(self.organization_id)


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


class PriceVersion(models.Model):
    """A set of price changes: drafted, reviewed, then published once. `number` orders them."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    number = models.PositiveIntegerField(null=True, unique=True)
    state = models.CharField(
        max_length=10, choices=choices(VersionState), default=VersionState.DRAFT
    )
    note = models.CharField(max_length=300, blank=True, default="")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    approved_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())
    published_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "billing_price_versions"
        constraints = [
            one_of("state", VersionState, "price_versions_state"),
            models.CheckConstraint(
                condition=Q(state="draft", number__isnull=True, published_at__isnull=True)
                | (~Q(state="draft") & Q(number__isnull=False, published_at__isnull=False)),
                name="price_versions_published",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.number or 'draft'} {self.note}".strip()


class Price(models.Model):
    """USD per unit of one class of a model. Published ones change only by being ended."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    version = models.ForeignKey(PriceVersion, models.PROTECT, related_name="prices")
    provider_type = models.CharField(max_length=30)
    match = models.CharField(max_length=5, choices=choices(PriceMatch))
    pattern = models.CharField(max_length=200)
    service_tier = models.CharField(
        max_length=10, choices=choices(ServiceTier), default=ServiceTier.STANDARD
    )
    region = models.CharField(max_length=40, blank=True, default="")
    context_over_tokens = models.PositiveIntegerField(default=0)
    effective = DateTimeRangeField(null=True)
    is_published = models.BooleanField(default=False)
    unit_class = models.CharField(max_length=20, choices=choices(UnitClass))
    unit_price = money.unit_price_field()
    source = models.CharField(max_length=300, blank=True, default="")
    supersedes = models.ForeignKey(
        "self", models.PROTECT, null=True, blank=True, related_name="successors"
    )

    class Meta:
        db_table = "billing_prices"
        constraints = [
            one_of("match", PriceMatch, "prices_match"),
            one_of("service_tier", ServiceTier, "prices_tier"),
            one_of("unit_class", UnitClass, "prices_class"),
            models.CheckConstraint(condition=Q(unit_price__gte=0), name="prices_not_negative"),
            models.CheckConstraint(
                condition=Q(unit_class__in=[UnitClass.REQUEST, UnitClass.WEB_SEARCH])
                | Q(unit_price__lte=DEAREST_TOKEN),
                name="prices_per_token",
            ),
            models.CheckConstraint(
                condition=Q(is_published=False) | Q(effective__isnull=False),
                name="prices_effective",
            ),
            models.UniqueConstraint(
                fields=[
                    "version",
                    "provider_type",
                    "match",
                    "pattern",
                    "service_tier",
                    "region",
                    "context_over_tokens",
                    "unit_class",
                ],
                name="prices_once_per_version",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.provider_type} {self.pattern} {self.unit_class}"


class ModelAlias(models.Model):
    """Another name under which a vendor serves a priced model."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    version = models.ForeignKey(PriceVersion, models.PROTECT, related_name="aliases")
    provider_type = models.CharField(max_length=30)
    alias = models.CharField(max_length=200)
    model = models.CharField(max_length=200)
    effective = DateTimeRangeField(null=True)
    is_published = models.BooleanField(default=False)

    class Meta:
        db_table = "billing_model_aliases"
        constraints = [
            models.CheckConstraint(
                condition=Q(is_published=False) | Q(effective__isnull=False),
                name="model_aliases_effective",
            ),
            models.UniqueConstraint(
                fields=["version", "provider_type", "alias"], name="model_aliases_once"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.alias} = {self.model}"


class UsageEvent(models.Model):
    """One dispatched provider call and what it cost. Append-only; users and workspaces may go.

    `tokens_input` counts cached and written parts, `tokens_output` reasoning; `quantities` holds
    the disjoint classes and `lines` their prices. `estimated_cost` is the vendor's price (null:
    unpriced), `billed_cost` what the customer pays. `created_at` is the database's clock.
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
