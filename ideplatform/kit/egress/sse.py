"""Server-sent events from an untrusted stream (WHATWG HTML, section 9.2).

Works on bytes: lines end only at CR and LF, so a UTF-8 sequence split over two pieces is whole
again before anyone decodes it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import NamedTuple

from ideplatform.kit.egress.client import Response
from ideplatform.kit.egress.errors import AnswerTooLarge

MAX_LINE_BYTES = 1024 * 1024
_BOM = b"\xef\xbb\xbf"


class SseEvent(NamedTuple):
    """One event: its name (empty if none), its data with lines joined by LF, the last id."""

    event: str
    data: bytes
    id: str


class SseParser:
    """Pieces in, whole events out; an event without its blank line is not one, as specified.

    Raises AnswerTooLarge for a line, or the data of one event, beyond `max_line_bytes`.
    """

    def __init__(self, *, max_line_bytes: int = MAX_LINE_BYTES) -> None:
        self._max = max_line_bytes
        self._tail: list[bytes] = []
        self._tail_bytes = 0
        self._is_first_line = True
        self._ended_with_cr = False
        self._event = ""
        self._data: list[bytes] = []
        self._data_bytes = 0
        self._id = ""

    def feed(self, piece: bytes) -> list[SseEvent]:
        """The events that this piece completes."""
        events: list[SseEvent] = []
        for line in self._lines(self._with_lf(piece)):
            if line:
                self._field(line)
            elif (event := self._dispatched()) is not None:
                events.append(event)
        return events

    def _with_lf(self, piece: bytes) -> bytes:
        """The piece with every line end as LF; a CR LF may be split between two pieces."""
        if self._ended_with_cr and piece.startswith(b"\n"):
            piece = piece[1:]
            self._ended_with_cr = False
        if piece:
            self._ended_with_cr = piece.endswith(b"\r")
        if b"\r" in piece:
            return piece.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return piece

    def _lines(self, piece: bytes) -> list[bytes]:
        # Parts are joined once per line: adding each piece to the tail would be quadratic.
        *ends, rest = piece.split(b"\n")
        lines: list[bytes] = []
        if ends:
            lines = [b"".join((*self._tail, ends[0])), *ends[1:]]
            self._tail, self._tail_bytes = [], 0
            if self._is_first_line:
                self._is_first_line = False
                lines[0] = lines[0].removeprefix(_BOM)
        if rest:
            self._tail.append(rest)
            self._tail_bytes += len(rest)
        if self._tail_bytes > self._max or any(len(line) > self._max for line in lines):
            raise AnswerTooLarge
        return lines

    def _field(self, line: bytes) -> None:
        name, _, value = line.partition(b":")
        value = value[1:] if value.startswith(b" ") else value
        if name == b"data":
            self._data.append(value)
            self._data_bytes += len(value) + 1
            if self._data_bytes > self._max + 1:
                raise AnswerTooLarge
        elif name == b"event":
            self._event = value.decode(errors="replace")
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode(errors="replace")

    def _dispatched(self) -> SseEvent | None:
        data, event = self._data, self._event
        self._data, self._data_bytes, self._event = [], 0, ""
        if not data:
            return None
        return SseEvent(event, data[0] if len(data) == 1 else b"\n".join(data), self._id)


async def iter_sse(
    response: Response, *, max_line_bytes: int = MAX_LINE_BYTES
) -> AsyncIterator[SseEvent]:
    """The events of a response as they complete; raises as `Response.iter_any`, AnswerTooLarge."""
    parser = SseParser(max_line_bytes=max_line_bytes)
    async for piece in response.iter_any():
        for event in parser.feed(piece):
            yield event


async def iter_lines(
    response: Response, *, max_line_bytes: int = MAX_LINE_BYTES
) -> AsyncIterator[bytes]:
    """The lines of a response without their LF or CR LF, the unfinished last one included."""
    tail: list[bytes] = []
    size = 0
    async for piece in response.iter_any():
        *ends, rest = piece.split(b"\n")
        for end in ends:
            if size + len(end) > max_line_bytes:
                raise AnswerTooLarge
            yield b"".join((*tail, end)).removesuffix(b"\r")
            tail, size = [], 0
        tail.append(rest)
        size += len(rest)
        if size > max_line_bytes:
            raise AnswerTooLarge
    if size:
        yield b"".join(tail)
