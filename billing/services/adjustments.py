"""What operators do to a customer: credit, debit, promotional credit, limit, park.

What one person may do alone is done at once; the rest becomes a request, and the functions
`apply_*` do it when a second person has agreed. Units: USD.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

import msgspec

from accounts.services import audit as account_audit
from accounts.types import Actor
from billing.errors import ApprovalStale
from billing.models import ApprovalRequest, Customer, LedgerTxn
from billing.services import approvals, audit, ledger, operators, tokens, two_persons
from billing.services.ledger import Grant
from billing.services.tokens import Outcome
from billing.types import ApprovalKind, CustomerStatus, LotKind, ParkReason, Right
from ideplatform.kit import money
from ideplatform.kit.errors import Conflict, NotFound
from ideplatform.kit.serializers import wrong
from ideplatform.outbox import facts

MOST_USD: Final = Decimal(1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grounds:
    """Why: `reason` is shown to the customer's people, `note` to operators only."""

    reason: str
    ticket: str = ""
    note: str = ""


class AlreadySo(Conflict):
    code, title = "already_so", "It is so already"


class _Moved(msgspec.Struct, frozen=True):
    """The payload of a move: the signed amount that the customer gets."""

    customer_id: UUID
    amount_usd: Decimal
    expires_at: datetime | None = None
    txn_id: UUID | None = None


class _Limit(msgspec.Struct, frozen=True):
    customer_id: UUID
    limit_usd: Decimal
    was_usd: Decimal


def correct(
    *, actor: Actor, customer_id: UUID, amount_usd: Decimal, grounds: Grounds, token: UUID
) -> Outcome:
    """Credit a customer's paid wallet, or debit it (below zero), once per token.

    Raises Forbidden, NotFound, InvalidInput.
    """
    operators.authorise(actor, Right.ADJUST)
    amount = _amount(amount_usd)
    payload = {"customer_id": str(_customer(customer_id).pk), "amount_usd": money.text(amount)}

    def work() -> Outcome:
        if two_persons.why_two(operator_id=actor.user_id, amount_usd=amount):
            return _asked(actor, ApprovalKind.ADJUSTMENT, payload, customer_id, grounds)
        txn = ledger.adjust(
            customer_id=customer_id,
            amount_usd=amount,
            key=f"hand:{token}",
            actor_id=actor.user_id,
            reason=grounds.reason,
            links=_links(grounds),
        )
        return _moved("wallet.adjusted", actor, txn, payload, grounds)

    return tokens.once(actor=actor, token=token, work=work)


def give_promo(
    *,
    actor: Actor,
    customer_id: UUID,
    amount_usd: Decimal,
    expires_at: datetime | None,
    grounds: Grounds,
    token: UUID,
) -> Outcome:
    """Give promotional credit, which burns first and may end, once per token; raises as above."""
    operators.authorise(actor, Right.PROMO)
    amount = _amount(amount_usd)
    if amount < 0:
        raise wrong("/amount_usd", "more than 0")
    payload = {
        "customer_id": str(_customer(customer_id).pk),
        "amount_usd": money.text(amount),
        "expires_at": expires_at.isoformat() if expires_at else None,
    }

    def work() -> Outcome:
        if two_persons.why_two(operator_id=actor.user_id, amount_usd=amount):
            return _asked(actor, ApprovalKind.PROMO, payload, customer_id, grounds)
        txn = ledger.credit(
            customer_id=customer_id,
            amount_usd=amount,
            kind=LotKind.PROMO,
            key=f"hand:{token}",
            actor_id=actor.user_id,
            reason=grounds.reason,
            links=_links(grounds),
            grant=Grant(expires_at=expires_at),
        )
        return _moved("promo.given", actor, txn, payload, grounds)

    return tokens.once(actor=actor, token=token, work=work)


def undo(*, actor: Actor, txn_id: UUID, grounds: Grounds, token: UUID) -> Outcome:
    """Ask for a transaction of one customer to be reversed; that always takes two persons.

    Raises Forbidden, NotFound.
    """
    operators.authorise(actor, Right.ADJUST)
    legs = list(_txn(txn_id).entries.exclude(account__customer=None).select_related("account"))
    payers = {leg.account.customer_id for leg in legs}
    payer = payers.pop() if len(payers) == 1 else None
    if payer is None:
        raise NotFound
    amount = -money.total([leg.amount for leg in legs])
    payload = {
        "customer_id": str(payer),
        "amount_usd": money.text(amount),
        "txn_id": str(txn_id),
    }
    return tokens.once(
        actor=actor,
        token=token,
        work=lambda: _asked(actor, ApprovalKind.REVERSAL, payload, payer, grounds),
    )


def set_limit(
    *, actor: Actor, customer_id: UUID, limit_usd: Decimal, grounds: Grounds, token: UUID
) -> Outcome:
    """Ask for another postpaid limit; that always takes two persons. Raises as `correct`."""
    operators.authorise(actor, Right.LIMIT)
    limit = money.quantise(limit_usd)
    if not 0 <= limit <= MOST_USD:
        raise wrong("/limit_usd", f"from 0 to {MOST_USD} USD")
    customer = _customer(customer_id)
    if customer.postpaid_limit == limit:
        raise AlreadySo
    payload = {
        "customer_id": str(customer_id),
        "limit_usd": money.text(limit),
        "was_usd": money.text(customer.postpaid_limit),
    }
    return tokens.once(
        actor=actor,
        token=token,
        work=lambda: _asked(actor, ApprovalKind.LIMIT, payload, customer_id, grounds),
    )


def park(*, actor: Actor, customer_id: UUID, grounds: Grounds, token: UUID) -> Outcome:
    """Refuse a customer's new calls until `release`; running ones end. Raises AlreadySo."""
    return _restate(actor, customer_id, CustomerStatus.PARKED, "customer.parked", grounds, token)


def release(*, actor: Actor, customer_id: UUID, grounds: Grounds, token: UUID) -> Outcome:
    """Let a parked customer pay again, whoever parked it. Raises AlreadySo."""
    return _restate(actor, customer_id, CustomerStatus.ACTIVE, "customer.released", grounds, token)


def apply_adjustment(request: ApprovalRequest) -> str:
    """Handler of `adjustment`."""
    moved = msgspec.convert(request.payload, _Moved)
    txn = ledger.adjust(
        customer_id=moved.customer_id,
        amount_usd=moved.amount_usd,
        key=f"approval:{request.pk}",
        actor_id=request.proposer_id,
        reason=request.reason,
        links=_approved(request),
    )
    return str(txn.pk)


def apply_promo(request: ApprovalRequest) -> str:
    """Handler of `promo`."""
    moved = msgspec.convert(request.payload, _Moved)
    txn = ledger.credit(
        customer_id=moved.customer_id,
        amount_usd=moved.amount_usd,
        kind=LotKind.PROMO,
        key=f"approval:{request.pk}",
        actor_id=request.proposer_id,
        reason=request.reason,
        links=_approved(request),
        grant=Grant(expires_at=moved.expires_at),
    )
    return str(txn.pk)


def apply_reversal(request: ApprovalRequest) -> str:
    """Handler of `reversal`. Raises AlreadyReversed."""
    moved = msgspec.convert(request.payload, _Moved)
    if moved.txn_id is None:
        raise ApprovalStale
    txn = ledger.reverse(
        txn_id=moved.txn_id,
        actor_id=request.proposer_id,
        reason=request.reason,
        links=_approved(request),
    )
    return str(txn.pk)


def apply_limit(request: ApprovalRequest) -> str:
    """Handler of `limit`; raises ApprovalStale when it was changed since it was asked for."""
    asked = msgspec.convert(request.payload, _Limit)
    changed = Customer.objects.filter(pk=asked.customer_id, postpaid_limit=asked.was_usd).update(
        postpaid_limit=asked.limit_usd
    )
    if not changed:
        raise ApprovalStale
    return str(asked.customer_id)


def _restate(
    actor: Actor,
    customer_id: UUID,
    status: CustomerStatus,
    action: str,
    grounds: Grounds,
    token: UUID,
) -> Outcome:
    operators.authorise(actor, Right.PARK)
    customer = _customer(customer_id)

    def work() -> Outcome:
        changed = (
            Customer.objects.filter(pk=customer_id)
            .exclude(status__in=(status, CustomerStatus.CLOSED))
            .update(status=status, parked_by=ParkReason.NONE)
        )
        if not changed:
            raise AlreadySo
        key = str(customer.pk)
        facts.publish(action, key=key, payload={"organization_id": key})
        account_audit.record(
            action=action,
            actor=actor,
            organization_id=customer_id,
            details={"reason": grounds.reason},
        )
        audit.record(
            action=action, actor=actor, customer_id=customer_id, details=_links(grounds, note=True)
        )
        return Outcome(is_done=True, target=key)

    return tokens.once(actor=actor, token=token, work=work)


def _asked(
    actor: Actor,
    kind: ApprovalKind,
    payload: Mapping[str, approvals.Value],
    customer_id: UUID,
    grounds: Grounds,
) -> Outcome:
    request = approvals.propose(
        actor=actor,
        kind=kind,
        payload=payload,
        reason=grounds.reason,
        customer_id=customer_id,
        ticket=grounds.ticket,
        note=grounds.note,
    )
    return Outcome(is_done=False, target=str(request.pk))


def _moved(
    action: str,
    actor: Actor,
    txn: LedgerTxn,
    payload: Mapping[str, approvals.Value],
    grounds: Grounds,
) -> Outcome:
    audit.record(
        action=action,
        actor=actor,
        customer_id=UUID(str(payload["customer_id"])),
        target=txn.pk,
        details={"amount_usd": payload["amount_usd"], **_links(grounds, note=True)},
    )
    return Outcome(is_done=True, target=str(txn.pk))


def _links(grounds: Grounds, *, note: bool = False) -> dict[str, str]:
    told = {"ticket": grounds.ticket} | (
        {"reason": grounds.reason, "note": grounds.note} if note else {}
    )
    return {name: text for name, text in told.items() if text}


def _approved(request: ApprovalRequest) -> dict[str, str]:
    return {"approval": str(request.pk)} | ({"ticket": request.ticket} if request.ticket else {})


def _amount(amount_usd: Decimal) -> Decimal:
    amount = money.quantise(amount_usd)
    if not amount or abs(amount) > MOST_USD:
        raise wrong("/amount_usd", f"not 0, at most {MOST_USD} USD")
    return amount


def _customer(customer_id: UUID) -> Customer:
    customer = Customer.objects.filter(pk=customer_id).first()
    if customer is None:
        raise NotFound
    return customer


def _txn(txn_id: UUID) -> LedgerTxn:
    txn = LedgerTxn.objects.filter(pk=txn_id).first()
    if txn is None:
        raise NotFound
    return txn
