"""The table of monthly statements."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from billing.models.ledger import Customer
from ideplatform.kit import ids, money


class Statement(models.Model):
    """A customer's money over one closed month (UTC). Never updated, never deleted.

    A wallet numbers its entries without gaps in the order of their commits. The statement covers
    those after the month before, up to `wallet_seq` and `promo_seq`: an entry that is committed
    late is on the next statement, and none is on two or on none.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    customer = models.ForeignKey(Customer, models.PROTECT, related_name="statements")
    month = models.DateField()
    opening = money.amount_field()
    lines = models.JSONField(default=list)
    closing = money.amount_field()
    wallet_seq = models.BigIntegerField()
    promo_seq = models.BigIntegerField()
    sha256 = models.BinaryField(max_length=32)
    currency = models.CharField(max_length=3, default="USD")
    closed_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_statements"
        constraints = [
            models.UniqueConstraint(fields=["customer", "month"], name="statements_once"),
            models.CheckConstraint(condition=Q(month__day=1), name="statements_month"),
        ]

    def __str__(self) -> str:
        return f"{self.customer_id} {self.month:%Y-%m}"
