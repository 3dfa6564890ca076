"""Tables of the price book; what is published changes only by being ended."""

from __future__ import annotations

from decimal import Decimal

from django.conf import settings
from django.contrib.postgres.fields import DateTimeRangeField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing.types import PriceMatch, ServiceTier, UnitClass, VersionState
from ideplatform.kit import ids, money
from ideplatform.kit.columns import choices, one_of

# Dearer than any token sold (600 USD per million) and below the cheapest one (0.0025 USD per
# million) times a million: a price entered per million tokens instead of per token is refused.
DEAREST_TOKEN = Decimal("0.002")


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
