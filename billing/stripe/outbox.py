"""What is asked of Stripe: written with the business change, sent after it, done once.

A message's id is its idempotency key, which Stripe remembers for 24 hours, and lies in the
metadata of what it makes. So it can be repeated at will for a day, and after that is looked for
before it is sent again. No transaction is open while Stripe is asked.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import F, Q
from django.db.models.functions import Coalesce

from billing.errors import StripeRejected, StripeUnavailable
from billing.models import Customer, StripeOutbox, TopUp
from billing.services.retries import retried
from billing.stripe import api, departures, payments
from billing.stripe.objects import Made
from billing.types import MessageKind, MessageState
from ideplatform.kit import ids
from ideplatform.kit.db import database_now
from ideplatform.kit.errors import PlatformError
from ideplatform.kit.failpoints import hit

log = structlog.get_logger(__name__)

LEASE: Final = timedelta(seconds=120)
# Stripe forgets keys after 24 hours; a clock that differs by less than an hour does no harm.
KEY_LIFE: Final = timedelta(hours=23)
# Nobody waits any more for the address of a page to pay on.
CHECKOUT_LIFE: Final = timedelta(minutes=30)
_LONGEST_PAUSE_S: Final = 3_600
_BATCH: Final = 100
_OPEN: Final = (MessageState.QUEUED, MessageState.SENT)


def queue(
    *,
    kind: MessageKind,
    customer_id: UUID,
    payload: Mapping[str, Any],
    top_up: TopUp | None = None,
    actor_id: UUID | None = None,
    approval_id: UUID | None = None,
) -> StripeOutbox:
    """Write a message in the caller's transaction; whoever wrote it sends it after the commit,
    and `send_due` what they did not. An operator's refund says whose it is, and who agreed."""
    message_id = ids.new()
    marks = {"outbox_id": str(message_id), "organization_id": str(customer_id)}
    marks |= {"top_up_id": str(top_up.pk)} if top_up else {}
    marked = dict(payload) | {"metadata": marks}
    if kind is MessageKind.CHECKOUT:
        marked["payment_intent_data"] = dict(payload["payment_intent_data"]) | {"metadata": marks}
    return StripeOutbox.objects.create(
        id=message_id,
        kind=kind,
        customer_id=customer_id,
        top_up=top_up,
        payload=marked,
        idempotency_key=str(message_id),
        actor_id=actor_id,
        approval_id=approval_id,
        next_at=database_now() + LEASE,
    )


def send(message_id: UUID) -> StripeOutbox:
    """Send a message that nobody else is sending, and do what follows from its answer.

    A message that is done is answered as it stands. Raises StripeUnavailable (it will be tried
    again), StripeRejected or PaymentDeclined (it is dead).
    """
    message, was_sent_at = _claim(message_id)
    if message.state == MessageState.DONE:
        return message
    hit("before_stripe")
    try:
        made = _ask(message, was_sent_at)
    except PlatformError as failed:
        _failed(message, failed)
        raise
    hit("after_stripe")
    retried(functools.partial(_record, message, made))
    _follow_up(message, made)
    message.refresh_from_db()
    return message


def send_queued(message_id: UUID) -> None:
    """Send a message for nobody who waits; what fails is tried again or buried."""
    try:
        send(message_id)
    except PlatformError as failed:
        log.info("stripe_message.not_sent", message_id=str(message_id), code=failed.code)


def send_due() -> int:
    """Send what is due, or was left by a process that died; how many messages were tried."""
    if not api.is_configured():
        return 0
    now = database_now()
    _bury_checkouts(now)
    due = StripeOutbox.objects.filter(state__in=_OPEN, next_at__lte=now).order_by("next_at")
    found = list(due.values_list("pk", flat=True)[:_BATCH])
    for message_id in found:
        send_queued(message_id)
    return len(found)


def _claim(message_id: UUID) -> tuple[StripeOutbox, datetime | None]:
    """The message, now ours for the length of a lease, and when it was first sent before.

    Raises StripeUnavailable while another process is sending it or a pause is not over.
    """
    with transaction.atomic():
        message = StripeOutbox.objects.select_for_update(no_key=True).get(pk=message_id)
        now, before = database_now(), message.first_sent_at
        if message.state not in _OPEN:
            if message.state == MessageState.DEAD:
                raise StripeRejected("what was asked before was given up; ask anew")
            return message, before
        if message.attempts and message.next_at > now:
            raise StripeUnavailable(retry_after_s=int((message.next_at - now).total_seconds()) + 1)
        StripeOutbox.objects.filter(pk=message_id).update(
            state=MessageState.SENT,
            attempts=F("attempts") + 1,
            next_at=now + LEASE,
            first_sent_at=Coalesce("first_sent_at", now),
        )
        message.refresh_from_db()
    return message, before


def _ask(message: StripeOutbox, was_sent_at: datetime | None) -> Made:
    kind = MessageKind(message.kind)
    if was_sent_at is not None and database_now() - was_sent_at > KEY_LIFE:
        found = api.find(kind, message.payload, outbox_id=str(message.pk), since=was_sent_at)
        if found is not None:
            return found
        # It never arrived, and Stripe has forgotten the key: a new day of it begins.
        StripeOutbox.objects.filter(pk=message.pk).update(first_sent_at=database_now())
    return api.create(kind, message.payload, key=message.idempotency_key)


def _failed(message: StripeOutbox, failed: PlatformError) -> None:
    if failed.retryable:
        pause_s = min(10 * 2 ** min(message.attempts, 10), _LONGEST_PAUSE_S)
        pause = timedelta(seconds=random.randint(pause_s // 2, pause_s))
        StripeOutbox.objects.filter(pk=message.pk).update(
            next_at=database_now() + pause, error=failed.code
        )
    else:
        retried(functools.partial(_bury, message.pk, failed.code))
        _part_with_the_deleted(message)


def _part_with_the_deleted(message: StripeOutbox) -> None:
    """What was refused may be for a customer that is gone; if nobody can say, the sweep will."""
    payer = message.payload.get("customer")
    if payer:
        with suppress(PlatformError):
            departures.forget(payer)


@transaction.atomic
def _bury(message_id: UUID, code: str) -> None:
    message = StripeOutbox.objects.select_for_update(no_key=True).get(pk=message_id)
    if message.state not in _OPEN:
        return
    StripeOutbox.objects.filter(pk=message_id).update(state=MessageState.DEAD, error=code)
    log.warning("stripe_message.buried", message_id=str(message_id), kind=message.kind, code=code)
    if message.kind != MessageKind.REFUND and message.top_up_id is not None:
        payments.fail(message.top_up_id)


def _bury_checkouts(now: datetime) -> None:
    old = StripeOutbox.objects.filter(
        Q(kind=MessageKind.CHECKOUT), state__in=_OPEN, created_at__lt=now - CHECKOUT_LIFE
    )
    for message_id in list(old.values_list("pk", flat=True)[:_BATCH]):
        retried(functools.partial(_bury, message_id, "out_of_date"))


@transaction.atomic
def _record(message: StripeOutbox, made: Made) -> None:
    StripeOutbox.objects.filter(pk=message.pk, state__in=_OPEN).update(
        state=MessageState.DONE,
        error="",
        response={"id": made.id, "url": made.url, "status": made.status},
    )
    top_ups = TopUp.objects.filter(messages=message)
    match MessageKind(message.kind):
        case MessageKind.CUSTOMER:
            unknown = Customer.objects.filter(
                pk=message.customer_id, stripe_customer_id__isnull=True
            )
            unknown.update(stripe_customer_id=made.id)
        case MessageKind.CHECKOUT:
            top_ups.update(checkout_session=made.id)
        case MessageKind.RECHARGE:
            top_ups.filter(payment_intent__isnull=True).update(payment_intent=made.id)
        case MessageKind.REFUND:
            pass
    log.info("stripe_message.done", message_id=str(message.pk), kind=message.kind)


def _follow_up(message: StripeOutbox, made: Made) -> None:
    """Money moved already: look at it at once. Should that fail, the webhook comes anyway."""
    paid_by = {
        MessageKind.RECHARGE: made.id,
        MessageKind.REFUND: message.payload.get("payment_intent"),
    }.get(MessageKind(message.kind))
    if paid_by:
        try:
            payments.settle(paid_by)
        except PlatformError as failed:
            log.warning("payment.not_settled", payment=paid_by, code=failed.code)
