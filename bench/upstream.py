"""The cheapest vendor there can be: `python -m bench.upstream PORT` serves until its input ends.

A bare protocol over raw bytes, since what the other side of a gateway costs must not limit what is
measured. It answers OpenAI chat completions (whole and streamed) and Anthropic messages (streamed).
The plan of an answer stands in the prompt: `plan:<tokens>:<first ms>:<us between tokens>`. A
token's text is ` <number>:<nanoseconds of the machine's monotonic clock>`; without a pace tokens
leave eight at a time, as fast as they are taken.
"""

from __future__ import annotations

import asyncio
import re
import sys
import time
from dataclasses import dataclass
from typing import cast

import uvloop

AT_ONCE = 8
INPUT_TOKENS = 20
_PLAN = re.compile(rb"plan:(\d+):(\d+):(\d+)")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_STREAMS = re.compile(rb'"stream": ?true')
_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\n%s\r\n"
_STREAM = _HEAD % (b"text/event-stream", b"transfer-encoding: chunked\r\n")
_CHAT = (
    b'data: {"id":"up-1","object":"chat.completion.chunk","created":1,"model":"sim-echo","choices":'
)
_WHOLE = (
    b'{"id":"up-1","object":"chat.completion","created":1,"model":"sim-echo","choices":[{"index":0,'
    b'"message":{"role":"assistant","content":"Hello there."},"finish_reason":"stop"}],"usage":'
    b'{"prompt_tokens":%d,"completion_tokens":3,"total_tokens":%d}}'
) % (INPUT_TOKENS, INPUT_TOKENS + 3)
_PLAIN = _HEAD % (b"application/json", b"content-length: %d\r\n" % len(_WHOLE)) + _WHOLE


@dataclass(frozen=True, slots=True)
class _Dialect:
    """The frames of a stream, with places for what differs."""

    opening: bytes
    token: bytes
    ending: bytes


CHAT = _Dialect(
    opening=_CHAT
    + b'[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}\n\n',
    token=_CHAT + b'[{"index":0,"delta":{"content":" %d:%d"},"finish_reason":null}]}\n\n',
    ending=_CHAT
    + b'[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    + _CHAT
    + b'[],"usage":{"prompt_tokens":20,"completion_tokens":%d}}\n\ndata: [DONE]\n\n',
)
MESSAGES = _Dialect(
    opening=b'event: message_start\ndata: {"type":"message_start","message":{"id":"msg_1","type":'
    b'"message","role":"assistant","model":"sim-echo","content":[],"stop_reason":null,"usage":'
    b'{"input_tokens":20,"output_tokens":1}}}\n\nevent: content_block_start\ndata: {"type":'
    b'"content_block_start","index":0,"content_block":{"type":"text","text":""}}\n\n',
    token=b'event: content_block_delta\ndata: {"type":"content_block_delta","index":0,"delta":'
    b'{"type":"text_delta","text":" %d:%d"}}\n\n',
    ending=b'event: content_block_stop\ndata: {"type":"content_block_stop","index":0}\n\n'
    b'event: message_delta\ndata: {"type":"message_delta","delta":{"stop_reason":"end_turn"},'
    b'"usage":{"output_tokens":%d}}\n\nevent: message_stop\ndata: {"type":"message_stop"}\n\n',
)


class Connection(asyncio.Protocol):
    """One connection: requests one after the other."""

    def __init__(self) -> None:
        self._buffer = b""
        self._may_write = asyncio.Event()
        self._may_write.set()
        self._playing: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not of that class

    def connection_lost(self, error: Exception | None) -> None:
        if self._playing:
            self._playing.cancel()

    def pause_writing(self) -> None:
        self._may_write.clear()

    def resume_writing(self) -> None:
        self._may_write.set()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        length = _LENGTH.search(head)
        size = int(length[1]) if length else 0
        if len(rest) >= size:
            self._buffer = rest[size:]
            self._answer(head, rest[:size])

    def _answer(self, head: bytes, body: bytes) -> None:
        if not _STREAMS.search(body):
            self._transport.write(_PLAIN)
            return
        plan = _PLAN.search(body)
        tokens, first_ms, pace_us = (int(one) for one in plan.groups()) if plan else (8, 0, 0)
        dialect = MESSAGES if b"/messages " in head.partition(b"\r\n")[0] else CHAT
        self._playing = asyncio.ensure_future(self._play(dialect, tokens, first_ms, pace_us))

    async def _play(self, dialect: _Dialect, tokens: int, first_ms: int, pace_us: int) -> None:
        loop = asyncio.get_running_loop()
        if first_ms:
            await asyncio.sleep(first_ms / 1_000)
        self._write(_STREAM, dialect.opening)
        due, sent, at_once = loop.time(), 0, 1 if pace_us else AT_ONCE
        while sent < tokens:
            await self._may_write.wait()
            count, now = min(at_once, tokens - sent), time.monotonic_ns()
            self._write(
                b"", b"".join(dialect.token % (sent + place, now) for place in range(count))
            )
            sent += count
            due += pace_us / 1e6
            await asyncio.sleep(max(0.0, due - loop.time()) if pace_us else 0)
        self._write(b"", dialect.ending % sent)
        self._transport.write(b"0\r\n\r\n")

    def _write(self, before: bytes, chunk: bytes) -> None:
        self._transport.write(b"%s%x\r\n%s\r\n" % (before, len(chunk), chunk))


async def serve(port: int) -> None:
    """Serve until standard input ends; the port is printed once it listens."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Connection, "127.0.0.1", port, backlog=2_048)
    print(server.sockets[0].getsockname()[1], flush=True)
    ended = asyncio.Event()
    loop.add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
