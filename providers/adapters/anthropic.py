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
from providers.adapters import anthropic_request, blocks, passthrough, scanning, usage, wire
from providers.adapters.contract import Route
from providers.types import (
    Call,
    Chunk,
    Citation,
    DialectName,
    EmbedCall,
    Embeddings,
    ModelInfo,
    Opaque,
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
    input: object = None


class _Citation(msgspec.Struct):
    url: str | None = None
    title: str | None = None
    document_title: str | None = None
    cited_text: str | None = None


class _Delta(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    citation: _Citation | None = None
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
    source = passthrough.source_of(call, DialectName.MESSAGES)
    headers = _headers(key) | passthrough.headers(source, route)
    request = (
        anthropic_request.body(call, route)
        if source is None
        else passthrough.request(call, source, model=route.model)
    )
    async with wire.exchange(
        "POST",
        route,
        _path(route, "/messages"),
        headers=wire.tagged(call, headers),
        timeouts=timeouts,
        body=request.body,
    ) as response:
        if source is not None and source.is_streamed:
            answer = passthrough.read(response, scanning.of(DialectName.MESSAGES))
        else:
            answer = read(response, request.dropped)
        async for chunk in answer:
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


class _Whole(msgspec.Struct):
    """An event again, with what we do not know in it."""

    content_block: dict[str, object] = {}
    delta: dict[str, object] = {}


class _Foreign:
    """A block that only this dialect understands, while it grows: a server tool's, a compaction."""

    def __init__(self, block: dict[str, object]) -> None:
        self._block = block
        self._input: list[str] = []

    def grow(self, delta: dict[str, object]) -> None:
        for name, value in delta.items():
            held = self._block.get(name)
            if name == "partial_json" and isinstance(value, str):
                self._input.append(value)
            elif isinstance(held, str) and isinstance(value, str) and name != "type":
                self._block[name] = held + value
            elif name != "type" and value is not None:
                self._block[name] = value

    def whole(self) -> Opaque:
        if self._input:
            self._block["input"] = blocks.as_object("".join(self._input))
        raw = msgspec.Raw(msgspec.json.encode(self._block))
        return Opaque(dialect=DialectName.MESSAGES, raw=raw)


class _Stream:
    """The state of one answer."""

    def __init__(self, response: Response, dropped: tuple[str, ...]) -> None:
        self.response = response
        self.dropped = dropped
        self.foreign: dict[int, _Foreign] = {}
        self.usage: dict[str, object] = {}
        self.tools: set[int] = set()
        self.reason: StopReason | None = None
        self.is_over = False

    def chunks(self, event: _Event, data: bytes) -> Iterator[Chunk]:
        match event.type:
            case "message_start":
                yield from self._started(event.message or _Message())
            case "content_block_start":
                yield from self._opened(event.index, event.content_block or _Block(), data)
            case "content_block_delta" if event.index in self.foreign:
                self.foreign[event.index].grow(wire.decode(data, _Whole).delta)
            case "content_block_delta":
                yield from self._grew(event.index, event.delta or _Delta())
            case "content_block_stop":
                yield from self._closed(event.index)
            case "message_delta":
                yield from self._ended(event)
            case "message_stop":
                self.is_over = True
            case "error":
                raise wire.failure(0, wire.codes_of(event.error))

    def _started(self, message: _Message) -> Iterator[Chunk]:
        name = wire.request_id(self.response, message.id)
        model = message.model or ""
        yield Started(model=model, provider_request_id=name, dropped=self.dropped)
        yield from self._counted(message.usage)

    def _ended(self, event: _Event) -> Iterator[Chunk]:
        if event.delta is not None and event.delta.stop_reason:
            self.reason = wire.MESSAGES_REASONS.get(event.delta.stop_reason, StopReason.END)
        yield from self._counted(event.usage)

    def _counted(self, part: dict[str, object] | None) -> Iterator[Chunk]:
        if not part:
            return
        self.usage |= {name: value for name, value in part.items() if value is not None}
        tokens = usage.read(usage.anthropic, self.usage)
        if tokens is not None:
            tier = self.usage.get("service_tier")
            known = tier if tier in ("priority", "batch") else "standard"
            yield Usage(tokens=tokens, is_final=False, service_tier=str(known))

    def _opened(self, index: int, block: _Block, data: bytes) -> Iterator[Chunk]:
        match block.type:
            case "tool_use":
                self.tools.add(index)
                yield ToolCall(index=index, id=block.id or "", name=block.name or "")
                if block.input:  # imitations say it whole
                    arguments = msgspec.json.encode(block.input).decode()
                    yield ToolArguments(index=index, delta=arguments)
            case "redacted_thinking" if block.data:
                yield RedactedThinking(index=index, data=block.data)
            case "text" if block.text:
                yield Text(index=index, text=block.text)
            case "thinking" if block.thinking:
                yield Thinking(index=index, text=block.thinking)
            case "text" | "thinking" | "redacted_thinking":
                return
            case _:
                self.foreign[index] = _Foreign(wire.decode(data, _Whole).content_block)

    def _closed(self, index: int) -> Iterator[Chunk]:
        if index in self.tools:
            yield ToolCallEnd(index=index)
        elif index in self.foreign:
            yield self.foreign.pop(index).whole()

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
            case "citations_delta" if delta.citation is not None:
                at = delta.citation
                yield Citation(
                    index=index,
                    url=at.url or "",
                    title=at.title or at.document_title or "",
                    cited=at.cited_text or "",
                )


async def read(response: Response, dropped: tuple[str, ...] = ()) -> AsyncGenerator[Chunk, None]:
    """The chunks of an answer; raises VendorError and the errors of `kit.egress`."""
    stream = _Stream(response, dropped)
    async for event in egress.iter_sse(response):
        told = wire.event(event.data, _Event)
        if told is not None:
            for chunk in stream.chunks(told, event.data):
                yield chunk
        if stream.is_over:
            break
    if stream.reason is None:  # `message_stop` alone may be missing, the reason may not
        raise AnswerBroken
    yield Stop(reason=stream.reason)
