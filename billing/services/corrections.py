"""What a usage event turned out to be: corrections beside it, and the money that follows them.

An event never changes. A correction adds signed deltas to it; budgets follow, and the ledger by
reversing what the call had moved and posting what it should have. Units: USD, tokens.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Final
from uuid import UUID

import structlog
from django.db import connection, transaction
from django.db.models import Q, Sum

from billing.errors import (
    CorrectionNotApproved,
    CorrectionReused,
    CorrectionTooLarge,
    UsageMovedOtherwise,
)
from billing.models import LedgerAccount, LedgerEntry, LedgerTxn, UsageCorrection, UsageEvent
from billing.services import ledger, two_persons
from billing.services.ledger import Leg
from billing.services.retries import retried
from billing.services.usage import ALERTS, alerted
from billing.types import (
    AccountKind,
    BillingMode,
    CorrectionReason,
    TokenCount,
    TxnKind,
    UnitClass,
)
from ideplatform.kit import ids, money
from ideplatform.kit.errors import NotFound
from ideplatform.outbox import facts

log = structlog.get_logger(__name__)

TOPIC: Final = "usage.corrected"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What is added to an event: signed, in USD at 12 places and in tokens by class.

    `estimated_cost` None leaves the vendor's cost alone; a zero prices an unpriced event at zero.
    `billed_cost` below zero gives back, above zero charges more.
    """

    estimated_cost: Decimal | None = None
    billed_cost: Decimal = money.ZERO
    saved_by_cache: Decimal = money.ZERO
    quantities: Mapping[UnitClass, int] | None = None

    @property
    def tokens(self) -> TokenCount:
        given = self.quantities or {}
        return TokenCount({name: count for name, count in given.items() if count})


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective:
    """What an event and its corrections add up to; `estimated_cost` is None while unpriced."""

    estimated_cost: Decimal | None
    billed_cost: Decimal
    saved_by_cache: Decimal
    corrections: int


def correct(
    *,
    event_id: UUID,
    change: Change,
    reason: CorrectionReason,
    key: str,
    created_by_id: UUID | None = None,
    approved_by_id: UUID | None = None,
    note: str = "",
    recon_line_id: UUID | None = None,
) -> UsageCorrection:
    """Add a correction to an event, once per key, and move budgets and ledger with it.

    A customer never pays more automatically: charging needs an approver other than the creator,
    giving back an approver, beyond the two-person rule another one. Where two are needed the
    database wants their approved request (`correction_reviews`). With the bill unchanged only our
    cost moves (`provider_cogs`, `provider_payable`); customers' own keys move no money at all.
    Raises NotFound, CorrectionReused when the key stands for another correction,
    CorrectionNotApproved, CorrectionTooLarge when less than nothing would be left, and
    UsageMovedOtherwise when the call's money was already reversed by other means.
    """
    asked = UsageCorrection(
        id=ids.new(),
        event_id=event_id,
        idempotency_key=key,
        reason=reason,
        note=note,
        created_by_id=created_by_id,
        approved_by_id=approved_by_id,
        recon_line_id=recon_line_id,
        delta_estimated_cost=money.quantise(change.estimated_cost or money.ZERO),
        delta_billed_cost=money.quantise(change.billed_cost),
        delta_saved_by_cache=money.quantise(change.saved_by_cache),
        **_deltas(change.tokens),
    )
    return retried(functools.partial(_correct, asked, change.estimated_cost is not None))


def effective(event: UsageEvent) -> Effective:
    """The event with all its corrections."""
    sums = UsageCorrection.objects.filter(event=event).aggregate(
        cost=Sum("delta_estimated_cost"),
        billed=Sum("delta_billed_cost"),
        saved=Sum("delta_saved_by_cache"),
    )
    numbers = UsageCorrection.objects.filter(event=event).values_list("gives_price", flat=True)
    is_priced = event.estimated_cost is not None or any(numbers)
    known = (event.estimated_cost or money.ZERO) + (sums["cost"] or money.ZERO)
    return Effective(
        estimated_cost=known if is_priced else None,
        billed_cost=event.billed_cost + (sums["billed"] or money.ZERO),
        saved_by_cache=event.saved_by_cache + (sums["saved"] or money.ZERO),
        corrections=len(numbers),
    )


@transaction.atomic
def _correct(asked: UsageCorrection, is_costed: bool) -> UsageCorrection:
    event = UsageEvent.objects.select_for_update(no_key=True).filter(pk=asked.event_id).first()
    if event is None:
        raise NotFound
    known = UsageCorrection.objects.filter(idempotency_key=asked.idempotency_key).first()
    if known is not None:
        return _repeated(known, asked)
    before = effective(event)
    asked.number = before.corrections + 1
    asked.gives_price = before.estimated_cost is None and is_costed
    _check(event, before, asked)
    _move_budgets(event, asked)
    asked.txn = _post(event, before, asked)
    asked.save(force_insert=True)
    facts.publish(
        TOPIC,
        key=str(asked.pk),
        payload={
            "correction_id": str(asked.pk),
            "event_id": str(event.pk),
            "organization_id": str(event.customer_id),
        },
    )
    log.info("usage.corrected", event_id=str(event.pk), reason=asked.reason, key=str(asked.pk))
    return asked


_SAME: Final = (
    "event_id",
    "reason",
    "delta_estimated_cost",
    "delta_billed_cost",
    "delta_saved_by_cache",
    "delta_quantities",
)


def _repeated(known: UsageCorrection, asked: UsageCorrection) -> UsageCorrection:
    if any(getattr(known, name) != getattr(asked, name) for name in _SAME):
        raise CorrectionReused
    return known


def _check(event: UsageEvent, before: Effective, asked: UsageCorrection) -> None:
    is_paid = event.billing_mode == BillingMode.PLATFORM
    if asked.delta_billed_cost and not (is_paid and _is_approved(asked)):
        raise CorrectionNotApproved
    cost = (before.estimated_cost or money.ZERO) + asked.delta_estimated_cost
    if cost < 0 or before.billed_cost + asked.delta_billed_cost < 0 or _leaves_less(event, asked):
        raise CorrectionTooLarge


def _is_approved(asked: UsageCorrection) -> bool:
    limit = two_persons.rule().amount_usd
    if asked.delta_billed_cost > 0 or -asked.delta_billed_cost > limit:
        people = {asked.created_by_id, asked.approved_by_id}
        return len(people) == 2 and None not in people
    return asked.approved_by_id is not None


_TOKENS: Final = (
    "tokens_input",
    "tokens_output",
    "tokens_cache_read",
    "tokens_cache_write",
    "tokens_reasoning",
)


def _leaves_less(event: UsageEvent, asked: UsageCorrection) -> bool:
    """Whether a token count would fall below zero, or below one of its parts."""
    earlier = UsageCorrection.objects.filter(event=event).aggregate(
        *(Sum(f"delta_{name}") for name in _TOKENS)
    )
    left = {
        name: getattr(event, name)
        + (earlier[f"delta_{name}__sum"] or 0)
        + getattr(asked, f"delta_{name}")
        for name in _TOKENS
    }
    return bool(
        min(left.values()) < 0
        or left["tokens_input"] < left["tokens_cache_read"] + left["tokens_cache_write"]
        or left["tokens_output"] < left["tokens_reasoning"]
    )


def _deltas(tokens: TokenCount) -> dict[str, object]:
    return {
        "delta_quantities": {name.value: count for name, count in tokens.quantities.items()},
        "delta_tokens_input": tokens.input,
        "delta_tokens_output": tokens.output,
        "delta_tokens_cache_read": tokens.cache_read,
        "delta_tokens_cache_write": tokens.cache_write,
        "delta_tokens_reasoning": tokens.reasoning,
    }


def _move_budgets(event: UsageEvent, asked: UsageCorrection) -> None:
    """The frozen periods of the call have spent what it effectively cost."""
    is_paid = event.billing_mode == BillingMode.PLATFORM
    delta = asked.delta_billed_cost if is_paid else asked.delta_estimated_cost
    if not delta or not event.budget_period_ids:
        return
    with connection.cursor() as cursor:
        cursor.execute(_MOVE_BUDGETS, [event.budget_period_ids, delta])
    if delta > 0:
        told = alerted(event.budget_period_ids)
        facts.publish_many(ALERTS, [(str(alert["alert_id"]), alert) for alert in told])


_MOVE_BUDGETS: Final = """
WITH locked AS MATERIALIZED (
    SELECT id FROM billing_budget_periods WHERE id = ANY(%s) ORDER BY id FOR NO KEY UPDATE
)
UPDATE billing_budget_periods p SET spent = p.spent + %s FROM locked WHERE p.id = locked.id
"""


def _post(event: UsageEvent, before: Effective, asked: UsageCorrection) -> LedgerTxn | None:
    """Bring the ledger to what the call effectively cost; None when nothing new is posted."""
    if event.billing_mode != BillingMode.PLATFORM:
        return None
    if not asked.delta_billed_cost and not asked.delta_estimated_cost:
        return None
    _lock_wallet(event.customer_id)
    standing = _standing(event, before)
    cost = (before.estimated_cost or money.ZERO) + asked.delta_estimated_cost
    if not asked.delta_billed_cost:
        return _posted(event, asked, TxnKind.TRUE_UP, _cost_legs(event, asked.delta_estimated_cost))
    for txn in standing:
        ledger.reverse(txn_id=txn.pk, actor_id=asked.approved_by_id, reason=asked.reason)
    charged = _charge_legs(event, before.billed_cost + asked.delta_billed_cost)
    return _posted(event, asked, TxnKind.CORRECTION, [*charged, *_cost_legs(event, cost)])


def _posted(
    event: UsageEvent, asked: UsageCorrection, kind: TxnKind, legs: list[Leg]
) -> LedgerTxn | None:
    if not legs:
        return None
    return ledger.post(
        kind=kind,
        key=f"correction:{asked.pk}",
        legs=legs,
        actor_id=asked.approved_by_id,
        reason=asked.reason,
        links={"usage_event": str(event.pk), "correction": str(asked.pk)},
    )


def _standing(event: UsageEvent, before: Effective) -> list[LedgerTxn]:
    """The call's transactions that nobody reversed; together they are what it effectively cost."""
    family = Q(pk=event.txn_id) | Q(correction__event=event)
    standing = list(
        LedgerTxn.objects.filter(family, reversed_by__isnull=True).order_by("created_at", "pk")
    )
    entries = LedgerEntry.objects.filter(txn__in=standing)
    moved = entries.filter(account__kind=AccountKind.REVENUE_USAGE).aggregate(sum=Sum("amount"))
    owed = entries.filter(account__kind=AccountKind.PROVIDER_COGS).aggregate(sum=Sum("amount"))
    is_whole = (moved["sum"] or money.ZERO) == before.billed_cost
    if not is_whole or -(owed["sum"] or money.ZERO) != (before.estimated_cost or money.ZERO):
        raise UsageMovedOtherwise
    return standing


def _charge_legs(event: UsageEvent, billed: Decimal) -> list[Leg]:
    """Promotional credit first, as far as it goes; the rest is paid."""
    if not billed:
        return []
    purse = LedgerAccount.objects.get(customer=event.customer_id, kind=AccountKind.WALLET_PROMO)
    promo = min(max(purse.posted, money.ZERO), billed)
    legs = [
        Leg(kind=AccountKind.WALLET_PROMO, amount_usd=-promo, customer_id=event.customer_id),
        Leg(kind=AccountKind.WALLET, amount_usd=promo - billed, customer_id=event.customer_id),
        Leg(kind=AccountKind.REVENUE_USAGE, amount_usd=billed),
    ]
    return [leg for leg in legs if leg.amount_usd]


def _cost_legs(event: UsageEvent, cost: Decimal) -> list[Leg]:
    """What we owe the vendor, against our cost."""
    if not cost:
        return []
    payable = f"{AccountKind.PROVIDER_PAYABLE}:{event.provider_type}"
    LedgerAccount.objects.bulk_create(
        [LedgerAccount(kind=payable)],
        ignore_conflicts=True,
    )
    return [
        Leg(kind=AccountKind.PROVIDER_COGS, amount_usd=-cost),
        Leg(kind=payable, amount_usd=cost),
    ]


def _lock_wallet(customer_id: UUID) -> None:
    wallets = LedgerAccount.objects.filter(customer=customer_id, kind=AccountKind.WALLET)
    list(wallets.select_for_update(no_key=True).values_list("pk", flat=True))
