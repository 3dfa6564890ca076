"""Anthropic's messages dialect.

Usage is split over two events and cumulative: later figures replace earlier ones.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import Final
from urllib.parse import quote

import msgspec

from ideplatform.kit import egress
from ideplatform.kit.crypto import Secret
from ideplatform.kit.egress import AnswerBroken, Response, Timeouts
from ideplatform.kit.errors import InvalidInput
from providers.adapters import anthropic_request, usage, wire
from providers.adapters.contract import Route
from providers.types import (
    Call,
    Chunk,
    EmbedCall,
    Embeddings,
    ModelInfo,
    RedactedThinking,
    Started,
    Stop,
    StopReason,
    Text,
    Thinking,
    ThinkingSignature,
    ToolArguments,
    ToolCall,
    ToolCallEnd,
    Usage,
)

VERSION: Final = "2023-06-01"
MAX_PAGES: Final = 10
_REASONS: Final = {
    "end_turn": StopReason.END,
    "max_tokens": StopReason.LENGTH,
    "model_context_window_exceeded": StopReason.LENGTH,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "tool_use": StopReason.TOOL_CALLS,
    "pause_turn": StopReason.PAUSE,
    "refusal": StopReason.REFUSAL,
    "compaction": StopReason.COMPACTION,
}


class _Message(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    usage: dict[str, object] | None = None


class _Block(msgspec.Struct):
    type: str = ""
    id: str | None = None
    name: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None


class _Delta(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    index: int = 0
    message: _Message | None = None
    content_block: _Block | None = None
    delta: _Delta | None = None
    usage: dict[str, object] | None = None
    error: object = None


class _Listed(msgspec.Struct):
    id: str
    display_name: str | None = None
    max_input_tokens: int | None = None
    max_tokens: int | None = None


class _Page(msgspec.Struct):
    data: list[_Listed]
    has_more: bool = False
    last_id: str | None = None


class _Counted(msgspec.Struct):
    input_tokens: int


async def stream(
    call: Call, route: Route, key: Secret | None, timeouts: Timeouts
) -> AsyncGenerator[Chunk, None]:
    async with wire.exchange(
        "POST",
        route,
        _path(route, "/messages"),
        headers=wire.tagged(call, _headers(key)),
        timeouts=timeouts,
        body=anthropic_request.body(call, route),
    ) as response:
        async for chunk in _read(response):
            yield chunk


async def embed(
    call: EmbedCall,
    route: Route,
    key: Secret | None,
    timeouts: Timeouts,
) -> Embeddings:
    """Raises InvalidInput: this vendor has no embeddings."""
    del call, route, key, timeouts
    raise InvalidInput("this provider offers no embeddings")


async def list_models(route: Route, key: Secret | None, timeouts: Timeouts) -> list[ModelInfo]:
    found: list[ModelInfo] = []
    query = "?limit=1000"
    for _ in range(MAX_PAGES):
        page = await wire.fetch(
            "GET",
            route,
            _path(route, "/models") + query,
            headers=_headers(key),
            timeouts=timeouts,
            kind=_Page,
        )
        found += [
            ModelInfo(
                id=model.id,
                display_name=model.display_name or "",
                context_tokens=model.max_input_tokens,
                max_output_tokens=model.max_tokens,
            )
            for model in page.data
        ]
        if not page.has_more or not page.last_id:
            break
        query = f"?limit=1000&after_id={quote(page.last_id, safe='')}"
    return found


async def count_tokens(
    call: Call, route: Route, key: Secret | None, timeouts: Timeouts
) -> int | None:
    """The vendor's own count of the input, free of charge."""
    counted = await wire.fetch(
        "POST",
        route,
        _path(route, "/messages/count_tokens"),
        headers=_headers(key),
        timeouts=timeouts,
        body=anthropic_request.count_body(call, route),
        kind=_Counted,
    )
    return counted.input_tokens


def _path(route: Route, path: str) -> str:
    """People write the address with and without `/v1`."""
    return path if route.base_url.endswith("/v1") else f"/v1{path}"


def _headers(key: Secret | None) -> dict[str, str]:
    headers = {"anthropic-version": VERSION}
    return headers | {"x-api-key": key.reveal()} if key is not None else headers


class _Stream:
    """The state of one answer."""

    def __init__(self, response: Response) -> None:
        self.response = response
        self.usage: dict[str, object] = {}
        self.tools: set[int] = set()
        self.reason: StopReason | None = None
        self.is_over = False

    def chunks(self, event: _Event) -> Iterator[Chunk]:
        match event.type:
            case "message_start":
                message = event.message or _Message()
                name = wire.request_id(self.response, message.id)
                yield Started(model=message.model or "", provider_request_id=name)
                yield from self._counted(message.usage)
            case "content_block_start":
                yield from self._opened(event.index, event.content_block or _Block())
            case "content_block_delta":
                yield from self._grew(event.index, event.delta or _Delta())
            case "content_block_stop" if event.index in self.tools:
                yield ToolCallEnd(index=event.index)
            case "message_delta":
                if event.delta is not None and event.delta.stop_reason:
                    self.reason = _REASONS.get(event.delta.stop_reason, StopReason.END)
                yield from self._counted(event.usage)
            case "message_stop":
                self.is_over = True
            case "error":
                raise wire.failure(0, wire.codes_of(event.error))

    def _counted(self, part: dict[str, object] | None) -> Iterator[Chunk]:
        if not part:
            return
        self.usage |= {name: value for name, value in part.items() if value is not None}
        tokens = usage.read(usage.anthropic, self.usage)
        if tokens is not None:
            tier = self.usage.get("service_tier")
            known = tier if tier in ("priority", "batch") else "standard"
            yield Usage(tokens=tokens, is_final=False, service_tier=str(known))

    def _opened(self, index: int, block: _Block) -> Iterator[Chunk]:
        match block.type:
            case "tool_use":
                self.tools.add(index)
                yield ToolCall(index=index, id=block.id or "", name=block.name or "")
            case "redacted_thinking" if block.data:
                yield RedactedThinking(index=index, data=block.data)
            case "text" if block.text:
                yield Text(index=index, text=block.text)
            case "thinking" if block.thinking:
                yield Thinking(index=index, text=block.thinking)

    def _grew(self, index: int, delta: _Delta) -> Iterator[Chunk]:
        match delta.type:
            case "text_delta" if delta.text:
                yield Text(index=index, text=delta.text)
            case "thinking_delta" if delta.thinking:
                yield Thinking(index=index, text=delta.thinking)
            case "signature_delta" if delta.signature:
                yield ThinkingSignature(index=index, signature=delta.signature)
            case "input_json_delta" if delta.partial_json and index in self.tools:
                yield ToolArguments(index=index, delta=delta.partial_json)


async def _read(response: Response) -> AsyncGenerator[Chunk, None]:
    stream = _Stream(response)
    async for event in egress.iter_sse(response):
        for chunk in stream.chunks(wire.decode(event.data, _Event)):
            yield chunk
        if stream.is_over:
            break
    if stream.reason is None:  # `message_stop` alone may be missing, the reason may not
        raise AnswerBroken
    yield Stop(reason=stream.reason)
