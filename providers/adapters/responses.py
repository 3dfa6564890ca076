"""OpenAI's responses dialect: its events as our chunks; `responses_request` is the way there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator

import msgspec

from ideplatform.kit import egress
from ideplatform.kit.egress import AnswerBroken, Response
from providers.adapters import usage, wire
from providers.adapters.responses_request import SEPARATOR
from providers.types import (
    Chunk,
    Citation,
    DialectName,
    Image,
    Opaque,
    Refusal,
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


class _Item(msgspec.Struct):
    type: str = ""
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    encrypted_content: str | None = None
    arguments: object = None
    result: object = None
    output_format: object = None


class _Annotation(msgspec.Struct):
    url: str = ""
    title: str = ""
    filename: str = ""


class _Incomplete(msgspec.Struct):
    reason: str | None = None


class _Answer(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    status: str | None = None
    usage: dict[str, object] | None = None
    error: object = None
    incomplete_details: _Incomplete | None = None
    service_tier: str | None = None


class _Event(msgspec.Struct):
    type: str = ""
    response: _Answer | None = None
    output_index: int = 0
    item: _Item | None = None
    delta: object = None
    annotation: _Annotation | None = None
    code: str | None = None
    error: object = None


class _Whole(msgspec.Struct):
    item: msgspec.Raw = msgspec.Raw(b"{}")


class _Stream:
    """The state of one answer."""

    def __init__(self, response: Response, dropped: tuple[str, ...]) -> None:
        self.response = response
        self.dropped = dropped
        self.has_started = False
        self.has_tools = False
        self.argued: set[int] = set()
        self.is_over = False

    def chunks(self, event: _Event, data: bytes) -> Iterator[Chunk]:
        if event.response is not None and not self.has_started:
            yield self._started(event.response)
        index = event.output_index
        if isinstance(event.delta, str):
            yield from self._grew(event.type, index, event.delta)
            return
        match event.type:
            case "response.output_text.annotation.added" if event.annotation is not None:
                at = event.annotation
                yield Citation(index=index, url=at.url, title=at.title or at.filename)
            case "response.output_item.added" if event.item is not None:
                yield from self._opened(index, event.item)
            case "response.output_item.done" if event.item is not None:
                yield from self._closed(index, event.item, data)
            case "response.completed" | "response.incomplete" | "response.failed":
                yield from self._ended(event.response or _Answer())
            case "error":
                raise wire.failure(0, (event.code or "", *wire.codes_of(event.error)))

    def _grew(self, kind: str, index: int, delta: str) -> Iterator[Chunk]:
        match kind:
            case "response.output_text.delta":
                yield Text(index=index, text=delta)
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                yield Thinking(index=index, text=delta)
            case "response.refusal.delta":
                yield Refusal(text=delta)
            case "response.function_call_arguments.delta":
                self.argued.add(index)
                yield ToolArguments(index=index, delta=delta)

    def _started(self, answer: _Answer) -> Started:
        self.has_started = True
        name = wire.request_id(self.response, answer.id)
        return Started(model=answer.model or "", provider_request_id=name, dropped=self.dropped)

    def _opened(self, index: int, item: _Item) -> Iterator[Chunk]:
        if item.type == "function_call":
            self.has_tools = True
            yield ToolCall(index=index, id=item.call_id or item.id or "", name=item.name or "")

    def _closed(self, index: int, item: _Item, data: bytes) -> Iterator[Chunk]:
        match item.type:
            case "message":
                return
            case "function_call":
                if index not in self.argued and isinstance(item.arguments, str):
                    yield ToolArguments(index=index, delta=item.arguments)
                yield ToolCallEnd(index=index)
            case "reasoning" if item.encrypted_content:
                signature = f"{item.id or ''}{SEPARATOR}{item.encrypted_content}"
                yield ThinkingSignature(index=index, signature=signature)
            case "reasoning":
                return
            case "image_generation_call" if isinstance(item.result, str):
                kind = item.output_format if isinstance(item.output_format, str) else "png"
                yield Image(index=index, media_type=f"image/{kind}", data=item.result)
            case _:
                whole = wire.decode(data, _Whole)
                yield Opaque(dialect=DialectName.RESPONSES, raw=msgspec.Raw(bytes(whole.item)))

    def _ended(self, answer: _Answer) -> Iterator[Chunk]:
        tokens = usage.read(usage.openai, answer.usage)
        if tokens is not None:
            tier = wire.tier(answer.service_tier)
            yield Usage(tokens=tokens, is_final=False, service_tier=tier)
        if answer.status == "failed" or answer.error is not None:
            raise wire.failure(0, wire.codes_of(answer.error))
        self.is_over = True
        yield Stop(reason=self._reason(answer))

    def _reason(self, answer: _Answer) -> StopReason:
        if answer.incomplete_details is not None:
            is_filter = answer.incomplete_details.reason == "content_filter"
            return StopReason.CONTENT_FILTER if is_filter else StopReason.LENGTH
        return StopReason.TOOL_CALLS if self.has_tools else StopReason.END


async def read(
    response: Response,
    dropped: tuple[str, ...] = (),
    *,
    max_line_bytes: int = egress.sse.MAX_LINE_BYTES,
) -> AsyncGenerator[Chunk, None]:
    """The chunks of an answer; raises VendorError and the errors of `kit.egress`."""
    stream = _Stream(response, dropped)
    async for event in egress.iter_sse(response, max_line_bytes=max_line_bytes):
        if event.data == b"[DONE]":
            break
        told = wire.event(event.data, _Event)
        if told is not None:
            for chunk in stream.chunks(told, event.data):
                yield chunk
        if stream.is_over:
            return
    raise AnswerBroken
