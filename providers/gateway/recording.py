"""What a call says of itself while it passes: gathered beside the stream, kept after its end."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from billing.types import TokenCount
from ideplatform.kit import clock
from providers.gateway import sessions
from providers.gateway.dialects.answers import Collector
from providers.services import exchanges
from providers.services.exchanges import Exchange
from providers.types import (
    AnyPart,
    Call,
    Chunk,
    DialectName,
    Passed,
    Started,
    Stop,
    StopReason,
    Text,
    Usage,
)

MAX_PASSED_BYTES: Final = 16 * 1024 * 1024


class Recording:
    """One call on its way. `end` gives it to `services.exchanges`, once; it never waits or fails.

    Bytes that are passed on are kept unread, up to 16 MiB; a longer answer is cut there.
    """

    def __init__(self, *, dialect: DialectName, call: Call, headers: Mapping[str, str]) -> None:
        self._dialect = dialect
        self._call = call
        self._headers = headers
        self._at: datetime = clock.now()
        self._parts = Collector()
        self._text_index = -1
        self._texts: list[str] = []
        self._passed: list[bytes] = []
        self._passed_bytes = 0
        self._model = ""
        self._usage: Usage | None = None
        self._stop: Stop | None = None
        self._is_over = False

    def take(self, chunk: Chunk) -> None:
        """The next chunk of the answer. One of thousands: text is joined before it is kept."""
        if isinstance(chunk, Text):
            if chunk.index != self._text_index:
                self._end_text()
                self._text_index = chunk.index
            self._texts.append(chunk.text)
        elif isinstance(chunk, Passed):
            self._passed_bytes += len(chunk.data)
            if self._passed_bytes <= MAX_PASSED_BYTES:
                self._passed.append(chunk.data)
        else:
            self._end_text()
            self._keep(chunk)

    def _keep(self, chunk: Chunk) -> None:
        match chunk:
            case Started(model=model):
                self._model = model
            case Usage():
                self._usage = chunk
            case Stop():
                self._stop = chunk
            case _:
                self._parts.add(chunk)

    def _end_text(self) -> None:
        if self._texts:
            self._parts.add(Text(index=self._text_index, text="".join(self._texts)))
            self._texts.clear()

    @property
    def parts(self) -> tuple[AnyPart, ...]:
        """What was answered so far, as far as it was not passed on unread."""
        self._end_text()
        stop = self._stop or Stop(reason=StopReason.CANCELLED)
        usage = self._usage or Usage(tokens=TokenCount(), is_final=True)
        return self._parts.answer(usage, stop).parts

    def end(self, outcome: str) -> None:
        """The call is over; `outcome` is `ok`, `cancelled` or an error's code."""
        if self._is_over:
            return
        self._is_over = True
        session = sessions.of(self._headers, self._call)
        usage = self._usage
        exchanges.offer(
            Exchange(
                call=self._call,
                client=session.client,
                session_key=session.key,
                purpose=session.purpose,
                dialect=self._dialect,
                outcome=outcome,
                at=self._at,
                parts=self.parts,
                passed=b"".join(self._passed),
                model=self._model,
                stop=self._stop.reason.value if self._stop is not None else "",
                usage_event_id=usage.usage_event_id if usage is not None else None,
            )
        )
