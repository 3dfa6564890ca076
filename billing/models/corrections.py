"""The table of corrections: what a usage event turned out to be, as rows beside it."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing.models.ledger import LedgerTxn
from billing.models.usage import UsageEvent
from billing.types import CorrectionReason
from ideplatform.kit import ids, money
from ideplatform.kit.columns import choices, one_of


class UsageCorrection(models.Model):
    """What is added to an event (deltas, signed). Append-only; the event itself never changes.

    Reports read the view `usage_effective`, where an event and its corrections stand as rows.
    `gives_price` marks the one correction that prices an unpriced event. `txn` is the latest
    transaction that it posted, none for calls that moved no money. `recon_line_id` names the
    reconciliation line that found the difference. `commit_xid` (migration) is the writing
    transaction, for roll-ups.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    event = models.ForeignKey(UsageEvent, models.PROTECT, related_name="corrections")
    number = models.PositiveIntegerField()
    idempotency_key = models.CharField(max_length=200, unique=True)
    reason = models.CharField(max_length=20, choices=choices(CorrectionReason))
    note = models.CharField(max_length=500, blank=True, default="")
    delta_quantities = models.JSONField(default=dict)
    delta_tokens_input = models.BigIntegerField(default=0)
    delta_tokens_output = models.BigIntegerField(default=0)
    delta_tokens_cache_read = models.BigIntegerField(default=0)
    delta_tokens_cache_write = models.BigIntegerField(default=0)
    delta_tokens_reasoning = models.BigIntegerField(default=0)
    delta_estimated_cost = money.amount_field(default=0)
    delta_billed_cost = money.amount_field(default=0)
    delta_saved_by_cache = money.amount_field(default=0)
    gives_price = models.BooleanField(default=False)
    recon_line_id = models.UUIDField(null=True)
    txn = models.OneToOneField(LedgerTxn, models.PROTECT, null=True, related_name="correction")
    created_by_id = models.UUIDField(null=True)
    approved_by_id = models.UUIDField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_usage_corrections"
        constraints = [
            models.UniqueConstraint(fields=["event", "number"], name="usage_corrections_number"),
            models.UniqueConstraint(
                fields=["event"], condition=Q(gives_price=True), name="usage_corrections_price"
            ),
            one_of("reason", CorrectionReason, "usage_corrections_reason"),
            models.CheckConstraint(
                condition=Q(delta_billed_cost=0) | Q(approved_by_id__isnull=False),
                name="usage_corrections_approved",
            ),
            models.CheckConstraint(
                condition=Q(delta_billed_cost__lte=0)
                | (Q(created_by_id__isnull=False) & ~Q(approved_by_id=F("created_by_id"))),
                name="usage_corrections_two_persons_charge",
            ),
        ]
        indexes = [
            models.Index(
                fields=["recon_line_id"],
                condition=Q(recon_line_id__isnull=False),
                name="usage_corrections_recon",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.event_id} #{self.number} {self.reason}"
