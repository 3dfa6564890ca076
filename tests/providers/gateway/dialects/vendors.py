"""The official SDKs as readers of what a dialect writes: their types strictly, and their streams.

Bytes travel through a real HTTP server on loopback, so the SDKs' own parsers of server-sent events
read them.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, ClassVar
from uuid import uuid4

import anthropic
import openai
import pytest
from anthropic.types import Message as AnthropicMessage
from anthropic.types import RawMessageStreamEvent
from openai.lib.streaming.chat import ChatCompletionStreamState
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from pydantic import TypeAdapter

from billing.types import TokenCount, UnitClass
from providers.gateway.dialects.contract import Asked, Opening, Writer
from providers.types import (
    Call,
    CallContext,
    Chunk,
    DialectName,
    Started,
    Stop,
    StopReason,
    Usage,
)

U = UnitClass
CONTEXT = CallContext(user_id=uuid4(), organization_id=uuid4())
_EVENTS: TypeAdapter[Any] = TypeAdapter(RawMessageStreamEvent)


def an_opening(*, stop: tuple[str, ...] = (), uses_functions: bool = False) -> Opening:
    call = Call(request_id=uuid4(), context=CONTEXT, model="m", messages=(), stop=stop)
    asked = Asked(call=call, is_streamed=True, uses_functions=uses_functions)
    return Opening(answer_id="answer_1", model="default/code", created_s=1_700_000_000, asked=asked)


def a_usage(cost_usd: str | None = None, **tokens: int) -> Usage:
    counted = TokenCount({UnitClass(name): number for name, number in tokens.items()})
    return Usage(tokens=counted, is_final=True, cost_usd=cost_usd)


def written(
    writer: Writer,
    chunks: list[Chunk],
    *,
    reason: StopReason = StopReason.END,
    usage: Usage | None = None,
) -> bytes:
    """A whole stream."""
    told = [writer.start(Started(model="vendor-model"))]
    told += [writer.chunk(chunk) for chunk in chunks]
    told.append(writer.end(usage or a_usage(input=3, output=2), Stop(reason=reason)))
    return b"".join(told)


def events(stream: bytes) -> list[tuple[str, Any]]:
    """Names and data of server-sent events; `[DONE]` stays a text."""
    found = []
    for block in stream.decode().split("\n\n")[:-1]:
        lines = dict(line.split(": ", 1) for line in block.split("\n"))
        data = lines["data"]
        found.append((lines.get("event", ""), data if data == "[DONE]" else json.loads(data)))
    return found


def strict_chunks(stream: bytes) -> list[ChatCompletionChunk]:
    """Every chat event as OpenAI's own type; the last one is `[DONE]`."""
    told = [data for _, data in events(stream)]
    assert told.pop() == "[DONE]"
    return [ChatCompletionChunk.model_validate(data, strict=True) for data in told]


def strict_events(stream: bytes) -> list[Any]:
    """Every messages event as Anthropic's own type, its name the same as its type."""
    told = events(stream)
    assert all(name == data["type"] for name, data in told)
    return [_EVENTS.validate_python(data) for name, data in told if name != "ping"]


def strict_completion(body: bytes) -> ChatCompletion:
    return ChatCompletion.model_validate_json(body, strict=True)


def strict_message(body: bytes) -> AnthropicMessage:
    return AnthropicMessage.model_validate_json(body, strict=True)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    said: ClassVar[bytes] = b""
    status: ClassVar[int] = 200

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = type(self).said
        self.send_response(type(self).status)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *words: object) -> None:
        """Silence."""


class Readers:
    """Both SDKs, reading the bytes they are given as the answer to a request."""

    def __init__(self, url: str) -> None:
        self.openai: Any = openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0)
        self.anthropic: Any = anthropic.Anthropic(base_url=url, api_key="k", max_retries=0)

    def refused(self, status: int, body: bytes, dialect: DialectName) -> Any:
        """The error that a SDK raises for an answer that is no answer."""
        requests: dict[DialectName, Any] = {
            DialectName.CHAT: self.openai.chat.completions.create,
            DialectName.MESSAGES: partial(self.anthropic.messages.create, max_tokens=1),
        }
        kinds = (openai.APIError, anthropic.APIError)
        with self._answering(body, status), pytest.raises(kinds) as raised:
            requests[dialect](model="m", messages=[])
        return raised.value

    @contextmanager
    def _answering(self, body: bytes, status: int) -> Iterator[None]:
        _Handler.said, _Handler.status = body, status
        try:
            yield
        finally:
            _Handler.status = 200

    def completion(self, stream: bytes) -> dict[str, Any]:
        """What OpenAI's SDK gathers from a chat stream, and its usage."""
        _Handler.said = stream
        state = ChatCompletionStreamState()
        for chunk in self.openai.chat.completions.create(model="m", messages=[], stream=True):
            state.handle_chunk(chunk)
        gathered: dict[str, Any] = state.current_completion_snapshot.to_dict()
        return gathered

    def message(self, stream: bytes) -> dict[str, Any]:
        """What Anthropic's SDK gathers from a messages stream."""
        _Handler.said = stream
        with self.anthropic.messages.stream(model="m", max_tokens=1, messages=[]) as told:
            gathered: dict[str, Any] = told.get_final_message().to_dict()
        return gathered


@contextmanager
def running_readers() -> Iterator[Readers]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    readers = Readers(f"http://127.0.0.1:{server.server_port}")
    try:
        yield readers
    finally:
        readers.openai.close()
        readers.anthropic.close()
        server.shutdown()
        server.server_close()
