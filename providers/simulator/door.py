"""From a request to its answer: one handler for every paid call of every vendor."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp import web

from . import answers, credentials, ledger, player, signing
from .conversation import Conversation
from .dialects import Dialect, embeddings
from .envelopes import Envelope
from .failures import Kind, VendorFailure, invalid, scripted
from .ledger import Entry, Ledger, Row
from .recorder import Recorder
from .report_faults import Faults
from .script import Turn
from .scripts import ScriptBook

SCRIPT_HEADER = "x-sim-script"
CLOCK_HEADER = "x-sim-at"  # ISO time the ledger books the call at: reports of past days
_REQUEST_ID_HEADERS = ("x-request-id", "x-client-request-id")
_ATTEMPT_HEADER = "x-attempt"
_SEQ_HEADER = "x-sim-seq"  # of the ledger row, on every answer
_VENDOR_ID_HEADERS = {"openai": "x-request-id", "anthropic": "request-id", "google": "x-request-id"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulator:
    """The state of one server."""

    book: ScriptBook = field(default_factory=ScriptBook)
    ledger: Ledger = field(default_factory=Ledger)
    recorder: Recorder = field(default_factory=Recorder)
    report_faults: Faults = field(default_factory=Faults)

    def reset(self) -> None:
        self.book.clear()
        self.ledger.clear()
        self.recorder.clear()
        self.report_faults.clear()


STATE: web.AppKey[Simulator] = web.AppKey("simulator", Simulator)


@dataclass(slots=True, kw_only=True)
class _Visit:
    """One request at the door: its open ledger row, and the turn once it is chosen."""

    request: web.Request
    vendor: str
    path: str
    body: bytes
    key: str
    entry: Entry
    turn: Turn = field(default_factory=Turn)

    @property
    def headers(self) -> dict[str, str]:
        row = self.entry.row
        vendor_header = _VENDOR_ID_HEADERS[self.vendor]
        return {vendor_header: row.provider_request_id, _SEQ_HEADER: str(row.seq)}


def safe_path(request: web.Request) -> str:
    """Path and query without a key in it; Google's colon plain, however a client wrote it."""
    query = request.rel_url.query.copy()
    query.popall("key", None)
    return str(request.rel_url.with_query(query)).replace("%3A", ":")


async def complete(request: web.Request, dialect: Dialect) -> web.StreamResponse:
    """Answer a chat, messages, responses or generate call."""
    visit = await _arrive(request, vendor=dialect.vendor, operation=dialect.operation)
    try:
        credentials.check(visit.key, visit.vendor)
        _check_version(request, dialect)
        conversation = dialect.read(visit.body, visit.path)
        _choose(visit, conversation)
        visit.entry.row.is_stream = conversation.streams
        answer = answers.compose(conversation, visit.turn)
        await _refuse_if_told(visit)
        tells = conversation.include_usage or not conversation.streams
        visit.entry.dispatched(answer.charged, tells_usage=tells and not visit.turn.no_usage)
        if not conversation.streams:
            body = dialect.whole(conversation, answer)
            return await _whole(visit, body, tokens=answer.tokens)
        return await player.stream(
            request,
            dialect.frames(conversation, answer, visit.turn),
            turn=visit.turn,
            entry=visit.entry,
            headers={**visit.headers, "Content-Type": _stream_type(conversation)},
            failure_event=lambda failure, place: dialect.failure_event(
                failure, conversation, place
            ),
        )
    except VendorFailure as failure:
        return _refusal(visit, failure, dialect.envelope(failure, _identity(visit)))


async def embed(request: web.Request, dialect: Dialect) -> web.StreamResponse:
    """Answer an embeddings call in the vendor of ``dialect``."""
    is_google = dialect.vendor == "google"
    visit = await _arrive(request, vendor=dialect.vendor, operation="embeddings")
    read = embeddings.read_google if is_google else embeddings.read_openai
    try:
        credentials.check(visit.key, visit.vendor)
        ask = read(visit.body, visit.path)
        _choose(visit, ask.conversation)
        await _refuse_if_told(visit)
        charged = visit.turn.usage or ask.honest
        visit.entry.dispatched(charged, tells_usage=True)
        told: object = visit.turn.raw_usage or embeddings.figures(
            ask, visit.turn.reported or charged
        )
        write = embeddings.answer_google if is_google else embeddings.answer_openai
        return await _whole(visit, write(ask, told), tokens=0)
    except VendorFailure as failure:
        return _refusal(visit, failure, dialect.envelope(failure, _identity(visit)))


async def count(request: web.Request, dialect: Dialect, *, field_name: str) -> web.StreamResponse:
    """Count the input tokens; free, so no ledger row."""
    key = credentials.key_of(request, dialect.vendor)
    try:
        credentials.check(key, dialect.vendor)
        _check_version(request, dialect)
        body = await read_body(request)
        conversation = dialect.read(body, safe_path(request))
        return web.json_response({field_name: conversation.input_tokens})
    except VendorFailure as failure:
        return envelope_response(dialect.envelope(failure, "req_sim_count"))


def _check_version(request: web.Request, dialect: Dialect) -> None:
    """Anthropic alone refuses requests that do not name the API's version."""
    if dialect.vendor == "anthropic" and "anthropic-version" not in request.headers:
        raise invalid("anthropic-version: header is required")


async def read_body(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge as error:
        raise VendorFailure(Kind.TOO_LARGE, "Request exceeds the maximum size") from error


def envelope_response(envelope: Envelope, headers: Mapping[str, str] | None = None) -> web.Response:
    return web.Response(
        status=envelope.status,
        body=envelope.body,
        content_type="application/json",
        headers=headers,
    )


async def _arrive(request: web.Request, *, vendor: str, operation: str) -> _Visit:
    """Note the request in ledger and recorder before anything is decided."""
    state = request.app[STATE]
    key = credentials.key_of(request, vendor)
    path = safe_path(request)
    body = await read_body(request)
    headers = request.headers
    row = Row(
        seq=0,
        at=_booked_at(headers.get(CLOCK_HEADER)),
        vendor=vendor,
        operation=operation,
        path=path,
        request_id=next((headers[name] for name in _REQUEST_ID_HEADERS if name in headers), None),
        attempt=headers.get(_ATTEMPT_HEADER),
        key_hint=credentials.hint(key),
        key_id=credentials.identity(key),
    )
    entry = state.ledger.open(row)
    state.recorder.add(
        seq=entry.row.seq, method=request.method, path=path, headers=headers, body=body
    )
    return _Visit(request=request, vendor=vendor, path=path, body=body, key=key, entry=entry)


def _booked_at(value: str | None) -> datetime:
    if value is None:
        return ledger.now()
    try:
        return datetime.fromisoformat(value).astimezone(UTC)
    except ValueError:
        return ledger.now()


def _choose(visit: _Visit, conversation: Conversation) -> None:
    row, book = visit.entry.row, visit.request.app[STATE].book
    row.model = conversation.model
    row.service_tier = conversation.service_tier
    _check_signatures(conversation, book)
    chosen = book.choose(
        conversation, header=visit.request.headers.get(SCRIPT_HEADER), key=visit.key
    )
    visit.turn = chosen.turn
    row.script = chosen.script_id


def _check_signatures(conversation: Conversation, book: ScriptBook) -> None:
    """Reasoning comes back signed by us or by a script, or the request is refused."""
    for message in conversation.messages:
        for signed in message.signed:
            own = signing.same(signed.signature, signing.sign(signed.text))
            if not (own or book.signs(signed.signature)):
                raise invalid(f"{signed.at}: Invalid `signature` in `thinking` block")


async def _refuse_if_told(visit: _Visit) -> None:
    turn = visit.turn
    if turn.status is not None:
        await asyncio.sleep(turn.first_delay_ms / 1_000)
        raise scripted(turn.status, turn.message, turn.retry_after)


async def _whole(visit: _Visit, body: bytes, *, tokens: int) -> web.StreamResponse:
    return await player.whole(
        visit.request,
        body,
        turn=visit.turn,
        tokens=tokens,
        entry=visit.entry,
        headers=visit.headers,
    )


def _refusal(visit: _Visit, failure: VendorFailure, envelope: Envelope) -> web.Response:
    visit.entry.refused(envelope.status)
    headers = visit.headers
    if failure.retry_after_s is not None:
        headers["Retry-After"] = f"{failure.retry_after_s:g}"
    return envelope_response(envelope, headers)


def _identity(visit: _Visit) -> str:
    return visit.entry.row.provider_request_id


def _stream_type(conversation: Conversation) -> str:
    if conversation.plain_array:
        return "application/json; charset=utf-8"
    return "text/event-stream; charset=utf-8"
