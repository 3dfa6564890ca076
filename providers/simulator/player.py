"""Sending an answer at its pace and with its faults, and telling the ledger what went out."""

import asyncio
from collections.abc import Callable, Mapping

from aiohttp import web

from .failures import Kind, VendorFailure
from .frames import Frame
from .ledger import Entry
from .script import Turn

HANG_S = 3_600.0  # bound of a hanging call; a client that leaves ends it at once
_BATCH_FRAMES = 64
_PAUSE_S = 0.002  # lets the first half of a split write travel alone
MID_STREAM = VendorFailure(Kind.OVERLOADED, "The simulated provider failed inside the stream.")


async def whole(
    request: web.Request, body: bytes, *, turn: Turn, tokens: int, entry: Entry,
    headers: Mapping[str, str],
) -> web.StreamResponse:  # fmt: skip
    """A whole answer, charged in full whatever the client gets to see of it."""
    if turn.error_at is not None:
        raise MID_STREAM
    try:
        await asyncio.sleep((turn.first_delay_ms + turn.token_delay_ms * tokens) / 1_000)
        if turn.hang_at is not None:
            await asyncio.sleep(HANG_S)
        if turn.cut_after_tokens is not None:
            return await _half(request, body, headers)
        if turn.malformed_at is not None:
            body = body[: len(body) * 2 // 3]
        return web.Response(body=body, content_type="application/json", headers=headers)
    finally:
        is_broken = turn.cut_after_tokens is not None or turn.malformed_at is not None
        entry.complete(is_delivered=not is_broken and turn.hang_at is None)


async def _half(
    request: web.Request, body: bytes, headers: Mapping[str, str]
) -> web.StreamResponse:
    response = web.StreamResponse(headers=headers)
    response.content_type = "application/json"
    response.content_length = len(body)
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    _hang_up(request)
    return response


async def stream(
    request: web.Request, frames: list[Frame], *, turn: Turn, entry: Entry,
    headers: Mapping[str, str], failure_event: Callable[[VendorFailure, int], bytes],
) -> web.StreamResponse:  # fmt: skip
    """Play the frames; the ledger learns of every token that left, however it ends."""
    entry.planned(frames)
    response = web.StreamResponse(headers=headers)
    playback = _Playback(request, response, turn, entry, failure_event)
    try:
        await asyncio.sleep(turn.first_delay_ms / 1_000)
        await response.prepare(request)
        await playback.run(frames)
    except (ConnectionError, asyncio.CancelledError):
        entry.broken("client_gone")
        raise
    return response


def _hang_up(request: web.Request) -> None:
    """Close without the last chunk, after what was written has been flushed."""
    if request.transport is not None:
        request.transport.close()


class _Playback:
    """One running stream."""

    def __init__(
        self,
        request: web.Request,
        response: web.StreamResponse,
        turn: Turn,
        entry: Entry,
        failure_event: Callable[[VendorFailure, int], bytes],
    ) -> None:
        self._request = request
        self._response = response
        self._turn = turn
        self._entry = entry
        self._failure_event = failure_event
        self._sent = 0
        self._events = 0
        self._padding = turn.giant_line
        self._due_s = 0.0

    async def run(self, frames: list[Frame]) -> None:
        if self._turn.no_done:
            frames = [frame for frame in frames if not frame.is_done]
        if _is_plain(self._turn):
            await self._pour(frames)
        else:
            await self._play(frames)

    async def _pour(self, frames: list[Frame]) -> None:
        """Nothing to wait for and nothing to break: few writes for many frames."""
        for start in range(0, len(frames), _BATCH_FRAMES):
            batch = frames[start : start + _BATCH_FRAMES]
            await self._response.write(b"".join(frame.data for frame in batch))
            for frame in batch:
                self._entry.sent(frame)
        self._end()

    async def _play(self, frames: list[Frame]) -> None:
        self._due_s = asyncio.get_running_loop().time()
        for frame in frames:
            if await self._breaks_before(frame):
                return
            await self._pace(frame)
            await self._send(frame)
            self._sent += frame.tokens
            self._events += bool(frame.data)
            self._entry.sent(frame)
        self._end()

    def _end(self) -> None:
        self._entry.complete()

    async def _breaks_before(self, frame: Frame) -> bool:
        """Carry out the fault whose token has come; True when the stream is over."""
        if not (self._sent or frame.tokens):
            return False  # the vendor's opening events always go out
        turn = self._turn
        if turn.cut_after_tokens is not None and self._sent >= turn.cut_after_tokens:
            self._entry.broken("cut")
            _hang_up(self._request)
            return True
        if turn.error_at is not None and self._sent >= turn.error_at:
            self._entry.broken("failed")
            await self._response.write(self._failure_event(MID_STREAM, self._events))
            return True
        if turn.hang_at is not None and self._sent >= turn.hang_at:
            self._entry.broken("hung")
            await asyncio.sleep(HANG_S)
            _hang_up(self._request)
            return True
        return False

    async def _pace(self, frame: Frame) -> None:
        """Wait until the token is due, counted from the start so that delays do not add up."""
        if not frame.tokens or not self._turn.token_delay_ms:
            return
        if self._sent:
            self._due_s += self._turn.token_delay_ms * frame.tokens / 1_000
        wait_s = self._due_s - asyncio.get_running_loop().time()
        if wait_s > 0:
            await asyncio.sleep(wait_s)

    async def _send(self, frame: Frame) -> None:
        data = self._dressed(frame)
        if not data:
            return
        if not self._turn.split_utf8:
            await self._response.write(data)
            return
        place = _inside_a_character(data)
        await self._response.write(data[:place])
        await asyncio.sleep(_PAUSE_S)
        await self._response.write(data[place:])

    def _dressed(self, frame: Frame) -> bytes:
        """The event's bytes with the faults that change bytes."""
        data, turn = frame.data, self._turn
        if not data:
            return data
        brace = data.find(b"{")
        at = turn.malformed_at
        if at is not None and frame.tokens and self._sent <= at < self._sent + frame.tokens:
            data = data[:brace] + b'{"malformed": tru\n\n'
        elif self._padding and frame.tokens:
            padding = b'"sim_padding":"' + b"x" * self._padding + b'",'
            data = data[: brace + 1] + padding + data[brace + 1 :]
            self._padding = 0
        if turn.comments:
            data = b": keep-alive\n\n" + data
        if turn.crlf:
            data = data.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        return data


def _is_plain(turn: Turn) -> bool:
    breaks = (turn.cut_after_tokens, turn.malformed_at, turn.hang_at, turn.error_at)
    dresses = turn.giant_line or turn.split_utf8 or turn.crlf or turn.comments
    return not (turn.token_delay_ms or dresses) and all(place is None for place in breaks)


def _inside_a_character(data: bytes) -> int:
    """Behind the first byte of the first multi-byte character; else the middle."""
    for place, byte in enumerate(data):
        if byte >= 0xC0:
            return place + 1
    return len(data) // 2
