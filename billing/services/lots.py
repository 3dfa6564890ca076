"""Lots of credit inside one locked wallet: made, burnt, given back. Called by the ledger alone."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from django.db.models import F, Sum

from billing.models import CreditLot, LedgerAccount, LedgerEntry, LedgerTxn, LotUse
from billing.types import AccountKind, LotKind
from ideplatform.kit import money


def make(
    entry: LedgerEntry,
    account: LedgerAccount,
    amount: Decimal,
    *,
    priority: int,
    expires_at: datetime | None,
) -> None:
    """A lot of what a credit brought."""
    is_paid = account.kind == AccountKind.WALLET
    CreditLot.objects.create(
        account=account,
        kind=LotKind.PAID if is_paid else LotKind.PROMO,
        amount=amount,
        remaining=amount,
        priority=priority,
        expires_at=expires_at,
        source_txn=entry.txn,
    )


def burn(
    entry: LedgerEntry, account: LedgerAccount, amount: Decimal, *, first: UUID | None
) -> None:
    """Take an amount from the open lots, `first` before all others, as far as they go."""
    rows = CreditLot.objects.filter(account=account, remaining__gt=0)
    order = (F("priority").asc(), F("expires_at").asc(nulls_last=True), "created_at", "pk")
    open_lots = sorted(rows.order_by(*order), key=lambda lot: lot.pk != first)
    for lot in open_lots:
        taken = min(lot.remaining, amount)
        if not taken:
            return
        _use(entry, lot, taken)
        amount -= taken


def give_back(entry: LedgerEntry, undone: LedgerTxn, account: LedgerAccount) -> Decimal:
    """Return to their lots what a transaction had taken; how much that was."""
    uses = LotUse.objects.filter(entry__txn=undone, lot__account=account)
    taken = uses.values("lot").annotate(total=Sum("amount")).order_by("lot")
    returned = money.ZERO
    for row in taken:
        _use(entry, CreditLot.objects.get(pk=row["lot"]), -row["total"])
        returned += row["total"]
    return returned


def made_by(txn: LedgerTxn, account: LedgerAccount) -> UUID | None:
    """The lot that a credit had made in this wallet."""
    made = CreditLot.objects.filter(source_txn=txn, account=account)
    return made.values_list("pk", flat=True).first()


def _use(entry: LedgerEntry, lot: CreditLot, amount: Decimal) -> None:
    CreditLot.objects.filter(pk=lot.pk).update(remaining=F("remaining") - amount)
    LotUse.objects.create(entry=entry, lot=lot, amount=amount)
