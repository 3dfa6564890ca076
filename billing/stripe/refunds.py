"""Money given back through Stripe, by an operator."""

from __future__ import annotations

from typing import Literal
from uuid import UUID

from django.db import transaction
from django.db.models import Sum

from billing.errors import NotRefundable
from billing.models import Clawback, StripeOutbox, TopUp
from billing.stripe import api, outbox
from billing.types import ClawbackState, MessageKind, MessageState, TopUpState
from ideplatform.outbox import facts

Reason = Literal["duplicate", "fraudulent", "requested_by_customer"]


@transaction.atomic
def request(*, top_up_id: UUID, amount_minor: int, reason: Reason) -> UUID:
    """Ask Stripe to give back part of a top-up; the id of the message that asks.

    The caller has judged who may. The wallet pays when Stripe has accepted. Raises NotRefundable
    for more than what was paid and is not yet given back, asked back or disputed,
    StripeNotConfigured.
    """
    api.require_configured()
    top_up = TopUp.objects.select_for_update(no_key=True).get(pk=top_up_id)
    if top_up.state != TopUpState.PAID or not 0 < amount_minor <= refundable(top_up):
        raise NotRefundable
    message = outbox.queue(
        kind=MessageKind.REFUND,
        customer_id=top_up.customer_id,
        payload={
            "payment_intent": top_up.payment_intent,
            "amount": amount_minor,
            "reason": reason,
        },
        top_up=top_up,
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
