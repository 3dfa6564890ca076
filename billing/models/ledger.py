"""Tables of the double-entry ledger: who pays, accounts, transactions, legs, lots of credit."""

from __future__ import annotations

from django.db import models
from django.db.models import F, Q
from django.db.models.functions import Now

from accounts.models import Organization
from billing.types import CustomerStatus, LotKind, ParkReason, TxnKind
from ideplatform.kit import ids, money
from ideplatform.kit.columns import choices, one_of

WALLETS = ("wallet", "wallet_promo")


class Customer(models.Model):
    """Who pays: an organization that has used, or was given, something. Its id is its own."""

    organization = models.OneToOneField(
        Organization, models.PROTECT, primary_key=True, related_name="+"
    )
    status = models.CharField(
        max_length=10, choices=choices(CustomerStatus), default=CustomerStatus.ACTIVE
    )
    parked_by = models.CharField(
        max_length=10, choices=choices(ParkReason), blank=True, default="", db_default=""
    )
    currency = models.CharField(max_length=3, default="USD")
    postpaid_limit = money.amount_field(default=0)
    stripe_customer_id = models.CharField(max_length=100, null=True, blank=True, unique=True)
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_customers"
        constraints = [
            one_of("status", CustomerStatus, "customers_status"),
            one_of("parked_by", ParkReason, "customers_parked_by"),
            models.CheckConstraint(condition=Q(postpaid_limit__gte=0), name="customers_limit"),
        ]

    def __str__(self) -> str:
        return str(self.organization_id)


class LedgerAccount(models.Model):
    """A place where money stands. Wallets cache their sums; platform accounts have no hot row.

    `held` of a wallet is what live holds reserve, of promotional credit too. `seq` counts entries.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    customer = models.ForeignKey(Customer, models.PROTECT, null=True, related_name="accounts")
    kind = models.CharField(max_length=60)
    currency = models.CharField(max_length=3, default="USD")
    posted = money.amount_field(default=0)
    held = money.amount_field(default=0)
    seq = models.BigIntegerField(default=0)

    class Meta:
        db_table = "billing_ledger_accounts"
        constraints = [
            models.UniqueConstraint(
                fields=["customer", "kind", "currency"],
                nulls_distinct=False,
                name="ledger_accounts_once",
            ),
            models.CheckConstraint(condition=Q(held__gte=0), name="ledger_accounts_held"),
            models.CheckConstraint(
                condition=Q(kind="wallet") | Q(held=0), name="ledger_accounts_held_by_wallets"
            ),
            models.CheckConstraint(
                condition=Q(kind__in=WALLETS, customer__isnull=False)
                | (~Q(kind__in=WALLETS) & Q(customer__isnull=True, posted=0, seq=0)),
                name="ledger_accounts_owner",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.customer_id or ''}".strip()


class LedgerTxn(models.Model):
    """A movement of money; its legs sum to zero. Never updated, never deleted."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    kind = models.CharField(max_length=20, choices=choices(TxnKind))
    idempotency_key = models.CharField(max_length=200, unique=True)
    digest = models.BinaryField(max_length=32)
    effective_at = models.DateTimeField()
    actor_id = models.UUIDField(null=True)
    reason = models.CharField(max_length=300, blank=True, default="")
    links = models.JSONField(default=dict)
    reverses = models.OneToOneField("self", models.PROTECT, null=True, related_name="reversed_by")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_ledger_txns"
        constraints = [one_of("kind", TxnKind, "ledger_txns_kind")]

    def __str__(self) -> str:
        return f"{self.kind} {self.idempotency_key}"


class LedgerEntry(models.Model):
    """One signed leg of a transaction. Never updated, never deleted."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    txn = models.ForeignKey(LedgerTxn, models.PROTECT, related_name="entries")
    account = models.ForeignKey(LedgerAccount, models.PROTECT, related_name="entries")
    amount = money.amount_field()
    currency = models.CharField(max_length=3, default="USD")
    account_seq = models.BigIntegerField(null=True)  # wallets only
    balance_after = money.amount_field(null=True)

    class Meta:
        db_table = "billing_ledger_entries"
        constraints = [
            models.CheckConstraint(condition=~Q(amount=0), name="ledger_amount_nonzero"),
            models.UniqueConstraint(fields=["account", "account_seq"], name="ledger_account_seq"),
            models.CheckConstraint(
                condition=Q(account_seq__isnull=True, balance_after__isnull=True)
                | Q(account_seq__isnull=False, balance_after__isnull=False),
                name="ledger_balance_with_seq",
            ),
        ]  # that a transaction sums to zero is a trigger

    def __str__(self) -> str:
        return f"{self.account_id} {self.amount}"


class CreditLot(models.Model):
    """Credit of one origin: burnt promotional first, then by priority, expiry and age."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    account = models.ForeignKey(LedgerAccount, models.PROTECT, related_name="lots")
    kind = models.CharField(max_length=10, choices=choices(LotKind))
    amount = money.amount_field()
    remaining = money.amount_field()
    priority = models.SmallIntegerField(default=0)
    expires_at = models.DateTimeField(null=True, blank=True)
    source_txn = models.ForeignKey(LedgerTxn, models.PROTECT, related_name="lots")
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "billing_credit_lots"
        constraints = [
            one_of("kind", LotKind, "credit_lots_kind"),
            models.CheckConstraint(
                condition=Q(remaining__gte=0) & Q(remaining__lte=F("amount")),
                name="credit_lots_remaining",
            ),
        ]
        indexes = [
            models.Index(fields=["account"], condition=Q(remaining__gt=0), name="credit_lots_open"),
            models.Index(
                fields=["expires_at"],
                condition=Q(remaining__gt=0, expires_at__isnull=False),
                name="credit_lots_expiring",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.remaining} of {self.amount}"


class LotUse(models.Model):
    """What a leg took from a lot (negative: gave back). Never updated, never deleted."""

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    entry = models.ForeignKey(LedgerEntry, models.PROTECT, related_name="lot_uses")
    lot = models.ForeignKey(CreditLot, models.PROTECT, related_name="uses")
    amount = money.amount_field()

    class Meta:
        db_table = "billing_lot_uses"
        constraints = [
            models.CheckConstraint(condition=~Q(amount=0), name="lot_uses_nonzero"),
        ]

    def __str__(self) -> str:
        return f"{self.lot_id} {self.amount}"
