"""The table of what clients said of their own calls."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now

from billing.models.usage import UsageEvent


class UsageReport(models.Model):
    """The vendor's own usage object as a client sent it along with an event: evidence, no fact."""

    event = models.OneToOneField(UsageEvent, models.PROTECT, primary_key=True, related_name="+")
    raw_usage = models.JSONField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_usage_reports"

    def __str__(self) -> str:
        return str(self.event_id)
