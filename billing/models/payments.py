"""Tables of payments: top-ups, what of them was taken back, messages to and from Stripe."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from billing.models.ledger import Customer, LedgerTxn
from billing.types import (
    ClawbackKind,
    ClawbackState,
    InboxState,
    MessageKind,
    MessageState,
    TopUpKind,
    TopUpState,
)
from ideplatform.kit import ids, money
from ideplatform.kit.columns import choices, one_of

_ID_LENGTH = 255
_PAID = (TopUpState.PAID, TopUpState.REFUNDED, TopUpState.DISPUTED)
_OPEN = (MessageState.QUEUED, MessageState.SENT)


class TopUp(models.Model):
    """A purchase of credit. `amount_minor` is what is paid, in the currency's smallest unit;
    `credited` is what it brings, USD, fixed when it was asked for."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    customer = models.ForeignKey(Customer, models.PROTECT, related_name="top_ups", db_index=False)
    kind = models.CharField(max_length=10, choices=choices(TopUpKind))
    state = models.CharField(max_length=10, choices=choices(TopUpState), default=TopUpState.CREATED)
    amount_minor = models.PositiveBigIntegerField()
    currency = models.CharField(max_length=3, default="usd")
    credited = money.amount_field()
    checkout_session = models.CharField(max_length=_ID_LENGTH, null=True, unique=True)
    payment_intent = models.CharField(max_length=_ID_LENGTH, null=True, unique=True)
    payment_method = models.CharField(max_length=_ID_LENGTH, blank=True, default="")
    txn = models.OneToOneField(LedgerTxn, models.PROTECT, null=True, related_name="+")
    request_key = models.CharField(max_length=200, null=True)
    actor_id = models.UUIDField(null=True)
    created_at = models.DateTimeField(db_default=Now())
    paid_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "billing_top_ups"
        constraints = [
            one_of("kind", TopUpKind, "top_ups_kind"),
            one_of("state", TopUpState, "top_ups_state"),
            models.CheckConstraint(
                condition=Q(amount_minor__gt=0, credited__gt=0), name="top_ups_amount"
            ),
            models.CheckConstraint(
                condition=~Q(state__in=_PAID)
                | Q(txn__isnull=False, payment_intent__isnull=False, paid_at__isnull=False),
                name="top_ups_paid",
            ),
            models.UniqueConstraint(fields=["customer", "request_key"], name="top_ups_request"),
            models.UniqueConstraint(
                fields=["customer"],
                condition=Q(kind=TopUpKind.RECHARGE, state=TopUpState.CREATED),
                name="top_ups_one_recharge",
            ),
        ]
        indexes = [
            models.Index(fields=["customer", "-created_at", "-id"], name="top_ups_of_customer")
        ]

    def __str__(self) -> str:
        return f"{self.amount_minor} {self.currency} {self.state}"


class Clawback(models.Model):
    """A refund or dispute of a top-up, known by Stripe's id. Its state only moves forward, so a
    message that arrives late cannot take money twice."""

    id = models.CharField(primary_key=True, max_length=_ID_LENGTH)
    top_up = models.ForeignKey(TopUp, models.PROTECT, related_name="clawbacks")
    kind = models.CharField(max_length=10, choices=choices(ClawbackKind))
    state = models.CharField(max_length=10, choices=choices(ClawbackState))
    amount_minor = models.PositiveBigIntegerField()
    txn = models.OneToOneField(LedgerTxn, models.PROTECT, null=True, related_name="+")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_clawbacks"
        constraints = [
            one_of("kind", ClawbackKind, "clawbacks_kind"),
            one_of("state", ClawbackState, "clawbacks_state"),
            models.CheckConstraint(condition=Q(amount_minor__gt=0), name="clawbacks_amount"),
            models.CheckConstraint(
                condition=~Q(state=ClawbackState.STANDING) | Q(txn__isnull=False),
                name="clawbacks_posted",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.id} {self.state}"


class AutoRecharge(models.Model):
    """Buys `amount_minor` with the saved card when less than `threshold` (USD) is available.

    One purchase at a time, at most `monthly_cap_minor` per calendar month (UTC). `failures` counts
    declined ones in a row; the third switches it off.
    """

    customer = models.OneToOneField(
        Customer, models.PROTECT, primary_key=True, related_name="auto_recharge"
    )
    is_enabled = models.BooleanField(default=False)
    threshold = money.amount_field()
    amount_minor = models.PositiveBigIntegerField()
    monthly_cap_minor = models.PositiveBigIntegerField()
    failures = models.PositiveSmallIntegerField(default=0)
    not_before = models.DateTimeField(null=True)
    enabled_by_id = models.UUIDField(null=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "billing_auto_recharges"
        constraints = [
            models.CheckConstraint(
                condition=Q(threshold__gte=0, amount_minor__gt=0)
                & Q(monthly_cap_minor__gte=F("amount_minor")),
                name="auto_recharges_amounts",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.customer_id} {'on' if self.is_enabled else 'off'}"


class StripeOutbox(models.Model):
    """Something asked of Stripe, written with the business change that needs it.

    `idempotency_key` is the row's id, which Stripe remembers for 24 hours after `first_sent_at`
    and which its objects carry as metadata. Whoever sends it holds it until `next_at`. An
    operator's refund names its `actor_id`, and the request that approved it.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    kind = models.CharField(max_length=10, choices=choices(MessageKind))
    state = models.CharField(
        max_length=10, choices=choices(MessageState), default=MessageState.QUEUED
    )
    customer = models.ForeignKey(Customer, models.PROTECT, related_name="+", db_index=False)
    top_up = models.ForeignKey(TopUp, models.PROTECT, null=True, related_name="messages")
    payload = models.JSONField()
    idempotency_key = models.CharField(max_length=100, unique=True)
    attempts = models.PositiveIntegerField(default=0)
    next_at = models.DateTimeField(db_default=Now())
    first_sent_at = models.DateTimeField(null=True)
    response = models.JSONField(null=True)
    error = models.CharField(max_length=100, blank=True, default="")
    actor_id = models.UUIDField(null=True)
    approval_id = models.UUIDField(null=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_stripe_outbox"
        constraints = [
            one_of("kind", MessageKind, "stripe_outbox_kind"),
            one_of("state", MessageState, "stripe_outbox_state"),
            models.CheckConstraint(
                condition=Q(state=MessageState.QUEUED, first_sent_at__isnull=True)
                | Q(state=MessageState.SENT, first_sent_at__isnull=False)
                | ~Q(state__in=_OPEN),
                name="stripe_outbox_sent",
            ),
            models.UniqueConstraint(
                fields=["customer"],
                condition=Q(kind=MessageKind.CUSTOMER) & ~Q(state=MessageState.DEAD),
                name="stripe_outbox_one_customer",
            ),
        ]
        indexes = [
            models.Index(fields=["next_at"], condition=Q(state__in=_OPEN), name="stripe_outbox_due")
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.id} {self.state}"


class StripeInbox(models.Model):
    """An event of Stripe, stored before it is answered. `error` is a code, never a text."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    event_id = models.CharField(max_length=_ID_LENGTH, unique=True)
    type = models.CharField(max_length=100)
    created = models.DateTimeField()
    livemode = models.BooleanField()
    api_version = models.CharField(max_length=50, blank=True, default="")
    body = models.JSONField()
    state = models.CharField(
        max_length=10, choices=choices(InboxState), default=InboxState.RECEIVED
    )
    attempts = models.PositiveIntegerField(default=0)
    next_at = models.DateTimeField(db_default=Now())
    error = models.CharField(max_length=100, blank=True, default="")
    received_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_stripe_inbox"
        constraints = [one_of("state", InboxState, "stripe_inbox_state")]
        indexes = [
            models.Index(
                fields=["next_at"], condition=Q(state=InboxState.RECEIVED), name="stripe_inbox_due"
            ),
            models.Index(
                fields=["received_at"],
                condition=Q(state=InboxState.FAILED),
                name="stripe_inbox_failed",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.type} {self.event_id} {self.state}"
