"""Responses that clients come back to: opened, ended by whoever may, continued, forgotten.

Sync; use `run_db`. `response_recording` writes their events, `response_following` reads them.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid4

import msgspec
import structlog
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.db.models.functions import Greatest, Now

from ideplatform.kit.errors import TooLarge
from providers import selectors
from providers.errors import CallRepeated, PreviousResponseMissing, PreviousResponseRunning
from providers.models import ResponseEvent, StoredResponse
from providers.services import response_events as events
from providers.services import response_log as stored
from providers.types import RUNNING_STATES, CallContext, Raw, ResponseState

log = structlog.get_logger(__name__)

MAX_CHAIN: Final = 1_000
MAX_HISTORY_BYTES: Final = 64 * 1024 * 1024
_SWEEP_ROWS: Final = 100
_EXPIRY_ROWS: Final = 500
_encode: Final = msgspec.json.Encoder().encode
_items: Final = msgspec.json.Decoder(list[Raw])

_CHAIN: Final = """
WITH RECURSIVE chain AS (
    SELECT r.*, 0 AS depth FROM stored_responses r
    WHERE r.id = %(first)s AND r.user_id = %(user)s AND r.organization_id = %(organization)s
    UNION ALL
    SELECT r.*, c.depth + 1 FROM stored_responses r JOIN chain c ON r.id = c.previous_id
    WHERE c.depth < %(most)s
        AND r.user_id = %(user)s AND r.organization_id = %(organization)s
)
SELECT id, previous_id, state, input, answer FROM chain ORDER BY depth DESC
"""
_ABANDONED: Final = """
SELECT id FROM stored_responses
WHERE ended_at IS NULL AND lease_until < clock_timestamp() AND (%(only)s::uuid[] IS NULL
    OR id = ANY(%(only)s::uuid[]))
ORDER BY id LIMIT %(rows)s FOR UPDATE SKIP LOCKED
"""
_EXPIRED: Final = """
DELETE FROM stored_responses WHERE id IN (
    SELECT id FROM stored_responses WHERE expires_at < clock_timestamp() AND ended_at IS NOT NULL
    ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED
)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a request that points at earlier ones stands on."""

    history: tuple[Raw, ...] = ()
    referenced: dict[str, Raw] = field(default_factory=dict)
    chain: tuple[UUID, ...] = ()


@transaction.atomic
def open_response(
    *,
    response_id: UUID,
    context: CallContext,
    model: str,
    items: Sequence[Raw],
    answer: bytes,
    previous_id: UUID | None = None,
    chain: Sequence[UUID] = (),
    is_background: bool = False,
) -> UUID:
    """Begin a stored response; returns the token under which its events are written.

    `answer` is the Response object of the beginning. The responses it continues (`chain`) live as
    long as it does. Raises CallRepeated when there is one of this id.
    """
    token = uuid4()
    days = timedelta(days=settings.ENV.gateway_responses_days)
    try:
        with transaction.atomic():
            StoredResponse.objects.create(
                id=response_id,
                user_id=context.user_id,
                organization_id=context.organization_id,
                model=model[:250],
                state=ResponseState.QUEUED if is_background else ResponseState.IN_PROGRESS,
                is_background=is_background,
                previous_id=previous_id,
                input=stored.packed(_encode(items)),
                answer=stored.packed(answer),
                lease_token=token,
                lease_until=Now() + timedelta(seconds=stored.LEASE_S),
                expires_at=Now() + days,
            )
    except IntegrityError:
        raise CallRepeated from None
    if chain:
        earlier = StoredResponse.objects.filter(pk__in=chain)
        earlier.update(expires_at=Greatest(F("expires_at"), Now() + days))
    return token


def context_of(
    context: CallContext, *, previous_id: UUID | None, references: Sequence[str] = ()
) -> Context:
    """The items that `previous_response_id` and references stand for, oldest first.

    Raises PreviousResponseMissing when any part of the conversation is gone, or another's;
    PreviousResponseRunning; TooLarge.
    """
    referenced = _referenced(context, references) if references else {}
    if previous_id is None:
        return Context(referenced=referenced)
    rows = _chain(context, previous_id)
    history: list[Raw] = []
    size = 0
    for _, _, state, given, answer in rows:
        if state in RUNNING_STATES:
            raise PreviousResponseRunning
        said, told = stored.unpacked(given), stored.unpacked(answer)
        size += len(said) + len(told)
        if size > MAX_HISTORY_BYTES:
            raise TooLarge("the conversation has become too long to be continued by its id")
        history += [*_items.decode(said), *events.output(told)]
    return Context(
        history=tuple(history), referenced=referenced, chain=tuple(row[0] for row in rows)
    )


def _chain(context: CallContext, first: UUID) -> list[tuple[UUID, UUID | None, str, bytes, bytes]]:
    """The responses of a conversation up to `first`, oldest first; whole or not at all."""
    arguments: dict[str, UUID | int] = {
        "first": first,
        "user": context.user_id,
        "organization": context.organization_id,
        "most": MAX_CHAIN,
    }
    with connection.cursor() as cursor:
        cursor.execute(_CHAIN, arguments)
        rows: list[tuple[UUID, UUID | None, str, bytes, bytes]] = cursor.fetchall()
    if not rows or rows[0][1] is not None:
        raise PreviousResponseMissing
    return rows


def _referenced(context: CallContext, references: Sequence[str]) -> dict[str, Raw]:
    found: dict[str, Raw] = {}
    rows = selectors.responses_with_items(context, references)
    for answer in rows.values_list("answer", flat=True):
        for item in events.output(stored.unpacked(answer)):
            if (name := events.item_id(item)) in references:
                found[name] = item
    return found


def items_of(row: StoredResponse) -> tuple[Raw, ...]:
    """The input items of a response, its conversation included as far as it is still there."""
    context = CallContext(user_id=row.user_id, organization_id=row.organization_id)
    history: tuple[Raw, ...] = ()
    if row.previous_id is not None:
        try:
            history = context_of(context, previous_id=row.previous_id).history
        except PreviousResponseMissing:
            history = ()
    return (*history, *_items.decode(stored.unpacked(row.input)))


def answer_of(row: StoredResponse) -> bytes:
    """The Response object as it is now."""
    answer = stored.unpacked(row.answer)
    state = ResponseState(row.state)
    return answer if state.is_over else events.with_status(answer, state)


def request_cancel(context: CallContext, response_id: UUID) -> StoredResponse:
    """Ask the process that answers to stop; one that has ended stays as it is.

    Raises NotFound.
    """
    row = selectors.stored_response(context, response_id)
    running = StoredResponse.objects.filter(pk=row.pk, ended_at__isnull=True)
    running.filter(cancel_requested_at__isnull=True).update(cancel_requested_at=Now())
    return row


def cut(response_id: UUID) -> None:
    """End a response whose process does not do it when asked."""
    with transaction.atomic():
        row = StoredResponse.objects.select_for_update().filter(pk=response_id).first()
        if row is not None and row.ended_at is None:
            _end(row, ResponseState.CANCELLED)


def delete(context: CallContext, response_id: UUID) -> None:
    """Forget a response and its events; whoever still writes it stops. Raises NotFound."""
    selectors.stored_response(context, response_id)
    StoredResponse.objects.filter(pk=response_id).delete()


def fail_abandoned(only: Collection[UUID] | None = None) -> int:
    """End the responses whose process is gone: each gets its last event, once. How many.

    Judged by the database's clock. The process, should it live after all, holds an old token.
    """
    arguments = {"only": None if only is None else list(only), "rows": _SWEEP_ROWS}
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_ABANDONED, arguments)
        found = [row[0] for row in cursor.fetchall()]
        for row in StoredResponse.objects.filter(pk__in=found):
            asked = row.cancel_requested_at is not None
            _end(row, ResponseState.CANCELLED if asked else ResponseState.FAILED)
    if found:
        log.warning("stored_responses.abandoned", count=len(found))
    return len(found)


def _end(row: StoredResponse, state: ResponseState) -> None:
    """The last event, in the name of a process that will write no more; its row is locked."""
    number = row.last_sequence + 1
    items = [events.item_of(data) for data in stored.finished_items(row.pk)]
    last = events.terminal(stored.unpacked(row.answer), number, state, items)
    ResponseEvent.objects.create(response_id=row.pk, sequence_number=number, data=last.data)
    ended = last.ended
    StoredResponse.objects.filter(pk=row.pk).update(
        last_sequence=number,
        state=state,
        answer=stored.packed(ended.answer if ended else b"{}"),
        item_ids=list(ended.item_ids if ended else ()),
        lease_token=uuid4(),
        ended_at=Now(),
        lost_at=Now(),
    )


def forget_expired() -> int:
    """Delete what has outlived GATEWAY_RESPONSES_DAYS; how many. What still runs is spared."""
    total: int = 0
    while True:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_EXPIRED, [_EXPIRY_ROWS])
            count: int = cursor.rowcount
        total += count
        if count < _EXPIRY_ROWS:
            break
    if total:
        log.info("stored_responses.expired", count=total)
    return total


def forget_of(*, user_id: UUID) -> None:
    """Delete the responses of a person who left."""
    StoredResponse.objects.filter(user_id=user_id).delete()
