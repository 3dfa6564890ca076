"""The table of markups: what customers pay beside the vendor's price."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import DateTimeRangeField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing.models.ledger import Customer
from billing.models.prices import DEAREST_TOKEN
from billing.types import MarkupKind
from ideplatform.kit import ids, money
from ideplatform.kit.columns import choices, one_of


class MarkupRule(models.Model):
    """One kind of markup for some calls of the platform's keys; changes only by being ended.

    Empty `customer`, `provider_type` or `model_glob` means any. Of the rules of one kind that fit
    a call the highest `priority` decides alone. `value` is percent (negative: a discount), or USD.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    priority = models.IntegerField(default=0)
    customer = models.ForeignKey(
        Customer, models.PROTECT, null=True, blank=True, related_name="markups"
    )
    provider_type = models.CharField(max_length=30, blank=True, default="")
    model_glob = models.CharField(max_length=200, blank=True, default="")
    kind = models.CharField(max_length=11, choices=choices(MarkupKind))
    value = money.unit_price_field()
    effective = DateTimeRangeField()
    note = models.CharField(max_length=300, blank=True, default="")
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_markup_rules"
        constraints = [
            one_of("kind", MarkupKind, "markup_rules_kind"),
            models.CheckConstraint(
                condition=Q(kind=MarkupKind.PERCENT.value, value__gte=-100, value__lte=1000)
                | (~Q(kind=MarkupKind.PERCENT.value) & Q(value__gte=0)),
                name="markup_rules_value",
            ),
            models.CheckConstraint(
                condition=~Q(kind=MarkupKind.PER_UNIT.value) | Q(value__lte=DEAREST_TOKEN),
                name="markup_rules_per_token",
            ),
            models.CheckConstraint(
                condition=~Q(kind=MarkupKind.PER_REQUEST.value) | Q(value__lte=100),
                name="markup_rules_per_request",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.value}"
