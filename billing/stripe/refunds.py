"""Money given back through Stripe, by operators: small amounts alone, larger ones by two."""

from __future__ import annotations

from decimal import localcontext
from typing import Literal
from uuid import UUID

import msgspec
from django.db import transaction
from django.db.models import Sum

from accounts.types import Actor
from billing.errors import NotRefundable
from billing.models import ApprovalRequest, Clawback, StripeOutbox, TopUp
from billing.services import approvals, audit, operators, tokens, two_persons
from billing.services.adjustments import Grounds
from billing.services.tokens import Outcome
from billing.stripe import api, outbox
from billing.types import (
    ApprovalKind,
    ClawbackState,
    MessageKind,
    MessageState,
    Right,
    TopUpState,
)
from ideplatform.kit import money
from ideplatform.kit.errors import NotFound
from ideplatform.outbox import facts

Reason = Literal["duplicate", "fraudulent", "requested_by_customer"]


class _Refund(msgspec.Struct, frozen=True):
    """The payload of a refund that two persons decide."""

    top_up_id: UUID
    amount_minor: int
    cause: Reason


def refund(
    *,
    actor: Actor,
    top_up_id: UUID,
    amount_minor: int,
    cause: Reason,
    grounds: Grounds,
    token: UUID,
) -> Outcome:
    """Give back part of a top-up (minor units), once per token, or ask a second person to agree.

    Raises Forbidden, NotFound, NotRefundable, StripeNotConfigured.
    """
    operators.authorise(actor, Right.REFUND)
    top_up = TopUp.objects.filter(pk=top_up_id).first()
    if top_up is None:
        raise NotFound
    _require_refundable(top_up, amount_minor)
    with localcontext(money.EXACT):
        amount = money.quantise(top_up.credited * amount_minor / top_up.amount_minor)
    payload: dict[str, approvals.Value] = {
        "top_up_id": str(top_up_id),
        "amount_minor": amount_minor,
        "cause": cause,
    }

    def work() -> Outcome:
        if two_persons.why_two(operator_id=actor.user_id, amount_usd=amount):
            asked = approvals.propose(
                actor=actor,
                kind=ApprovalKind.REFUND,
                payload=payload,
                reason=grounds.reason,
                customer_id=top_up.customer_id,
                ticket=grounds.ticket,
                note=grounds.note,
            )
            return Outcome(is_done=False, target=str(asked.pk))
        message_id = request(
            top_up_id=top_up_id, amount_minor=amount_minor, reason=cause, actor_id=actor.user_id
        )
        audit.record(
            action="refund.requested",
            actor=actor,
            customer_id=top_up.customer_id,
            target=message_id,
            details={**payload, "reason": grounds.reason, "ticket": grounds.ticket},
        )
        return Outcome(is_done=True, target=str(message_id))

    return tokens.once(actor=actor, token=token, work=work)


def apply_approved(asked: ApprovalRequest) -> str:
    """Handler of `refund`. Raises NotRefundable, StripeNotConfigured."""
    what = msgspec.convert(asked.payload, _Refund)
    message_id = request(
        top_up_id=what.top_up_id,
        amount_minor=what.amount_minor,
        reason=what.cause,
        actor_id=asked.proposer_id,
        approval_id=asked.pk,
    )
    return str(message_id)


@transaction.atomic
def request(
    *,
    top_up_id: UUID,
    amount_minor: int,
    reason: Reason,
    actor_id: UUID | None = None,
    approval_id: UUID | None = None,
) -> UUID:
    """Ask Stripe to give back part of a top-up; the id of the message that asks.

    The caller has judged who may. The wallet pays when Stripe has accepted. Raises NotRefundable
    for more than what was paid and is not yet given back, asked back or disputed,
    StripeNotConfigured.
    """
    top_up = TopUp.objects.select_for_update(no_key=True).get(pk=top_up_id)
    _require_refundable(top_up, amount_minor)
    message = outbox.queue(
        kind=MessageKind.REFUND,
        customer_id=top_up.customer_id,
        payload={
            "payment_intent": top_up.payment_intent,
            "amount": amount_minor,
            "reason": reason,
        },
        top_up=top_up,
        actor_id=actor_id,
        approval_id=approval_id,
    )
    key = str(message.pk)
    facts.publish("stripe.queued", key=key, payload={"message_id": key})
    return message.pk


def refundable(top_up: TopUp) -> int:
    """What can still be given back, in minor units."""
    standing = Clawback.objects.filter(top_up=top_up, state=ClawbackState.STANDING)
    gone = standing.aggregate(total=Sum("amount_minor"))["total"] or 0
    asked = StripeOutbox.objects.filter(top_up=top_up, kind=MessageKind.REFUND).exclude(
        state=MessageState.DEAD
    )
    known = set(Clawback.objects.filter(top_up=top_up).values_list("pk", flat=True))
    waiting = sum(
        message.payload["amount"]
        for message in asked
        if (message.response or {}).get("id") not in known
    )
    return int(top_up.amount_minor - gone - waiting)


def _require_refundable(top_up: TopUp, amount_minor: int) -> None:
    api.require_configured()
    if top_up.state != TopUpState.PAID or not 0 < amount_minor <= refundable(top_up):
        raise NotRefundable
