"""Stored responses at the edge: what a request stands on, its recording, coming back to it.

Nothing of ASGI here. For `POST /v1/responses`:

    prepared = await responses_routes.prepare(asked)          # previous_response_id, references
    recorder = await responses_routes.record(prepared, opening, on_stop=abort)
    sent = recorder.record(writer.chunk(chunk))               # what the client gets
    sent = recorder.record(writer.end(usage, stop)); await recorder.flush(); ...
    await recorder.close()                                    # whatever happened

`on_stop` is called when somebody cancels or deletes the response: the exchange then aborts its
call and ends the answer with `StopReason.CANCELLED`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from typing import Final, Literal
from uuid import UUID

import msgspec

from ideplatform.kit import ids
from ideplatform.kit.db import run_db
from ideplatform.kit.errors import InvalidInput, NotFound, PlatformError, Pointer
from providers import selectors
from providers.errors import PreviousResponseMissing, ResponseAbandoned
from providers.gateway.dialects import responses
from providers.gateway.dialects.contract import Asked, Opening
from providers.gateway.dialects.responses_object import ResponseObject
from providers.models import StoredResponse
from providers.services import (
    response_events,
    response_following,
    response_recording,
    stored_responses,
)
from providers.services.response_recording import Running
from providers.types import CallContext, Raw, ResponseState

PREFIX: Final = "resp"
CANCEL_S: Final = 5.0
MAX_PAGE: Final = 100
Order = Literal["asc", "desc"]
encode: Final = msgspec.json.Encoder().encode
_NOT_FOUND: Final = "this response is not stored (any more)"


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A request with everything it pointed at; `items` are its own, `chain` what it continues."""

    asked: Asked
    items: tuple[Raw, ...]
    previous_id: UUID | None = None
    chain: tuple[UUID, ...] = ()


async def prepare(asked: Asked) -> Prepared:
    """Resolve `previous_response_id` and item references of a request.

    Raises PreviousResponseMissing, PreviousResponseRunning, TooLarge; InvalidInput for a reference
    to nothing.
    """
    references = responses.references(asked)
    if not (references or asked.previous_response_id):
        return Prepared(asked=asked, items=asked.items)
    previous_id = _previous(asked.previous_response_id)
    found = await run_db(
        stored_responses.context_of,
        asked.call.context,
        previous_id=previous_id,
        references=references,
    )
    referenced = found.referenced
    missing = [name for name in references if name not in referenced]
    if missing:
        detail = f"there is no stored item {missing[0][:80]}"
        raise InvalidInput(detail, errors=[Pointer(pointer="/input", detail=detail)])
    return Prepared(
        asked=responses.continued(asked, history=found.history, referenced=referenced),
        items=responses.own_items(asked, referenced=referenced),
        previous_id=previous_id,
        chain=found.chain,
    )


def _previous(name: str) -> UUID | None:
    try:
        return ids.parse(name, prefix=PREFIX) if name else None
    except NotFound:
        raise PreviousResponseMissing from None


class Recorder:
    """Keeps the events of one answer: each as it is sent, with our own id and numbers.

    What the writer made is kept as it is. A vendor's own stream that is passed on is rewritten:
    its numbers, and in the Response object its id and what only we know. Bytes that are no events
    (comments) are sent and not kept. When PostgreSQL or another process takes the response from
    us, the client's stream goes on and `is_kept` turns false.
    """

    def __init__(self, running: Running, *, own: dict[str, Raw], opened: bytes) -> None:
        self.opened = opened
        self.answer = opened
        self._running = running
        self._own = own
        self._count = 0

    @property
    def is_kept(self) -> bool:
        return not self._running.is_abandoned

    def record(self, data: bytes) -> bytes:
        """Events as the client gets them; `answer` is the Response object after the last one."""
        if not data:
            return data
        return b"".join(self._kept(event) for event in response_events.split(data))

    async def flush(self) -> None:
        """Wait until all events are stored: before the last one is sent.

        Raises DatabaseDown when that takes longer than 5 s; the events are still tried.
        """
        with suppress(ResponseAbandoned):
            await self._running.flush()

    async def close(self) -> None:
        """The exchange is over. What was not stored by now is ended by the sweep."""
        try:
            with suppress(PlatformError):
                await self.flush()
        finally:
            self._running.close()

    def _kept(self, data: bytes) -> bytes:
        event = response_events.numbered(data, self._count, self._own)
        if event is None:
            return data
        self._count += 1
        if event.ended is not None:
            self.answer = event.ended.answer
        with suppress(ResponseAbandoned):
            self._running.add(event)
        return event.data


async def record(prepared: Prepared, opening: Opening, *, on_stop: Callable[[], None]) -> Recorder:
    """Open the stored response of a request; its id is `opening.answer_id`.

    `Recorder.opened` is the Response object of now, which a request with `background` is answered
    with at once. Raises CallRepeated when there is a response of this id.
    """
    asked = prepared.asked
    state = ResponseState.QUEUED if asked.in_background else ResponseState.IN_PROGRESS
    opened = ResponseObject(opening).encoded(state, [], {})
    response_id = ids.parse(opening.answer_id, prefix=PREFIX)
    token = await run_db(
        stored_responses.open_response,
        response_id=response_id,
        context=asked.call.context,
        model=opening.model,
        items=prepared.items,
        answer=opened,
        previous_id=prepared.previous_id,
        chain=prepared.chain,
        is_background=asked.in_background,
    )
    own = {
        "id": opening.answer_id,
        "background": asked.in_background,
        "store": True,
        "previous_response_id": asked.previous_response_id or None,
    }
    running = response_recording.start(response_id, token, on_stop=on_stop)
    raw = {name: Raw(encode(value)) for name, value in own.items()}
    return Recorder(running, own=raw, opened=opened)


async def retrieve(context: CallContext, response_id: str) -> bytes:
    """The Response object as it is now; raises NotFound."""
    row = await _row(context, response_id)
    return stored_responses.answer_of(row)


async def resume(
    context: CallContext, response_id: str, starting_after: int = -1
) -> AsyncIterator[bytes]:
    """The events beyond a number, then those to come, until the last one; raises NotFound."""
    row = await _row(context, response_id)
    return response_following.follow(row.pk, starting_after=starting_after)


async def cancel(context: CallContext, response_id: str) -> bytes:
    """End a response that is being answered; the object of one that has ended stays as it is.

    The answering process settles what was used; one that does not within 5 s is not waited for.
    Raises NotFound.
    """
    row = await run_db(stored_responses.request_cancel, context, _parsed(response_id))
    if not ResponseState(row.state).is_over:
        if (running := response_recording.find(row.pk)) is not None:
            running.stop()
        if not await response_following.ended(row.pk, within_s=CANCEL_S):
            await run_db(stored_responses.cut, row.pk)
    return await retrieve(context, response_id)


async def delete(context: CallContext, response_id: str) -> bytes:
    """Forget a response, running or not; raises NotFound."""
    name = _parsed(response_id)
    await run_db(stored_responses.delete, context, name)
    if (running := response_recording.find(name)) is not None:
        running.abandon()
    public = ids.public(PREFIX, name)
    return encode({"id": public, "object": "response", "deleted": True})


async def input_items(
    context: CallContext,
    response_id: str,
    *,
    after: str = "",
    limit: int = 20,
    order: Order = "desc",
) -> bytes:
    """A page of what the model was given, its conversation included; raises NotFound.

    `limit` is bounded to 1..100. `after` is the id of the last item of the page before.
    """
    row = await _row(context, response_id)
    items = _named(await run_db(stored_responses.items_of, row), row)
    if order == "desc":
        items.reverse()
    places = [place for place, (name, _) in enumerate(items) if name == after]
    begin = places[0] + 1 if places else 0
    end = begin + max(1, min(limit, MAX_PAGE))
    page = items[begin:end]
    return encode(
        {
            "object": "list",
            "data": [item for _, item in page],
            "first_id": page[0][0] if page else None,
            "last_id": page[-1][0] if page else None,
            "has_more": end < len(items),
        }
    )


class _Typed(msgspec.Struct):
    type: str | None = None


def _named(items: Sequence[Raw], row: StoredResponse) -> list[tuple[str, Raw]]:
    """Items with their ids; the client's own get one from their place, and messages their type."""
    base = ids.base32(row.pk)
    found: list[tuple[str, Raw]] = []
    for place, item in enumerate(items):
        members = msgspec.json.decode(item, type=dict[str, Raw])
        name = response_events.item_id(item) or f"item_{base}_{place}"
        kind = msgspec.json.decode(item, type=_Typed).type or "message"
        found.append((name, Raw(encode({**members, "id": name, "type": kind}))))
    return found


async def _row(context: CallContext, response_id: str) -> StoredResponse:
    """The row, after the sweep if it seems to be answered by nobody."""
    name = _parsed(response_id)
    row = await run_db(selectors.stored_response, context, name)
    is_elsewhere = response_recording.find(name) is None
    if row.ended_at is None and is_elsewhere and await run_db(_fail, name) > 0:
        row = await run_db(selectors.stored_response, context, name)
    return row


def _fail(response_id: UUID) -> int:
    return stored_responses.fail_abandoned([response_id])


def _parsed(response_id: str) -> UUID:
    try:
        return ids.parse(response_id, prefix=PREFIX)
    except NotFound:
        raise NotFound(_NOT_FOUND) from None
