"""One paid call on its way to its client: chunks of the paid door in, the dialect's bytes out.

The head of an answer leaves with its first chunk, so a fault before that has its own status; a
fault after it is told inside the answer. The end waits for the settlement, a quarter of a second
at most: who saw the end has been billed. An answer whose client has left is read on for its exact
count, for GATEWAY_DRAIN_S and GATEWAY_DRAINS_MAX at once, then cut and estimated.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from typing import Final

import structlog
from django.conf import settings

from billing.types import TokenCount
from ideplatform.kit import ids
from ideplatform.kit.errors import PlatformError, Unavailable
from ideplatform.observability import metrics
from providers.errors import CallRepeated
from providers.gateway import admission, replies
from providers.gateway.client import Client, Headers
from providers.gateway.dialects.contract import Asked, Dialect, Opening
from providers.gateway.recording import Recording
from providers.gateway.request import Request
from providers.services import signatures
from providers.types import (
    AGENT_PREFIX,
    Answered,
    Chunk,
    DialectName,
    Started,
    Stop,
    StopReason,
    Usage,
)

log = structlog.get_logger(__name__)
_LINES: Final = logging.getLogger(__name__)

SETTLE_S: Final = 0.25
_PREFIXES: Final = {
    DialectName.CHAT: "chatcmpl-",
    DialectName.RESPONSES: "resp_",
    DialectName.MESSAGES: "msg_",
}
STREAM_HEAD: Final[Headers] = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache, no-transform"),
    (b"x-accel-buffering", b"no"),
]
_NOTHING: Final = TokenCount()
_drains = 0


def opening(dialect: Dialect, asked: Asked) -> Opening:
    """What the writer of an answer must know; the answer's id is made of the request's."""
    call = asked.call
    return Opening(
        answer_id=_PREFIXES[dialect.NAME] + ids.base32(call.request_id),
        model=call.model,
        created_s=int(time.time()),
        asked=asked,
    )


class Exchange:
    """What both kinds of answers share: the chunks' order, the deadlines, the end."""

    ping = b""

    def __init__(
        self,
        request: Request,
        dialect: Dialect,
        asked: Asked,
        chunks: AsyncGenerator[Chunk, None],
    ) -> None:
        self._request = request
        self._dialect = dialect
        self._name = dialect.NAME.value
        self._opening = opening(dialect, asked)
        self._chunks = chunks
        self._loop = asyncio.get_running_loop()
        self._began_at = self._loop.time()
        self._limit = asyncio.timeout(None)
        self._is_reading = False
        self._started: Started | None = None
        self._answered: Answered | None = None
        self._usage: Usage | None = None
        self._has_ended = False
        self._is_cancelled = False
        self._is_draining = False
        self._outcome = "ok"
        self._code = ""
        self._recording = Recording(dialect=dialect.NAME, call=asked.call, headers=request.headers)
        self._client = Client(
            receive=request.receive,
            send=request.send,
            headers=self._stream_headers,
            ping=self.ping,
            on_gone=self._on_gone,
        )

    async def run(self) -> None:
        """To the end, whatever it is; exactly one answer."""
        open_streams = metrics.gateway_streams_open.labels(dialect=self._name)
        open_streams.inc()
        try:
            await self._read()
        except PlatformError as error:
            await self._fault(error)
        except asyncio.CancelledError:
            self._outcome = "cut"
            await self._cut()
            raise
        except Exception as error:
            log.exception("gateway.failed", request_id=str(self._request.request_id))
            await self._fault(error)
        finally:
            self._client.leave()
            await self._close()
            self._stop_draining()
            open_streams.dec()
            self._note()

    async def _read(self) -> None:
        try:
            async with self._limit, aclosing(self._chunks) as chunks:
                self._is_reading = True
                async for chunk in chunks:
                    self._recording.take(chunk)
                    await self._take(chunk)
        except TimeoutError:
            self._is_reading = False
            await self._end_alone()
        finally:
            self._is_reading = False
        if not self._is_heard:
            self._outcome = "client_gone"

    async def _take(self, chunk: Chunk) -> None:
        match chunk:
            case Started():
                self._started = chunk
            case Answered():
                self._answered = chunk
                if self._is_heard:
                    self._limit.reschedule(self._loop.time() + SETTLE_S)
            case Usage():
                self._usage = chunk
            case Stop():
                await self._finish(self._usage or Usage(tokens=_NOTHING, is_final=True), chunk)
            case _:
                await self._content(chunk)

    async def _finish(self, usage: Usage, stop: Stop) -> None:
        if self._is_heard and self._is_reading:
            self._limit.reschedule(None)
        if stop.reason is StopReason.BUDGET:
            self._outcome = "budget"
        elif stop.reason is StopReason.TOOL_CALLS:
            context = self._opening.asked.call.context
            await signatures.remember(context.organization_id, self._recording.parts)
        self._has_ended = True
        await self._end(usage, stop)

    async def _end_alone(self) -> None:
        """The end where the settlement takes its time (by the vendor's own figures: it goes on
        without us), and of an answer that was cancelled."""
        answered = self._answered
        if not self._is_heard or self._has_ended:
            return
        if answered is not None:
            log.warning("gateway.settlement_awaited", request_id=str(self._request.request_id))
            usage = Usage(
                tokens=answered.tokens,
                is_final=True,
                service_tier=answered.service_tier,
                is_estimated=answered.is_estimated,
            )
            await self._finish(usage, Stop(reason=answered.reason))
        elif self._is_cancelled:
            self._outcome, self._code = "cancelled", "cancelled"
            usage = Usage(tokens=_NOTHING, is_final=True, is_estimated=True)
            await self._finish(usage, Stop(reason=StopReason.CANCELLED))

    async def _fault(self, error: Exception) -> None:
        if self._has_ended:  # the refusal that cut the answer off, after its orderly end
            return
        if isinstance(error, CallRepeated):
            error = admission.repeated(self._request)
        self._has_ended = True
        self._outcome = "failed" if _status(error) >= 500 else "refused"
        self._code = told(error).code
        if self._is_heard:
            await self._tell(error)
        else:
            self._outcome = "client_gone"

    async def _cut(self) -> None:
        """The process ends: the client hears it, if there is time to say it."""
        if self._has_ended or not self._is_heard:
            return
        self._has_ended = True
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(1):
                await self._tell(Unavailable("the server is being restarted", retry_after_s=1))

    async def _tell(self, error: Exception) -> None:
        """Say what failed: inside the answer if it has begun, else with a status of its own."""
        if self._client.is_open:
            await self._fail(error)
        else:
            headers = self._headers()
            await replies.problem(self._request, self._dialect.NAME, error, headers=headers)

    @property
    def _is_heard(self) -> bool:
        """Whether anybody still gets the answer."""
        return not self._client.is_gone

    async def _close(self) -> None:
        """When all is over, whatever happened."""

    async def _content(self, chunk: Chunk) -> None:
        raise NotImplementedError

    async def _end(self, usage: Usage, stop: Stop) -> None:
        raise NotImplementedError

    async def _fail(self, error: Exception) -> None:
        raise NotImplementedError

    def _headers(self) -> Headers:
        """What the answer says of the call; nothing before the vendor has begun."""
        started = self._started
        if started is None:
            return []
        found = [
            replies.header("x-mundial-model", started.model),
            replies.header("x-mundial-provider", started.provider),
        ]
        if started.dropped:
            found.append(replies.header("x-mundial-dropped", ", ".join(started.dropped)))
        if started.max_output_tokens is not None:
            found.append(replies.header("x-mundial-max-output", str(started.max_output_tokens)))
        return found

    def _stream_headers(self) -> Headers:
        first_byte_s = self._loop.time() - self._began_at
        metrics.gateway_time_to_first_token_seconds.labels(dialect=self._name).observe(first_byte_s)
        request_id = (b"x-request-id", str(self._request.request_id).encode())
        return [*STREAM_HEAD, request_id, *self._headers()]

    def _on_gone(self, is_stalled: bool) -> None:
        """Read on for the exact count, if there is room for one more who does."""
        global _drains
        if not self._is_reading:
            return
        env = settings.ENV
        is_agent = self._opening.asked.call.model.startswith(AGENT_PREFIX)  # its run is cancelled
        if is_stalled or is_agent or _drains >= env.gateway_drains_max:
            self._limit.reschedule(self._loop.time())
            return
        _drains += 1
        self._is_draining = True
        self._limit.reschedule(self._loop.time() + env.gateway_drain_s)

    def _stop_draining(self) -> None:
        global _drains
        if self._is_draining:
            self._is_draining = False
            _drains -= 1
        if self._client.is_gone:
            outcome = "exact" if self._usage is not None else "estimated"
            metrics.gateway_drains_total.labels(outcome=outcome).inc()

    def _note(self) -> None:
        """The access log's line: ids and figures, nothing of the content."""
        metrics.gateway_requests_total.labels(dialect=self._name, outcome=self._outcome).inc()
        is_whole = self._outcome in ("ok", "budget")
        self._recording.end("ok" if is_whole else self._code or "cancelled")
        if not _LINES.isEnabledFor(logging.INFO):  # making the line costs more than asking
            return
        context = self._opening.asked.call.context
        log.info(
            "gateway.answered",
            request_id=str(self._request.request_id),
            dialect=self._name,
            outcome=self._outcome,
            organization_id=str(context.organization_id),
            duration_ms=round((self._loop.time() - self._began_at) * 1_000),
        )


def _status(error: Exception) -> int:
    return error.status if isinstance(error, PlatformError) else 500


def told(error: Exception) -> PlatformError:
    """What a client may know of a failure: of an unexpected one only that it happened."""
    return error if isinstance(error, PlatformError) else PlatformError()
