"""What Stripe tells: stored before it is answered, then applied, in any order and any number."""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F

from billing.errors import WebhookOfOtherMode
from billing.models import StripeInbox, TopUp
from billing.services.retries import retried
from billing.stripe import api, departures, objects, payments
from billing.stripe.objects import Data, Event
from billing.types import InboxState
from ideplatform.kit.db import database_now
from ideplatform.kit.errors import PlatformError
from ideplatform.outbox import facts

log = structlog.get_logger(__name__)

TYPES: Final = [
    "checkout.session.completed",
    "checkout.session.async_payment_succeeded",
    "checkout.session.async_payment_failed",
    "checkout.session.expired",
    "payment_intent.succeeded",
    "payment_intent.payment_failed",
    "payment_intent.canceled",
    "refund.created",
    "refund.updated",
    "refund.failed",
    "charge.dispute.created",
    "charge.dispute.updated",
    "charge.dispute.closed",
    "charge.dispute.funds_withdrawn",
    "charge.dispute.funds_reinstated",
    "customer.deleted",
]
"""The events that an endpoint is to be enabled for, and that the sweep looks for."""
LOOK_BACK: Final = timedelta(hours=72)
# An event may kill its process; Stripe may be away for days. Neither alone is the end of it.
MOST_ATTEMPTS: Final = 50
BODY_KEPT: Final = timedelta(days=90)
"""Long enough to see with one's own eyes what Stripe said; after it, names and addresses go."""
_LEASE: Final = timedelta(seconds=120)
_LONGEST_PAUSE_S: Final = 3_600
_BATCH: Final = 200
_FORGET_BATCH: Final = 5_000
_FORGET: Final = """
UPDATE billing_stripe_inbox SET body = jsonb_build_object('data', jsonb_build_object('object',
    jsonb_build_object('object', body #> '{data,object,object}', 'id', body #> '{data,object,id}',
                       'payment_intent', body #> '{data,object,payment_intent}')))
WHERE id IN (
    SELECT id FROM billing_stripe_inbox
    WHERE received_at < statement_timestamp() - make_interval(days => %s)
        AND state IN ('done', 'ignored') AND jsonb_exists(body, 'id')
    ORDER BY received_at LIMIT %s FOR UPDATE SKIP LOCKED)
"""


def receive(raw: bytes, signature: str) -> None:
    """Store an event of a webhook, once.

    Raises WebhookRefused, WebhookOfOtherMode, StripeNotConfigured.
    """
    event, body = api.signed_event(raw, signature)
    if event.livemode != settings.ENV.stripe_livemode:
        raise WebhookOfOtherMode
    _store([(event, body)])


def sweep() -> int:
    """Store what the last 72 hours had and no webhook brought; how many events that were."""
    if not api.is_configured():
        return 0
    pages = api.events(TYPES, since=database_now() - LOOK_BACK)
    missed = sum(_store(page) for page in pages)
    if missed:
        log.warning("stripe_events.missed", count=missed)
    return missed


def apply(event_id: str) -> None:
    """Apply a stored event unless that was done or another process is at it."""
    row = _claim(event_id) if api.is_configured() else None
    if row is None:
        return
    try:
        state = _applied(row)
    except PlatformError as failed:
        _failed(row, failed)
        return
    StripeInbox.objects.filter(pk=row.pk).update(state=state, error="")


def apply_due() -> int:
    """Apply what is due, or was left by a process that died; how many events were tried."""
    if not api.is_configured():
        return 0
    due = StripeInbox.objects.filter(state=InboxState.RECEIVED, next_at__lte=database_now())
    found = list(due.order_by("next_at").values_list("event_id", flat=True)[:_BATCH])
    for event_id in found:
        apply(event_id)
    return len(found)


def forget_bodies() -> int:
    """Keep of old events that went well only what a replay reads; how many of them that were."""
    with connection.cursor() as cursor:
        cursor.execute(_FORGET, [BODY_KEPT.days, _FORGET_BATCH])
        return int(cursor.rowcount)


@transaction.atomic
def replay(*, inbox_id: UUID) -> None:
    """Apply an event again, whatever became of it before. The caller has judged who may."""
    row = StripeInbox.objects.select_for_update(no_key=True).get(pk=inbox_id)
    StripeInbox.objects.filter(pk=inbox_id).update(
        state=InboxState.RECEIVED, attempts=0, error="", next_at=database_now()
    )
    facts.publish("stripe.received", key=row.event_id, payload={"event_id": row.event_id})


@transaction.atomic
def _store(events: Sequence[tuple[Event, dict[str, Any]]]) -> int:
    known = set(
        StripeInbox.objects.filter(event_id__in=[event.id for event, _ in events]).values_list(
            "event_id", flat=True
        )
    )
    new = [_row(event, body) for event, body in events if event.id not in known]
    # Whoever stored the same in this moment has published it too.
    StripeInbox.objects.bulk_create(new, ignore_conflicts=True)
    facts.publish_many(
        "stripe.received", [(row.event_id, {"event_id": row.event_id}) for row in new]
    )
    return len(new)


def _row(event: Event, body: dict[str, Any]) -> StripeInbox:
    return StripeInbox(
        event_id=event.id,
        type=event.type,
        created=datetime.fromtimestamp(event.created, UTC),
        livemode=event.livemode,
        api_version=event.api_version or "",
        body=body,
        next_at=database_now(),
    )


@transaction.atomic
def _claim(event_id: str) -> StripeInbox | None:
    row = StripeInbox.objects.select_for_update(no_key=True).filter(event_id=event_id).first()
    now = database_now()
    if row is None or row.state != InboxState.RECEIVED or row.next_at > now:
        return None
    if row.attempts >= MOST_ATTEMPTS and now - row.received_at > LOOK_BACK:
        StripeInbox.objects.filter(pk=row.pk).update(state=InboxState.FAILED)
        return None
    StripeInbox.objects.filter(pk=row.pk).update(attempts=F("attempts") + 1, next_at=now + _LEASE)
    row.attempts += 1
    return row


def _applied(row: StripeInbox) -> InboxState:
    subject = objects.read(row.body["data"], Data).object
    if row.type == "customer.deleted":
        return _state(is_ours=bool(subject.id and departures.forget(subject.id)))
    payment_id = subject.payment_intent
    if subject.object == "payment_intent":
        payment_id = subject.id
    elif subject.object == "checkout.session" and subject.id:
        payment_id = _paid_by(subject.id)
    elif subject.object not in ("refund", "dispute", "charge"):
        payment_id = None
    return _state(is_ours=payment_id is not None and payments.settle(payment_id))


def _state(*, is_ours: bool) -> InboxState:
    return InboxState.DONE if is_ours else InboxState.IGNORED


def _paid_by(session_id: str) -> str | None:
    """The payment of a Checkout session; one that expired without has failed."""
    session = api.session(session_id)
    if session.status == "expired":
        for top_up_id in TopUp.objects.filter(checkout_session=session.id).values_list(
            "pk", flat=True
        ):
            retried(functools.partial(payments.fail, top_up_id))
    return session.payment_intent


def _failed(row: StripeInbox, failed: PlatformError) -> None:
    log.warning("stripe_event.not_applied", event_id=row.event_id, type=row.type, code=failed.code)
    if not failed.retryable:
        StripeInbox.objects.filter(pk=row.pk).update(state=InboxState.FAILED, error=failed.code)
        return
    pause_s = min(5 * 2 ** min(row.attempts, 10), _LONGEST_PAUSE_S)
    pause = timedelta(seconds=random.randint(pause_s // 2, pause_s))
    StripeInbox.objects.filter(pk=row.pk).update(next_at=database_now() + pause, error=failed.code)
