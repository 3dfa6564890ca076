"""What gateway calls leave behind: kept off the request path, as far as the organization wants.

One thread of a process writes what its calls offer, in batches. When more waits than the bounds
below, what comes is dropped and counted (`gateway_exchanges_dropped_total`): a call is never
delayed for its record. A lost database is waited for, within the same bounds.
"""

from __future__ import annotations

import atexit
import functools
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
import structlog
import zstandard
from django.conf import settings
from django.db import DatabaseError, connections, transaction
from django.db.models.functions import Now

from accounts.services import access, audit
from accounts.types import Actor, Permission
from ideplatform.kit.db import is_lost
from ideplatform.observability import metrics
from ideplatform.outbox import facts
from providers.models import CapturePreference, GatewayExchange
from providers.services import passed
from providers.types import (
    AnyPart,
    AudioPart,
    Call,
    Capture,
    CapturedAnswer,
    CapturedRequest,
    ClientFamily,
    DialectName,
    DocumentPart,
    ImagePart,
    Message,
    OpaquePart,
    Purpose,
    TextPart,
    ToolResultPart,
)

log = structlog.get_logger(__name__)

MAX_WAITING: Final = 2_000
MAX_WAITING_BYTES: Final = 128 * 1024 * 1024
MAX_BATCH: Final = 100
MAX_CONTENT_BYTES: Final = 16 * 1024 * 1024
LINGER_S: Final = 0.05
RETRY_S: Final = 1.0
FLUSH_S: Final = 3.0
SWEEP_ROWS: Final = 1_000
_LEVEL: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One call as the gateway saw it. Its answer is in `parts`, or unread in `passed`.

    `outcome` is `ok`, `cancelled` or an error's code; `at` is when the call came.
    """

    call: Call
    client: ClientFamily
    session_key: str
    purpose: Purpose
    dialect: DialectName
    outcome: str
    at: datetime
    parts: tuple[AnyPart, ...] = ()
    passed: bytes = b""
    model: str = ""
    stop: str = ""
    usage_event_id: UUID | None = None

    @property
    def size(self) -> int:
        """What it holds in memory, roughly, in bytes."""
        source = self.call.source
        return 4_096 + (2 * len(source.body) if source is not None else 0) + len(self.passed)


def offer(exchange: Exchange) -> None:
    """Have a call recorded soon; never waits, never fails."""
    _recorder().offer(exchange)


def flush(*, within_s: float = FLUSH_S) -> bool:
    """Wait until what was offered is written; False when that took too long."""
    return _recorder().wait_until_empty(within_s)


@transaction.atomic
def record_many(exchanges: Sequence[Exchange]) -> int:
    """Keep some calls and publish `exchange.recorded` for each; the same call is kept once.

    Answers how many rows the organizations wanted. Raises DatabaseError.
    """
    wanted = _captures({one.call.context.organization_id for one in exchanges})
    packer = zstandard.ZstdCompressor(level=_LEVEL)  # one for all: making it costs most
    rows = [
        _row(one, wanted[one.call.context.organization_id], packer)
        for one in exchanges
        if wanted[one.call.context.organization_id] is not Capture.OFF
    ]
    GatewayExchange.objects.bulk_create(rows, ignore_conflicts=True)
    facts.publish_many(
        "exchange.recorded", [(str(row.pk), {"exchange_id": str(row.pk)}) for row in rows]
    )
    return len(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A call that was kept in full, as it reads later."""

    id: UUID
    organization_id: UUID
    user_id: UUID
    workspace_id: UUID | None
    client: ClientFamily
    session_key: str
    purpose: Purpose
    model: str
    outcome: str
    created_at: datetime
    request: CapturedRequest
    answer: CapturedAnswer


def recorded(exchange_id: UUID) -> Recorded | None:
    """A call by its id; None when it has expired, or only its metadata was kept."""
    row = GatewayExchange.objects.filter(pk=exchange_id).first()
    if row is None or row.request is None or row.answer is None:
        return None
    return Recorded(
        id=row.pk,
        organization_id=row.organization_id,
        user_id=row.user_id,
        workspace_id=row.workspace_id,
        client=ClientFamily(row.client_family),
        session_key=row.session_key,
        purpose=Purpose(row.purpose),
        model=row.model,
        outcome=row.outcome,
        created_at=row.created_at,
        request=msgspec.json.decode(_unpacked(row.request), type=CapturedRequest),
        answer=msgspec.json.decode(_unpacked(row.answer), type=CapturedAnswer),
    )


def capture_of(*, actor: Actor, organization_id: UUID) -> Capture:
    """How much an organization keeps, for its members; raises NotFound, Forbidden."""
    access.authorise(actor, Permission.ORGANIZATION_VIEW, organization_id)
    return _captures({organization_id})[organization_id]


@transaction.atomic
def set_capture(*, actor: Actor, organization_id: UUID, capture: Capture) -> Capture:
    """Keep so much of the calls from now on; what is there already stays until it expires.

    Raises NotFound, Forbidden, SessionRequired.
    """
    access.authorise(actor, Permission.ORGANIZATION_MANAGE, organization_id)
    CapturePreference.objects.update_or_create(
        organization_id=organization_id, defaults={"capture": capture, "updated_at": Now()}
    )
    audit.record(
        action="gateway.capture_changed",
        actor=actor,
        organization_id=organization_id,
        target=organization_id,
        details={"capture": capture.value},
    )
    return capture


def expire() -> int:
    """Delete the rows whose time is over, a bounded number at once; answers how many."""
    ended = GatewayExchange.objects.filter(expires_at__lte=Now()).order_by("expires_at")
    gone = 0
    while True:
        ids = list(ended.values_list("pk", flat=True)[:SWEEP_ROWS])
        GatewayExchange.objects.filter(pk__in=ids).delete()
        gone += len(ids)
        if len(ids) < SWEEP_ROWS:
            return gone


def forget_user(user_id: UUID) -> None:
    """A person left: nothing of what they asked stays."""
    GatewayExchange.objects.filter(user_id=user_id).delete()


def _captures(organization_ids: Iterable[UUID]) -> dict[UUID, Capture]:
    wanted = dict.fromkeys(organization_ids, Capture(settings.ENV.gateway_capture))
    stated = CapturePreference.objects.filter(organization_id__in=list(wanted))
    for organization_id, capture in stated.values_list("organization_id", "capture"):
        wanted[organization_id] = Capture(capture)
    return wanted


def _row(one: Exchange, capture: Capture, packer: zstandard.ZstdCompressor) -> GatewayExchange:
    context = one.call.context
    request, answer = _packed(one, packer) if capture is Capture.FULL else (None, None)
    return GatewayExchange(
        id=one.call.request_id,
        api_key_id=context.api_key_id,
        user_id=context.user_id,
        organization_id=context.organization_id,
        workspace_id=context.workspace_id,
        client_family=one.client,
        session_key=one.session_key,
        dialect=one.dialect,
        model=_clean(one.call.model)[:250],
        purpose=one.purpose,
        request=request,
        answer=answer,
        outcome=one.outcome[:40],
        created_at=one.at,
        expires_at=one.at + timedelta(days=settings.ENV.gateway_exchange_days),
    )


def _packed(
    one: Exchange, packer: zstandard.ZstdCompressor
) -> tuple[bytes, bytes] | tuple[None, None]:
    """Request and answer; neither when they are larger than any model reads."""
    call = one.call
    request = CapturedRequest(
        system=_clean(call.system),
        messages=tuple(
            Message(role=message.role, parts=_kept(message.parts)) for message in call.messages
        ),
        tools=tuple(_clean(tool.name) for tool in call.tools),
    )
    answer = CapturedAnswer(
        parts=_kept(one.parts or passed.parts_of(one.dialect, one.passed)),
        model=_clean(one.model)[:250],
        stop=one.stop,
        usage_event_id=one.usage_event_id,
    )
    texts = msgspec.json.encode(request), msgspec.json.encode(answer)
    if sum(map(len, texts)) > MAX_CONTENT_BYTES:
        metrics.gateway_exchanges_dropped_total.labels(reason="content_too_large").inc()
        return None, None
    return packer.compress(texts[0]), packer.compress(texts[1])


def _unpacked(data: bytes | memoryview) -> bytes:
    return zstandard.ZstdDecompressor().decompress(bytes(data), max_output_size=MAX_CONTENT_BYTES)


def _kept(parts: Iterable[AnyPart]) -> tuple[AnyPart, ...]:
    return tuple(_kept_part(part) for part in parts if not isinstance(part, OpaquePart))


def _kept_part(part: AnyPart) -> AnyPart:
    """The part as PostgreSQL can hold it; what is no text is named."""
    match part:
        case ImagePart(media_type=kind) | DocumentPart(media_type=kind, text=""):
            return TextPart(text=f"[{_clean(kind) or 'attachment'}]")
        case AudioPart(format=kind):
            return TextPart(text=f"[audio/{_clean(kind)}]")
        case ToolResultPart(media=media) if media:
            names = " ".join(f"[{_clean(one.media_type)}]" for one in media)
            return msgspec.structs.replace(
                part, text=f"{_clean(part.text)}\n{names}".strip(), media=()
            )
    changes = {
        name: _clean(value)
        for name in part.__struct_fields__
        if isinstance(value := getattr(part, name), str) and "\0" in value
    }
    return msgspec.structs.replace(part, **changes) if changes else part


def _clean(text: str) -> str:
    return text.replace("\0", "")


class _Recorder:
    """The queue of a process and the thread that empties it."""

    def __init__(self, *, calls: int = MAX_WAITING, size_bytes: int = MAX_WAITING_BYTES) -> None:
        self._max_calls = calls
        self._max_bytes = size_bytes
        self._waiting: deque[Exchange] = deque()
        self._bytes = 0
        self._busy = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def offer(self, exchange: Exchange) -> None:
        with self._changed:
            is_full = len(self._waiting) + self._busy >= self._max_calls
            if is_full or self._bytes + exchange.size > self._max_bytes:
                metrics.gateway_exchanges_dropped_total.labels(reason="queue_full").inc()
                return
            self._waiting.append(exchange)
            self._bytes += exchange.size
            self._begin()
            self._changed.notify_all()

    def wait_until_empty(self, within_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._waiting and not self._busy, within_s)

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="exchanges", daemon=True)
            self._thread.start()
            atexit.register(self.wait_until_empty, FLUSH_S)

    def _run(self) -> None:
        while True:
            batch = self._next()
            try:
                self._record(batch)
            except Exception:  # the thread outlives whatever one batch does to it
                log.exception("exchanges.not_recorded", count=len(batch))
                metrics.gateway_exchanges_dropped_total.labels(reason="failed").inc(len(batch))
            finally:
                connections.close_all()
                self._done(batch)

    def _next(self) -> list[Exchange]:
        with self._changed:
            self._changed.wait_for(lambda: bool(self._waiting))
        time.sleep(LINGER_S)  # what comes right after is of the same batch
        with self._changed:
            batch = [self._waiting.popleft() for _ in range(min(MAX_BATCH, len(self._waiting)))]
            self._busy = len(batch)
        return batch

    def _done(self, batch: Sequence[Exchange]) -> None:
        with self._changed:
            self._busy = 0
            self._bytes -= sum(one.size for one in batch)
            self._changed.notify_all()

    def _record(self, batch: Sequence[Exchange]) -> None:
        """Write a batch; wait for a lost database. A row that is refused harms no other."""
        while True:
            try:
                record_many(batch)
                return
            except DatabaseError as fault:
                if not is_lost(fault):
                    self._record_each(batch)
                    return
            connections.close_all()
            time.sleep(RETRY_S)

    def _record_each(self, batch: Sequence[Exchange]) -> None:
        for one in batch:
            try:
                record_many([one])
            except DatabaseError as fault:
                metrics.gateway_exchanges_dropped_total.labels(reason="refused").inc()
                log.warning(
                    "exchange.refused",
                    request_id=str(one.call.request_id),
                    error=type(fault).__name__,
                )


@functools.cache
def _recorder() -> _Recorder:
    return _Recorder()
