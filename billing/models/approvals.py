"""Tables of what operators do: requests that need a second person, moves by hand, the audit chain.

What protects them is in the database (migration 0011): a request changes its state only by another
person who is signed in, its payload never; the audit is a chain of hashes that only grows.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing.models.ledger import Customer
from billing.types import ApprovalKind, ApprovalState, Right
from ideplatform.kit import ids, money
from ideplatform.kit.columns import choices, one_of

OWN_RIGHTS = tuple(right for right in Right if right not in (Right.RECONCILE, Right.REVIEW))
"""Rights that no table of their own declares."""
_DECIDED = (ApprovalState.APPROVED, ApprovalState.APPLIED)


class TwoPersonRule(models.Model):
    """From which amounts on (USD) a second person is needed: one row, written by migrations.

    The settings name the amounts; only the owner of the tables can bring them here, so whoever
    runs a shell with the application's role cannot raise them.
    """

    id = models.PositiveSmallIntegerField(primary_key=True, default=1)
    amount = money.amount_field()
    per_day = money.amount_field()
    reconciliation = money.amount_field()

    class Meta:
        db_table = "billing_two_person_rule"
        constraints = [
            models.CheckConstraint(condition=Q(id=1), name="two_person_rule_once"),
            models.CheckConstraint(
                condition=Q(amount__gte=0, reconciliation__gte=0) & Q(per_day__gte=F("amount")),
                name="two_person_rule_amounts",
            ),
        ]
        default_permissions = ()
        permissions = [
            (right.value, f"Console: {right.value.replace('_', ' ')}") for right in OWN_RIGHTS
        ]

    def __str__(self) -> str:
        return f"above {self.amount:f} USD"


class ApprovalRequest(models.Model):
    """Something that one person asks for and another must approve, within 72 hours.

    `payload` is what will be done, frozen; `payload_hash` is its SHA-256, which the approver names
    to say what they saw. `result` names what applying it made.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    kind = models.CharField(max_length=20, choices=choices(ApprovalKind))
    customer = models.ForeignKey(Customer, models.PROTECT, null=True, related_name="+")
    payload = models.JSONField()
    payload_hash = models.BinaryField(max_length=32, db_default=b"")
    reason = models.CharField(max_length=300)
    ticket = models.CharField(max_length=100, blank=True, default="")
    note = models.CharField(max_length=1_000, blank=True, default="")
    proposer = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, related_name="+")
    approver = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, related_name="+"
    )
    approver_session_id = models.UUIDField(null=True)
    state = models.CharField(
        max_length=10, choices=choices(ApprovalState), default=ApprovalState.OPEN
    )
    decision_note = models.CharField(max_length=300, blank=True, default="")
    result = models.CharField(max_length=100, blank=True, default="")
    created_at = models.DateTimeField(db_default=Now())
    expires_at = models.DateTimeField(db_default=Now())
    decided_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "billing_approval_requests"
        default_permissions = ("view",)
        constraints = [
            one_of("kind", ApprovalKind, "approvals_kind"),
            one_of("state", ApprovalState, "approvals_state"),
            models.CheckConstraint(
                condition=Q(approver__isnull=True) | ~Q(approver=F("proposer")),
                name="approvals_two_persons",
            ),
            models.CheckConstraint(
                condition=~Q(state__in=_DECIDED)
                | Q(approver__isnull=False, approver_session_id__isnull=False),
                name="approvals_approved",
            ),
            models.CheckConstraint(
                condition=Q(state=ApprovalState.OPEN, decided_at__isnull=True)
                | (~Q(state=ApprovalState.OPEN) & Q(decided_at__isnull=False)),
                name="approvals_decided",
            ),
            models.CheckConstraint(condition=~Q(reason=""), name="approvals_reason"),
        ]
        indexes = [
            models.Index(
                fields=["expires_at"], condition=Q(state=ApprovalState.OPEN), name="approvals_open"
            ),
            models.Index(fields=["customer", "-created_at"], name="approvals_of_customer"),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.state}"


class HandMove(models.Model):
    """Money that no rule of the platform moved: each operator's sum of a day is limited.

    Written by the database's guards alone. `id` is that of the ledger transaction or of the refund
    that was asked of Stripe, `operator_id` null for whoever is no operator, `amount` USD without
    sign.
    """

    id = models.UUIDField(primary_key=True)
    operator_id = models.UUIDField(null=True)
    day = models.DateField()
    amount = money.amount_field()
    approval = models.OneToOneField(ApprovalRequest, models.PROTECT, null=True, related_name="+")

    class Meta:
        db_table = "billing_hand_moves"
        default_permissions = ("view",)
        constraints = [models.CheckConstraint(condition=Q(amount__gt=0), name="hand_moves_amount")]
        indexes = [models.Index(fields=["day", "operator_id"], name="hand_moves_of_a_day")]

    def __str__(self) -> str:
        return f"{self.day} {self.amount:f}"


class BillingAudit(models.Model):
    """Who did what with money: a chain in which each row holds the hash of the one before.

    The database fills `seq`, `at`, `prev_hash` and `hash`; `billing_audit_head` keeps the last.
    """

    seq = models.BigIntegerField(primary_key=True, db_default=0)
    at = models.DateTimeField(db_default=Now())
    actor_id = models.UUIDField(null=True)
    action = models.CharField(max_length=60)
    customer_id = models.UUIDField(null=True)
    target = models.CharField(max_length=200, blank=True, default="")
    details = models.JSONField(default=dict)
    prev_hash = models.BinaryField(max_length=32, db_default=b"")
    hash = models.BinaryField(max_length=32, db_default=b"")

    class Meta:
        db_table = "billing_audit"
        default_permissions = ("view",)
        indexes = [models.Index(fields=["customer_id", "-seq"], name="billing_audit_customer")]

    def __str__(self) -> str:
        return f"{self.seq} {self.action}"


class SpentToken(models.Model):
    """A dialog's one-use token: whoever sends the same form twice has done it once."""

    token = models.UUIDField(primary_key=True)
    actor_id = models.UUIDField()
    result = models.CharField(max_length=300, blank=True, default="")
    used_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_spent_tokens"
        default_permissions = ()

    def __str__(self) -> str:
        return str(self.token)
