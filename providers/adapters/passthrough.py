"""A client's bytes to a vendor of its own dialect, and the vendor's events back as they come.

Of the request only the model, the maximum and what makes it a counted stream are replaced. The
answer is scanned on its way (`scanning`): usage, size, errors and the end are known to the paid
door as those of a translated answer are.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterator
from typing import Final

import msgspec

from ideplatform.kit import egress
from ideplatform.kit.egress import AnswerBroken, AnswerTimeout, AnswerTooLarge, Response
from ideplatform.kit.errors import PlatformError
from providers.adapters import wire
from providers.adapters.blocks import Request
from providers.adapters.contract import Route
from providers.adapters.scanning import DONE, Scanner
from providers.types import Call, Chunk, DialectName, Passed, Raw, Source, Started, Stop, Usage

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
    """The client's request, when a vendor of that dialect may have it as it is."""
    source = call.source
    return source if source is not None and source.dialect is dialect and source.body else None


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

    def emptied(self) -> bytes:
        """The rest, taken out."""
        rest = self.rest()
        self._tail = []
        return rest


def _last_end(data: bytes) -> int:
    """Where the last blank line ends, 0 for none."""
    if b"\r" not in data:
        return data.rfind(b"\n\n") + 2 if b"\n\n" in data else 0
    return max((found.end() for found in _BLANK_LINE.finditer(data)), default=0)


def events(block: bytes) -> Iterator[tuple[int, bytes]]:
    """Where each event of a block of whole events begins, and its data."""
    start, ends = 0, _ends(block)
    for end in ends:
        yield start, _data(block[start:end])
        start = end
    if start < len(block):
        yield start, _data(block[start:])


def _ends(block: bytes) -> Iterator[int]:
    if b"\r" in block:
        yield from (found.end() for found in _BLANK_LINE.finditer(block))
        return
    end = block.find(b"\n\n")
    while end >= 0:
        yield end + 2
        end = block.find(b"\n\n", end + 2)


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

    def take(self, block: bytes) -> Iterator[Chunk]:
        """Raises what the scanner raises, after what came before the fault."""
        scanner, done = self._scanner, 0
        ends_at: int | None = 0 if self._ending else None
        fault: PlatformError | None = None
        try:
            for start, data in events(block):
                done = start
                if data:
                    self._size += scanner.scan(data)
                if not scanner.is_ending:
                    ends_at = None  # more was written after what looked like the end
                elif ends_at is None:
                    ends_at = start
            done = len(block)
        except PlatformError as raised:
            fault = raised
        if done:
            yield from self._passed(block[:done], ends_at)
        yield from self._told()
        if fault is not None:
            raise fault

    def _passed(self, block: bytes, ends_at: int | None) -> Iterator[Chunk]:
        if ends_at == 0:
            self._ending.append(block)
            yield from self._started()
            return
        whole = b"".join((*self._opening, *self._ending, block[:ends_at]))
        self._opening = []
        self._ending = [] if ends_at is None else [block[ends_at:]]
        yield from self._started()
        if not self._scanner.has_content:  # nothing is given out that would forbid another try
            self._opening.append(whole)
        elif whole:
            yield self._given(whole)

    def _started(self) -> Iterator[Chunk]:
        unfinished = self._scanner.unfinished
        if self._scanner.has_started and not self._has_started:
            self._has_started = True
            name = wire.request_id(self._response, unfinished.answer_id)
            yield Started(model=unfinished.model, provider_request_id=name)

    def _told(self) -> Iterator[Usage]:
        if (counted := self._scanner.counted()) is not None:
            yield counted

    def _given(self, data: bytes, *, is_ending: bool = False) -> Passed:
        size, self._size = self._size, 0
        return Passed(
            data=data, size=size, is_ending=is_ending, unfinished=self._scanner.unfinished
        )

    def end(self, rest: bytes) -> Iterator[Chunk]:
        """What is left, once the vendor has ended in order."""
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
    if not scanner.has_ended:
        raise AnswerBroken
    for chunk in answer.end(splitter.rest() if scanner.is_over else b""):
        yield chunk


async def _blocks(
    response: Response, scanner: Scanner, splitter: Splitter
) -> AsyncGenerator[bytes, None]:
    """Whole events until the end, and what a server that leaves out the last blank line wrote."""
    try:
        async for piece in response.iter_any():
            if block := splitter.feed(piece):
                yield block
            if scanner.is_over:
                return
    except (AnswerBroken, AnswerTimeout):
        if not scanner.forgives_cuts:
            raise
        return  # half an event is none
    if _is_event(splitter.rest()):
        yield splitter.emptied()
