"""OpenAI's responses dialect, without server-side state: `store` is false, reasoning comes back."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import Final

import msgspec

from ideplatform.kit import egress
from ideplatform.kit.egress import AnswerBroken, Response
from providers.adapters import blocks, usage, wire
from providers.types import (
    Call,
    Chunk,
    ImagePart,
    Message,
    Refusal,
    ResponseFormat,
    Started,
    Stop,
    StopReason,
    Text,
    TextPart,
    Thinking,
    ThinkingPart,
    ThinkingSignature,
    ToolArguments,
    ToolCall,
    ToolCallEnd,
    ToolResultPart,
    ToolUsePart,
    Usage,
)

_SEPARATOR: Final = "#"  # a reasoning item's id and its encrypted content travel as one signature


def body(call: Call, *, model: str) -> bytes:
    """The request."""
    request: dict[str, object] = {
        "model": model,
        "input": [item for message in call.messages for item in _items(message)],
        "stream": True,
        "store": False,
    }
    if call.system:
        request["instructions"] = call.system
    if call.tools:
        request["tools"] = [
            {
                "type": "function",
                "name": tool.name,
                "description": tool.description,
                "parameters": tool.parameters,
                "strict": False,
            }
            for tool in call.tools
        ]
        request["tool_choice"] = call.tool_choice
        request["parallel_tool_calls"] = call.parallel_tools
    if call.reasoning.level != "off":
        request["include"] = ["reasoning.encrypted_content"]
        effort = {} if call.reasoning.level == "auto" else {"effort": call.reasoning.level}
        request["reasoning"] = {**effort, "summary": "auto"}
    if call.response_format is not None:
        request["text"] = {"format": _format(call.response_format)}
    sizes = {
        "max_output_tokens": call.max_output_tokens,
        "temperature": call.temperature,
        "top_p": call.top_p,
    }
    request |= {name: value for name, value in sizes.items() if value is not None}
    return msgspec.json.encode(request)


def _format(wanted: ResponseFormat) -> dict[str, object]:
    if wanted.schema is None:
        return {"type": "json_object"}
    schema = {"name": wanted.name, "schema": wanted.schema, "strict": wanted.strict}
    return {"type": "json_schema", **schema}


def _items(message: Message) -> Iterator[dict[str, object]]:
    is_assistant = message.role == "assistant"
    content: list[dict[str, object]] = []
    for part in message.parts:
        item: dict[str, object] | None = None
        match part:
            case TextPart(text=text):
                kind = "output_text" if is_assistant else "input_text"
                content.append({"type": kind, "text": text})
            case ImagePart():
                url = blocks.data_url(part)
                content.append({"type": "input_image", "image_url": url, "detail": "auto"})
            case ThinkingPart(signature=signature) if _SEPARATOR in signature:
                item = _reasoning(signature)
            case ToolUsePart(id=call_id, name=name, arguments=arguments):
                item = {"type": "function_call", "call_id": call_id, "name": name}
                item["arguments"] = arguments or "{}"
            case ToolResultPart(tool_use_id=call_id, text=text):
                item = {"type": "function_call_output", "call_id": call_id, "output": text}
        if item is not None:  # the order of the turn is kept: reasoning stands before its call
            if content:
                yield {"role": _role(message), "content": content}
                content = []
            yield item
    if content:
        yield {"role": _role(message), "content": content}


def _role(message: Message) -> str:
    return "user" if message.role == "tool" else message.role


def _reasoning(signature: str) -> dict[str, object]:
    item_id, _, encrypted = signature.partition(_SEPARATOR)
    return {"type": "reasoning", "id": item_id, "summary": [], "encrypted_content": encrypted}


class _Item(msgspec.Struct):
    type: str = ""
    id: str | None = None
    call_id: str | None = None
    name: str | None = None
    encrypted_content: str | None = None


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
    delta: str | None = None
    code: str | None = None
    error: object = None


class _Stream:
    """The state of one answer."""

    def __init__(self, response: Response) -> None:
        self.response = response
        self.has_started = False
        self.has_tools = False
        self.is_over = False

    def chunks(self, event: _Event) -> Iterator[Chunk]:
        if event.response is not None and not self.has_started:
            self.has_started = True
            answer = event.response
            name = wire.request_id(self.response, answer.id)
            yield Started(model=answer.model or "", provider_request_id=name)
        index, delta = event.output_index, event.delta or ""
        match event.type:
            case "response.output_text.delta":
                yield Text(index=index, text=delta)
            case "response.reasoning_summary_text.delta" | "response.reasoning_text.delta":
                yield Thinking(index=index, text=delta)
            case "response.refusal.delta":
                yield Refusal(text=delta)
            case "response.function_call_arguments.delta":
                yield ToolArguments(index=index, delta=delta)
            case "response.output_item.added" if event.item is not None:
                yield from self._opened(index, event.item)
            case "response.output_item.done" if event.item is not None:
                yield from self._closed(index, event.item)
            case "response.completed" | "response.incomplete" | "response.failed":
                yield from self._ended(event.response or _Answer())
            case "error":
                raise wire.failure(0, (event.code or "", *wire.codes_of(event.error)))

    def _opened(self, index: int, item: _Item) -> Iterator[Chunk]:
        if item.type == "function_call":
            self.has_tools = True
            yield ToolCall(index=index, id=item.call_id or item.id or "", name=item.name or "")

    def _closed(self, index: int, item: _Item) -> Iterator[Chunk]:
        if item.type == "function_call":
            yield ToolCallEnd(index=index)
        elif item.type == "reasoning" and item.encrypted_content:
            signature = f"{item.id or ''}{_SEPARATOR}{item.encrypted_content}"
            yield ThinkingSignature(index=index, signature=signature)

    def _ended(self, answer: _Answer) -> Iterator[Chunk]:
        tokens = usage.read(usage.openai, answer.usage)
        if tokens is not None:
            tier = answer.service_tier or ""
            known = tier if tier in ("flex", "priority", "batch") else "standard"
            yield Usage(tokens=tokens, is_final=False, service_tier=known)
        if answer.status == "failed" or answer.error is not None:
            raise wire.failure(0, wire.codes_of(answer.error))
        self.is_over = True
        yield Stop(reason=self._reason(answer))

    def _reason(self, answer: _Answer) -> StopReason:
        if answer.incomplete_details is not None:
            is_filter = answer.incomplete_details.reason == "content_filter"
            return StopReason.CONTENT_FILTER if is_filter else StopReason.LENGTH
        return StopReason.TOOL_CALLS if self.has_tools else StopReason.END


async def read(response: Response) -> AsyncGenerator[Chunk, None]:
    """The chunks of an answer; raises VendorError and the errors of `kit.egress`."""
    stream = _Stream(response)
    async for event in egress.iter_sse(response):
        if event.data == b"[DONE]":
            break
        for chunk in stream.chunks(wire.decode(event.data, _Event)):
            yield chunk
        if stream.is_over:
            return
    raise AnswerBroken
