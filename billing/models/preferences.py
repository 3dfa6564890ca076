"""Table of how a person wants to see money."""

from __future__ import annotations

from django.db import models
from django.db.models import Q

from accounts.models import User
from billing.types import Precision
from ideplatform.kit.columns import choices, one_of


class ViewPreference(models.Model):
    """A person's own settings of the dashboard; whoever never chose has no row.

    `tz` is the IANA zone of their days and months, `precision` how many places amounts show, and
    `gets_alerts` whether budget alerts reach them by e-mail.
    """

    user = models.OneToOneField(
        User, models.CASCADE, primary_key=True, related_name="billing_preference"
    )
    tz = models.CharField(max_length=64, default="UTC")
    precision = models.CharField(max_length=6, choices=choices(Precision), default=Precision.COMMON)
    gets_alerts = models.BooleanField(default=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "billing_view_preferences"
        constraints = [
            one_of("precision", Precision, "view_preferences_precision"),
            models.CheckConstraint(condition=~Q(tz=""), name="view_preferences_tz"),
        ]

    def __str__(self) -> str:
        return str(self.user_id)
