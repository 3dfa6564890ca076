"""The table of notices: what billing told a person."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing.models.budgets import BudgetAlert
from billing.models.ledger import Customer
from ideplatform.kit import ids


class Notice(models.Model):
    """A budget's alert as one person gets it: shown until it is read, mailed once."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    user = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    customer = models.ForeignKey(Customer, models.PROTECT, related_name="+", db_index=False)
    alert = models.ForeignKey(BudgetAlert, models.PROTECT, related_name="notices")
    created_at = models.DateTimeField(db_default=Now())
    mailed_at = models.DateTimeField(null=True, blank=True)
    read_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        db_table = "billing_notices"
        constraints = [models.UniqueConstraint(fields=["alert", "user"], name="notices_once")]
        indexes = [
            models.Index(
                fields=["user", "-created_at"],
                condition=Q(read_at__isnull=True),
                name="notices_unread",
            ),
            models.Index(
                fields=["created_at"], condition=Q(mailed_at__isnull=True), name="notices_unmailed"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.alert_id} to {self.user_id}"
