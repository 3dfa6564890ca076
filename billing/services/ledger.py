"""Movements of money: balanced transactions, written once, undone only by their reverse.

Usage is posted by `usage.settle_many`; this module posts everything else. Units: USD, 12 places.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

import msgspec
import structlog
from django.db import connection, transaction
from django.db.models import Sum
from django.db.models.functions import Now

from billing.errors import AlreadyReversed, TxnReused, TxnUnbalanced
from billing.models import CreditLot, LedgerAccount, LedgerEntry, LedgerTxn
from billing.models.ledger import WALLETS
from billing.services import lots
from billing.types import AccountKind, LotKind, TxnKind
from ideplatform.kit import ids, money
from ideplatform.kit.db import database_now
from ideplatform.kit.failpoints import hit

log = structlog.get_logger(__name__)

_PLATFORM_LEG: Final = {
    TxnKind.TOP_UP: AccountKind.STRIPE_CLEARING,
    TxnKind.PROMO: AccountKind.PROMO_EXPENSE,
    TxnKind.ADJUSTMENT: AccountKind.ADJUSTMENTS,
    TxnKind.EXPIRY: AccountKind.BREAKAGE,
}
_SWEEP: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Leg:
    """One signed side: positive adds to the account. Wallets name their customer."""

    kind: str
    amount_usd: Decimal
    customer_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What a credit to a wallet becomes: a lot that burns by priority, then expiry, then age."""

    priority: int = 0
    expires_at: datetime | None = None


@transaction.atomic
def post(
    *,
    kind: TxnKind,
    key: str,
    legs: Sequence[Leg],
    actor_id: UUID | None = None,
    reason: str = "",
    links: Mapping[str, str] | None = None,
    grant: Grant | None = None,
    reverses: LedgerTxn | None = None,
) -> LedgerTxn:
    """Write a transaction once per key; a repeated one is answered as it stands.

    A positive wallet leg makes a lot, a negative one burns lots; what lots do not cover leaves the
    wallet below zero. Raises TxnUnbalanced, TxnReused when the key stands for other legs.
    """
    if money.total([leg.amount_usd for leg in legs]) or not all(leg.amount_usd for leg in legs):
        raise TxnUnbalanced
    digest = _digest(kind, legs)
    accounts = _locked(legs)
    known = LedgerTxn.objects.filter(idempotency_key=key).first()
    if known is not None:
        if bytes(known.digest) != digest:
            raise TxnReused
        return known
    txn = LedgerTxn.objects.create(
        kind=kind,
        idempotency_key=key,
        digest=digest,
        effective_at=database_now(),
        actor_id=actor_id,
        reason=reason,
        links=dict(links or {}),
        reverses=reverses,
    )
    entries = LedgerEntry.objects.bulk_create([_entry(txn, leg, accounts) for leg in legs])
    for leg, entry in zip(legs, entries, strict=True):
        if leg.kind in WALLETS:
            _move(entry, accounts[leg.kind, leg.customer_id], grant or Grant(), reverses)
    log.info("ledger_txn.posted", txn_id=str(txn.pk), kind=kind, key=key)
    return txn


def credit(
    *,
    customer_id: UUID,
    amount_usd: Decimal,
    kind: LotKind,
    key: str,
    actor_id: UUID | None = None,
    reason: str = "",
    links: Mapping[str, str] | None = None,
    grant: Grant | None = None,
) -> LedgerTxn:
    """Give credit, paid (`stripe_clearing`) or promotional (`promo_expense`), once per key."""
    is_paid = kind is LotKind.PAID
    return post(
        kind=TxnKind.TOP_UP if is_paid else TxnKind.PROMO,
        key=key,
        legs=_legs(
            customer_id,
            money.quantise(amount_usd),
            wallet=AccountKind.WALLET if is_paid else AccountKind.WALLET_PROMO,
            against=_PLATFORM_LEG[TxnKind.TOP_UP if is_paid else TxnKind.PROMO],
        ),
        actor_id=actor_id,
        reason=reason,
        links=links,
        grant=grant,
    )


def adjust(
    *,
    customer_id: UUID,
    amount_usd: Decimal,
    key: str,
    actor_id: UUID | None,
    reason: str,
    links: Mapping[str, str] | None = None,
) -> LedgerTxn:
    """Correct a wallet by a signed amount, with a reason, once per key.

    Taking, or giving more than one person may, commits only where `links` names its approval.
    """
    amount = money.quantise(amount_usd)
    return post(
        kind=TxnKind.ADJUSTMENT,
        key=key,
        legs=_legs(customer_id, amount, wallet=AccountKind.WALLET, against=AccountKind.ADJUSTMENTS),
        actor_id=actor_id,
        reason=reason,
        links=links,
    )


@transaction.atomic
def reverse(
    *,
    txn_id: UUID,
    actor_id: UUID | None,
    reason: str,
    links: Mapping[str, str] | None = None,
) -> LedgerTxn:
    """Undo a transaction by its opposite legs; burnt lots get back what was taken from them.

    Raises AlreadyReversed for a transaction that was undone, or is itself a reversal.
    """
    txn = LedgerTxn.objects.get(pk=txn_id)
    if txn.kind == TxnKind.REVERSAL:
        raise AlreadyReversed
    legs = [
        Leg(
            kind=entry.account.kind,
            amount_usd=-entry.amount,
            customer_id=entry.account.customer_id,
        )
        for entry in txn.entries.select_related("account").order_by("account__kind", "pk")
    ]
    return post(
        kind=TxnKind.REVERSAL,
        key=f"reverse:{txn.pk}",
        legs=legs,
        actor_id=actor_id,
        reason=reason,
        links={"reversed": str(txn.pk), **(links or {})},
        reverses=txn,
    )


def expire_lots() -> int:
    """Post what remains of lots past their day as breakage; how many there were."""
    due = CreditLot.objects.filter(remaining__gt=0, expires_at__lte=Now())
    expired = 0
    for lot_id in due.order_by("expires_at", "pk").values_list("pk", flat=True)[:_SWEEP]:
        expired += _expire(lot_id)
    return expired


@transaction.atomic
def _expire(lot_id: UUID) -> int:
    account = LedgerAccount.objects.get(lots=lot_id)
    _lock_wallets([account.customer_id])
    lot = CreditLot.objects.get(pk=lot_id)  # what remains cannot move while the wallet is locked
    if not lot.remaining or account.customer_id is None:
        return 0
    post(
        kind=TxnKind.EXPIRY,
        key=f"expiry:{lot.pk}",
        legs=_legs(
            account.customer_id,
            -lot.remaining,
            wallet=AccountKind(account.kind),
            against=AccountKind.BREAKAGE,
        ),
        links={"lot": str(lot.pk)},
    )
    hit("in_lot_expiry")
    return 1


def exists(key: str) -> bool:
    """Whether a transaction of this key was ever written."""
    return LedgerTxn.objects.filter(idempotency_key=key).exists()


def total_of(kind: str) -> Decimal:
    """The sum of an account of the platform, which caches none."""
    entries = LedgerEntry.objects.filter(account__kind=kind, account__customer__isnull=True)
    total: Decimal | None = entries.aggregate(total=Sum("amount"))["total"]
    return total or money.ZERO


def _legs(customer_id: UUID, amount: Decimal, *, wallet: str, against: str) -> list[Leg]:
    return [
        Leg(kind=against, amount_usd=-amount),
        Leg(kind=wallet, amount_usd=amount, customer_id=customer_id),
    ]


_Accounts = dict[tuple[str, UUID | None], LedgerAccount]


def _locked(legs: Sequence[Leg]) -> _Accounts:
    """The accounts of the legs; customers' wallets are locked in the order everyone uses."""
    customers = {leg.customer_id for leg in legs if leg.customer_id is not None}
    _lock_wallets(customers)
    rows = LedgerAccount.objects.filter(customer__in=customers)
    found = {(row.kind, row.customer_id): row for row in rows}
    wanted = [leg.kind for leg in legs if leg.customer_id is None]
    platform = LedgerAccount.objects.filter(customer__isnull=True, kind__in=wanted)
    return found | {(row.kind, None): row for row in platform}


def _lock_wallets(customer_ids: Sequence[UUID | None] | set[UUID]) -> None:
    wallets = LedgerAccount.objects.filter(customer__in=customer_ids, kind=AccountKind.WALLET)
    list(wallets.order_by("pk").select_for_update(no_key=True).values_list("pk", flat=True))


def _entry(txn: LedgerTxn, leg: Leg, accounts: _Accounts) -> LedgerEntry:
    account = accounts[leg.kind, leg.customer_id]
    entry = LedgerEntry(id=ids.new(), txn=txn, account=account, amount=leg.amount_usd)
    if leg.kind in WALLETS:
        entry.account_seq = account.seq + 1
        entry.balance_after = account.posted + leg.amount_usd
    return entry


def _move(
    entry: LedgerEntry, account: LedgerAccount, grant: Grant, reverses: LedgerTxn | None
) -> None:
    """Bring a wallet's sum and lots to where its new leg puts them."""
    before = account.posted
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE billing_ledger_accounts SET posted = posted + %s, seq = seq + 1 WHERE id = %s",
            [entry.amount, account.pk],
        )
    if entry.amount < 0:
        first = None if reverses is None else lots.made_by(reverses, account)
        if "lot" in entry.txn.links:
            first = UUID(entry.txn.links["lot"])
        lots.burn(entry, account, -entry.amount, first=first)
        return
    left = entry.amount
    if reverses is not None:
        left -= lots.give_back(entry, reverses, account)
    if left:
        lots.make(entry, account, left, priority=grant.priority, expires_at=grant.expires_at)
    debt = min(max(-before, money.ZERO), entry.amount)
    if debt:
        lots.burn(entry, account, debt, first=None)


def _digest(kind: TxnKind, legs: Sequence[Leg]) -> bytes:
    facts = sorted(
        (leg.kind, str(leg.customer_id), money.text(money.quantise(leg.amount_usd))) for leg in legs
    )
    return hashlib.sha256(msgspec.json.encode([kind, facts])).digest()
