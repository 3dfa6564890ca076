"""A client's bytes to a vendor of its own dialect, and the vendor's events back as they come.

Of the request only the model, the maximum and what makes it a counted stream are replaced. The
answer is scanned on its way (`scanning`): usage, size, errors and the end are known to the paid
door as those of a translated answer are.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator
from itertools import pairwise
from typing import Final

import msgspec

from ideplatform.kit import egress
from ideplatform.kit.egress import AnswerBroken, AnswerTimeout, AnswerTooLarge, Response
from ideplatform.kit.errors import PlatformError
from providers.adapters import wire
from providers.adapters.blocks import Request
from providers.adapters.contract import Route
from providers.adapters.scanning import DONE, Scanner
from providers.types import (
    Call,
    Chunk,
    DialectName,
    Passed,
    Raw,
    Source,
    Started,
    Stop,
    ThinkingPart,
)

_TRUE: Final = Raw(b"true")
_HEADERS: Final[dict[DialectName, tuple[str, ...]]] = {
    DialectName.CHAT: ("openai-beta",),
    DialectName.RESPONSES: ("openai-beta",),
    DialectName.MESSAGES: ("anthropic-beta", "anthropic-version"),
}
# The names of the maximum in each dialect; the first is set where a client gave none.
_MAXIMA: Final[dict[DialectName, tuple[str, ...]]] = {
    DialectName.CHAT: ("max_tokens", "max_completion_tokens"),
    DialectName.RESPONSES: ("max_output_tokens",),
    DialectName.MESSAGES: ("max_tokens",),
}
# A line may end in LF, CR or CR LF. Atomic, or a CR LF would also be a CR and a LF.
_BLANK_LINE: Final = re.compile(rb"(?>\r\n|\n|\r)(?>\r\n|\n|\r)")
_BOM: Final = b"\xef\xbb\xbf"


def source_of(call: Call, dialect: DialectName) -> Source | None:
    """The client's request, when a vendor of that dialect may have it as it is.

    Anthropic refuses a thought that nobody signed, as another vendor's turn before it may hold:
    such a call is written anew.
    """
    source = call.source
    if source is None or source.dialect is not dialect or not source.body:
        return None
    return None if dialect is DialectName.MESSAGES and _has_unsigned_thought(call) else source


def _has_unsigned_thought(call: Call) -> bool:
    return any(
        isinstance(part, ThinkingPart) and not part.signature
        for message in call.messages
        for part in message.parts
    )


def headers(source: Source | None, route: Route) -> dict[str, str]:
    """The dialect's own headers that the client sent; features join those of the account."""
    if source is None:
        return {}
    own = {name.lower(): value for name, value in route.config.headers.items()}
    told: dict[str, str] = {}
    for name in _HEADERS[source.dialect]:
        if value := source.headers.get(name):
            is_list = name.endswith("-beta") and name in own
            told[name] = f"{own[name]},{value}" if is_list else value
    return told


def request(call: Call, source: Source, *, model: str, is_openai: bool = False) -> Request:
    """The client's body for the vendor: order, unknown keys and spelling of values are kept.

    Raises AnswerBroken for what is no JSON object; the edge has refused that before.
    """
    body = wire.decode(source.body, dict[str, Raw])
    body["model"] = Raw(msgspec.json.encode(model))
    body["stream"] = _TRUE
    if source.dialect is DialectName.CHAT:
        body["stream_options"] = _counted(body.get("stream_options"))
    if call.max_output_tokens is not None:
        _limit(body, call.max_output_tokens, source.dialect, is_openai=is_openai)
    return Request(msgspec.json.encode(body))


def _counted(options: Raw | None) -> Raw:
    """The stream's options with the usage asked for: a call that is not counted is not billed."""
    try:
        held = msgspec.json.decode(options or b"{}", type=dict[str, Raw])
    except msgspec.DecodeError:
        held = {}
    return Raw(msgspec.json.encode(held | {"include_usage": _TRUE}))


def _limit(body: dict[str, Raw], most: int, dialect: DialectName, *, is_openai: bool) -> None:
    figure = Raw(b"%d" % most)
    names = _MAXIMA[dialect]
    told = [name for name in names if bytes(body.get(name, b"null")) != b"null"]
    for name in told or names[-1 if is_openai else 0 :][:1]:
        body[name] = figure


class Splitter:
    """Pieces of the network in, whole events out, byte for byte.

    Raises AnswerTooLarge for an event beyond `max_bytes`.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max = max_bytes
        self._tail: list[bytes] = []
        self._edge = b""
        self._size = 0

    def feed(self, piece: bytes) -> bytes:
        """The events that this piece completes, b"" for none."""
        if not self._size and piece.endswith(b"\n\n"):
            return piece
        seen = self._edge + piece
        end = _last_end(seen) - len(self._edge)
        if end <= 0:
            self._tail.append(piece)
            self._edge = seen[-3:]  # a blank line may be split over many pieces
            self._size += len(piece)
            if self._size > self._max:
                raise AnswerTooLarge
            return b""
        whole = b"".join((*self._tail, piece[:end]))
        rest = piece[end:]
        self._tail, self._edge, self._size = [rest], rest[-3:], len(rest)
        return whole

    def rest(self) -> bytes:
        """What came after the last whole event."""
        return b"".join(self._tail)


def _last_end(data: bytes) -> int:
    """Where the last blank line ends, 0 for none."""
    if b"\r" not in data:
        return data.rfind(b"\n\n") + 2 if b"\n\n" in data else 0
    # A CR at the very end may be half of a CR LF.
    ends = [found.end() for found in _BLANK_LINE.finditer(data)]
    settled = [end for end in ends[-2:] if end < len(data) or data[-1:] == b"\n"]
    return settled[-1] if settled else 0


def events(block: bytes) -> list[tuple[int, bytes]]:
    """Where each event of a block of whole events begins, and its data."""
    if b"\r" in block:
        ends = [found.end() for found in _BLANK_LINE.finditer(block)]
    else:
        ends = _line_feeds(block)
    if not ends or ends[-1] < len(block):
        ends.append(len(block))
    if len(ends) == 1:
        return [(0, _data(block))]
    return [(start, _data(block[start:end])) for start, end in pairwise((0, *ends))]


def _line_feeds(block: bytes) -> list[int]:
    ends: list[int] = []
    end = block.find(b"\n\n")
    while end >= 0:
        ends.append(end + 2)
        end = block.find(b"\n\n", end + 2)
    return ends


def _data(event: bytes) -> bytes:
    """The data of an event; comments, names and ids are none."""
    if event.startswith(b"data: ") and b"\r" not in event and event.find(b"\n") == len(event) - 2:
        return event[6:-2]
    lines = event.removeprefix(_BOM).splitlines()
    found = [line[5:].removeprefix(b" ") for line in lines if line.startswith(b"data:")]
    return found[0] if len(found) == 1 else b"\n".join(found)


def _is_event(rest: bytes) -> bool:
    """Whether it is whole but for its blank line."""
    data = _data(rest)
    return data == DONE or (bool(data) and _is_json(data))


def _is_json(data: bytes) -> bool:
    try:
        msgspec.json.decode(data, type=Raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    return True


class _Answer:
    """Whole events in, chunks out: the opening waits for content, the ending for the settlement."""

    def __init__(self, response: Response, scanner: Scanner) -> None:
        self._response = response
        self._scanner = scanner
        self._opening: list[bytes] = []
        self._ending: list[bytes] = []
        self._size = 0
        self._has_started = False
        self.fault: PlatformError | None = None

    def take(self, block: bytes) -> list[Chunk]:
        """The chunks of a block; a fault that came after them is in `fault`."""
        scanner, done = self._scanner, len(block)
        ends_at: int | None = 0 if self._ending else None
        for start, data in events(block):
            if data and not self._scans(data):
                done = start
                break
            if not scanner.is_ending:
                ends_at = None  # more was written after what looked like the end
            elif ends_at is None:
                ends_at = start
        chunks = self._introduced()
        if done and (given := self._passed(block[:done], ends_at)) is not None:
            chunks.append(given)
        chunks += self._counted()
        return chunks

    def _scans(self, data: bytes) -> bool:
        """Whether the event could be read; it raises outside, after what came before it."""
        try:
            self._size += self._scanner.scan(data)
        except PlatformError as fault:
            self.fault = fault
            return False
        return True

    def _introduced(self) -> list[Chunk]:
        if self._has_started or not self._scanner.has_started:
            return []
        self._has_started = True
        unfinished = self._scanner.unfinished
        name = wire.request_id(self._response, unfinished.answer_id)
        return [Started(model=unfinished.model, provider_request_id=name)]

    def _passed(self, block: bytes, ends_at: int | None) -> Passed | None:
        if ends_at == 0:
            self._ending.append(block)
            return None
        whole = block[:ends_at]
        if self._opening or self._ending:
            whole = b"".join((*self._opening, *self._ending, whole))
            self._opening, self._ending = [], []
        if ends_at is not None:
            self._ending.append(block[ends_at:])
        if self._scanner.has_content:
            return self._given(whole)
        self._opening.append(whole)  # nothing is given out that would forbid another try
        return None

    def _counted(self) -> list[Chunk]:
        counted = self._scanner.counted()
        return [] if counted is None else [counted]

    def _given(self, data: bytes, *, is_ending: bool = False) -> Passed:
        size, self._size = self._size, 0
        return Passed(
            data=data, size=size, is_ending=is_ending, unfinished=self._scanner.unfinished
        )

    def end(self, rest: bytes) -> Iterator[Chunk]:
        """What is left, once the vendor has ended in order; raises AnswerBroken if it has not."""
        if not self._scanner.is_over and _is_event(rest):  # its blank line was left out
            self._scans(_data(rest))
            yield from self._counted()
            if self.fault is not None:
                raise self.fault
        elif not self._scanner.is_over:
            rest = b""  # half an event is none
        if not self._scanner.has_ended:
            raise AnswerBroken
        yield self._given(b"".join((*self._opening, *self._ending, rest)), is_ending=True)
        yield Stop(reason=self._scanner.reason())


async def read(
    response: Response, scanner: Scanner, *, max_line_bytes: int = egress.sse.MAX_LINE_BYTES
) -> AsyncGenerator[Chunk, None]:
    """Started, Passed as the vendor writes, Usage, the ending in one Passed, Stop.

    Raises VendorError and the errors of `kit.egress`, as the other readers of the dialect do.
    """
    answer, splitter = _Answer(response, scanner), Splitter(max_bytes=max_line_bytes)
    async for block in _blocks(response, scanner, splitter):
        for chunk in answer.take(block):
            yield chunk
        if answer.fault is not None:
            raise answer.fault
    for chunk in answer.end(splitter.rest()):
        yield chunk


async def _blocks(
    response: Response, scanner: Scanner, splitter: Splitter
) -> AsyncGenerator[bytes, None]:
    """Whole events until the end."""
    try:
        async for piece in response.iter_any():
            if block := splitter.feed(piece):
                yield block
            if scanner.is_over:
                return
    except (AnswerBroken, AnswerTimeout):
        if not scanner.forgives_cuts:
            raise
