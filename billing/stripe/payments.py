"""Bring a top-up, its ledger and its customer to what Stripe says of its payment.

Whatever told us (an answer, a webhook, the sweep; once, twice, in any order) only says that there
is something to look at. The payment and everything taken back of it are read anew, and each step
is written once, forward only: an old reading that comes last changes nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from decimal import localcontext
from typing import Final
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import F, Sum

from accounts.services import audit
from billing.errors import PaymentMismatch
from billing.models import (
    AutoRecharge,
    Clawback,
    CreditLot,
    Customer,
    LedgerAccount,
    StripeOutbox,
    TopUp,
)
from billing.services import ledger
from billing.services.ledger import Leg
from billing.services.retries import retried
from billing.stripe import api
from billing.stripe.objects import Dispute, Payment, Refund
from billing.types import (
    AccountKind,
    ClawbackKind,
    ClawbackState,
    CustomerStatus,
    LotKind,
    MessageKind,
    ParkReason,
    TopUpKind,
    TopUpState,
    TxnKind,
)
from ideplatform.kit import ids, money
from ideplatform.kit.db import database_now
from ideplatform.kit.errors import NotFound
from ideplatform.kit.failpoints import hit
from ideplatform.outbox import facts

log = structlog.get_logger(__name__)

MOST_FAILURES: Final = 3
PAUSE_AFTER_FAILURE: Final = timedelta(hours=6)
_ENDED: Final = frozenset({"canceled", "requires_payment_method", "requires_action"})
_TXN_OF: Final = {ClawbackKind.REFUND: TxnKind.REFUND, ClawbackKind.DISPUTE: TxnKind.DISPUTE}
# Until a refund has failed its money has left our balance. An inquiry (`warning_*`) takes none.
_STATE_OF_REFUND: Final = {
    "pending": ClawbackState.STANDING,
    "requires_action": ClawbackState.STANDING,
    "succeeded": ClawbackState.STANDING,
    "failed": ClawbackState.UNDONE,
    "canceled": ClawbackState.UNDONE,
}
_STATE_OF_DISPUTE: Final = {
    "needs_response": ClawbackState.STANDING,
    "under_review": ClawbackState.STANDING,
    "lost": ClawbackState.STANDING,
    "won": ClawbackState.UNDONE,
    "prevented": ClawbackState.UNDONE,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Taken:
    """A refund or dispute as Stripe has it now; `created` in Unix seconds."""

    id: str
    kind: ClawbackKind
    state: ClawbackState
    amount_minor: int
    currency: str
    created: int


def settle(payment_id: str) -> bool:
    """Settle the top-up of a payment; False when the payment is not of ours.

    Raises PaymentMismatch when it names a top-up but is not what that asked for, and what
    `stripe.api` raises. Nothing is written unless everything could be read.
    """
    payment = api.payment(payment_id)
    top_up = _top_up_of(payment)
    if top_up is None:
        return False
    taken: list[_Taken] = []
    if payment.status == "succeeded":
        taken = [*_refunds(api.refunds_of(payment.id)), *_disputes(api.disputes_of(payment.id))]
        taken.sort(key=lambda one: (one.created, one.id))
    retried(functools.partial(_apply, top_up.pk, payment, taken))
    hit("after_payment")
    return True


@transaction.atomic
def fail(top_up_id: UUID) -> None:
    """No money came: abandoned or declined. The third declined recharge in a row ends them."""
    top_up = TopUp.objects.select_for_update(no_key=True).get(pk=top_up_id)
    if top_up.state != TopUpState.CREATED:
        return
    TopUp.objects.filter(pk=top_up.pk).update(state=TopUpState.FAILED)
    log.info("top_up.failed", top_up_id=str(top_up.pk), kind=top_up.kind)
    if top_up.kind == TopUpKind.RECHARGE:
        _count_failure(top_up.customer_id)


def stop_recharging(customer_id: UUID, *, reason: str) -> None:
    """Switch the auto-recharge off and tell; in the caller's transaction."""
    stopped = AutoRecharge.objects.filter(pk=customer_id, is_enabled=True).update(is_enabled=False)
    if stopped:
        key = str(customer_id)
        facts.publish("auto_recharge.stopped", key=key, payload={"organization_id": key})
        audit.record(
            action="auto_recharge.stopped", organization_id=customer_id, details={"reason": reason}
        )


def _count_failure(customer_id: UUID) -> None:
    recharge = AutoRecharge.objects.select_for_update(no_key=True).get(pk=customer_id)
    AutoRecharge.objects.filter(pk=customer_id).update(
        failures=F("failures") + 1, not_before=database_now() + PAUSE_AFTER_FAILURE
    )
    if recharge.failures + 1 >= MOST_FAILURES:
        stop_recharging(customer_id, reason="declined")


def _top_up_of(payment: Payment) -> TopUp | None:
    try:
        named = ids.parse(payment.metadata.get("top_up_id", ""))
    except NotFound:
        return None
    top_up = TopUp.objects.select_related("customer").filter(pk=named).first()
    if top_up is None:
        return None
    is_same = (
        payment.currency == top_up.currency
        and payment.customer in _payers_of(top_up.customer)
        and top_up.payment_intent in (None, payment.id)
        and (payment.status != "succeeded" or payment.amount_received == top_up.amount_minor)
    )
    if not is_same:
        log.error("payment.mismatched", top_up_id=str(top_up.pk), payment=payment.id)
        raise PaymentMismatch
    return top_up


def _payers_of(customer: Customer) -> set[str]:
    """Its ids at Stripe, those included that were deleted there."""
    messages = StripeOutbox.objects.filter(
        customer=customer, kind=MessageKind.CUSTOMER, response__isnull=False
    )
    made = {str(message.response["id"]) for message in messages if message.response}
    return made | ({customer.stripe_customer_id} if customer.stripe_customer_id else set())


def _refunds(found: Iterable[Refund]) -> Iterable[_Taken]:
    for one in found:
        state = _STATE_OF_REFUND.get(one.status or "")
        if state is not None:
            yield _Taken(
                id=one.id,
                kind=ClawbackKind.REFUND,
                state=state,
                amount_minor=one.amount,
                currency=one.currency,
                created=one.created,
            )


def _disputes(found: Iterable[Dispute]) -> Iterable[_Taken]:
    for one in found:
        state = _STATE_OF_DISPUTE.get(one.status)
        if state is not None:
            yield _Taken(
                id=one.id,
                kind=ClawbackKind.DISPUTE,
                state=state,
                amount_minor=one.amount,
                currency=one.currency,
                created=one.created,
            )


@transaction.atomic
def _apply(top_up_id: UUID, payment: Payment, taken: Sequence[_Taken]) -> None:
    top_up = TopUp.objects.select_for_update(no_key=True).get(pk=top_up_id)
    if payment.status == "succeeded":
        _credit(top_up, payment)
        for one in taken:
            _claw(top_up, one)
        _restate(top_up)
        _park_or_release(top_up.customer_id)
        hit("in_payment")
    elif payment.status in _ENDED and top_up.kind == TopUpKind.RECHARGE:
        # On Stripe's page a person can try again; of a saved card this was the one try.
        fail(top_up.pk)


def _credit(top_up: TopUp, payment: Payment) -> None:
    if top_up.txn_id is not None:
        if top_up.payment_intent != payment.id:
            raise PaymentMismatch
        return
    txn = ledger.credit(
        customer_id=top_up.customer_id,
        amount_usd=top_up.credited,
        kind=LotKind.PAID,
        key=f"topup:{payment.id}",
        actor_id=top_up.actor_id,
        reason="Top-up",
        links={"top_up": str(top_up.pk), "payment_intent": payment.id},
    )
    top_up.txn, top_up.payment_intent = txn, payment.id
    top_up.state, top_up.paid_at = TopUpState.PAID, database_now()
    if payment.setup_future_usage == "off_session" and payment.payment_method:
        top_up.payment_method = payment.payment_method
    top_up.save(update_fields=["txn", "payment_intent", "state", "paid_at", "payment_method"])
    if top_up.kind == TopUpKind.RECHARGE:
        AutoRecharge.objects.filter(pk=top_up.customer_id).update(failures=0, not_before=None)
    facts.publish("top_up.paid", key=str(top_up.pk), payload={"top_up_id": str(top_up.pk)})


def _claw(top_up: TopUp, taken: _Taken) -> None:
    if taken.currency != top_up.currency:
        raise PaymentMismatch
    known = Clawback.objects.filter(pk=taken.id).first()
    if known is None:
        _remember(top_up, taken)
    elif known.txn_id and known.state != taken.state == ClawbackState.UNDONE:
        ledger.reverse(txn_id=known.txn_id, actor_id=None, reason=f"{taken.kind} undone")
        Clawback.objects.filter(pk=known.pk).update(state=ClawbackState.UNDONE)


def _remember(top_up: TopUp, taken: _Taken) -> None:
    """Take the money back, or note that it came back before we ever took it."""
    txn_id = None
    if taken.state == ClawbackState.STANDING:
        txn_id = _take(top_up, taken)
    Clawback.objects.create(
        id=taken.id,
        top_up=top_up,
        kind=taken.kind,
        state=taken.state,
        amount_minor=taken.amount_minor,
        txn_id=txn_id,
    )


def _take(top_up: TopUp, taken: _Taken) -> UUID:
    with localcontext(money.EXACT):
        amount = money.quantise(top_up.credited * taken.amount_minor / top_up.amount_minor)
    txn = ledger.post(
        kind=_TXN_OF[taken.kind],
        key=f"{taken.kind}:{taken.id}",
        legs=[
            Leg(kind=AccountKind.WALLET, amount_usd=-amount, customer_id=top_up.customer_id),
            Leg(kind=AccountKind.STRIPE_CLEARING, amount_usd=amount),
        ],
        reason=f"{taken.kind.capitalize()} of a top-up",
        links={"top_up": str(top_up.pk)} | _lot_of(top_up),
    )
    txn_id: UUID = txn.pk
    return txn_id


def _lot_of(top_up: TopUp) -> dict[str, str]:
    """The lot that the top-up made gives first."""
    made = CreditLot.objects.filter(source_txn=top_up.txn_id, account__kind=AccountKind.WALLET)
    lot = made.values_list("pk", flat=True).first()
    return {} if lot is None else {"lot": str(lot)}


def _restate(top_up: TopUp) -> None:
    standing = Clawback.objects.filter(top_up=top_up, state=ClawbackState.STANDING)
    refunds = standing.filter(kind=ClawbackKind.REFUND)
    refunded = refunds.aggregate(total=Sum("amount_minor"))["total"] or 0
    state = TopUpState.PAID
    if standing.filter(kind=ClawbackKind.DISPUTE).exists():
        state = TopUpState.DISPUTED
    elif refunded >= top_up.amount_minor:
        state = TopUpState.REFUNDED
    TopUp.objects.filter(pk=top_up.pk).exclude(state=state).update(state=state)


def _park_or_release(customer_id: UUID) -> None:
    """Whoever spent what was taken back is parked until the wallet is whole again."""
    # Locked, so that what another top-up's payment is doing at this moment is seen.
    wallet = LedgerAccount.objects.select_for_update(no_key=True).get(
        customer=customer_id, kind=AccountKind.WALLET
    )
    standing = Clawback.objects.filter(
        top_up__customer=customer_id, state=ClawbackState.STANDING
    ).exists()
    customer = Customer.objects.filter(pk=customer_id)
    if wallet.posted < 0 and standing:
        changed = customer.filter(status=CustomerStatus.ACTIVE).update(
            status=CustomerStatus.PARKED, parked_by=ParkReason.CLAWBACK
        )
        _tell(customer_id, "customer.parked", changed)
    else:
        changed = customer.filter(
            status=CustomerStatus.PARKED, parked_by=ParkReason.CLAWBACK
        ).update(status=CustomerStatus.ACTIVE, parked_by=ParkReason.NONE)
        _tell(customer_id, "customer.released", changed)


def _tell(customer_id: UUID, what: str, changed: int) -> None:
    if changed:
        key = str(customer_id)
        facts.publish(what, key=key, payload={"organization_id": key})
        audit.record(
            action=what, organization_id=customer_id, details={"reason": ParkReason.CLAWBACK.value}
        )
