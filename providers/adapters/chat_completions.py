"""The chat-completions dialect: our call as its body, its events as our chunks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import Final

import msgspec

from ideplatform.kit import egress, ids
from ideplatform.kit.egress import AnswerBroken, AnswerTimeout, Response
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
    ToolArguments,
    ToolCall,
    ToolCallEnd,
    ToolResultPart,
    ToolUsePart,
    Usage,
)

DONE: Final = b"[DONE]"
_REASONS: Final = {
    "stop": StopReason.END,
    "length": StopReason.LENGTH,
    "tool_calls": StopReason.TOOL_CALLS,
    "function_call": StopReason.TOOL_CALLS,
    "content_filter": StopReason.CONTENT_FILTER,
}


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _GoogleExtra(msgspec.Struct):
    thought_signature: str | None = None


class _Extra(msgspec.Struct):
    google: _GoogleExtra | None = None


class _ToolDelta(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: _Function | None = None
    extra_content: _Extra | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_ToolDelta] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Event(msgspec.Struct):
    id: str | None = None
    model: str | None = None
    choices: list[_Choice] | None = None
    usage: dict[str, object] | None = None
    service_tier: str | None = None
    error: object = None


def body(call: Call, *, model: str, is_openai: bool) -> bytes:
    """The request. OpenAI itself and the servers that imitate it differ in a few names."""
    request: dict[str, object] = {
        "model": model,
        "messages": list(_messages(call, is_openai=is_openai)),
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if call.tools:
        request["tools"] = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.parameters,
                },
            }
            for tool in call.tools
        ]
        request["tool_choice"] = call.tool_choice
        if not call.parallel_tools:
            request["parallel_tool_calls"] = False
    if call.max_output_tokens is not None:
        request["max_completion_tokens" if is_openai else "max_tokens"] = call.max_output_tokens
    if call.reasoning.level not in ("off", "auto"):
        request["reasoning_effort"] = call.reasoning.level
    if call.response_format is not None:
        request["response_format"] = _format(call.response_format)
    request |= {
        name: value
        for name, value in (
            ("temperature", call.temperature),
            ("top_p", call.top_p),
            ("stop", list(call.stop) or None),
        )
        if value is not None
    }
    return msgspec.json.encode(request)


def _format(wanted: ResponseFormat) -> dict[str, object]:
    if wanted.schema is None:
        return {"type": "json_object"}
    schema = {"name": wanted.name, "schema": wanted.schema, "strict": wanted.strict}
    return {"type": "json_schema", "json_schema": schema}


def _messages(call: Call, *, is_openai: bool) -> Iterator[dict[str, object]]:
    if call.system:
        yield {"role": "system", "content": call.system}
    for message in call.messages:
        results = [part for part in message.parts if isinstance(part, ToolResultPart)]
        for result in results:
            yield {"role": "tool", "tool_call_id": result.tool_use_id, "content": result.text}
        if message.role == "assistant":
            yield _assistant(message, keeps_signatures=not is_openai)
        elif len(results) < len(message.parts):
            yield {"role": _role(message, is_openai=is_openai), "content": _content(message)}


def _role(message: Message, *, is_openai: bool) -> str:
    if message.role == "developer" and not is_openai:
        return "system"  # most imitations know no developer
    return "user" if message.role == "tool" else message.role


def _content(message: Message) -> object:
    parts: list[dict[str, object]] = []
    for part in message.parts:
        match part:
            case TextPart(text=text):
                parts.append({"type": "text", "text": text})
            case ImagePart():
                parts.append({"type": "image_url", "image_url": {"url": blocks.data_url(part)}})
    if all(part["type"] == "text" for part in parts):
        return "\n".join(str(part["text"]) for part in parts)
    return parts


def _assistant(message: Message, *, keeps_signatures: bool) -> dict[str, object]:
    calls = [part for part in message.parts if isinstance(part, ToolUsePart)]
    said = blocks.text_of(message.parts)
    answer: dict[str, object] = {
        "role": "assistant",
        "content": said if said or not calls else None,
    }
    if calls:
        answer["tool_calls"] = [_tool_use(part, keeps_signatures) for part in calls]
    return answer


def _tool_use(part: ToolUsePart, keeps_signature: bool) -> dict[str, object]:
    function = {"name": part.name, "arguments": part.arguments or "{}"}
    call: dict[str, object] = {"id": part.id, "type": "function", "function": function}
    if part.signature and keeps_signature:  # Google's own chat-completions endpoint needs it back
        call["extra_content"] = {"google": {"thought_signature": part.signature}}
    return call


class _Stream:
    """The state of one answer: which blocks are open, how it ended."""

    def __init__(self, response: Response) -> None:
        self.response = response
        self.numbers = blocks.Numbers()
        self.tools: dict[int, str] = {}  # vendor index -> id of the call open there
        self.open: list[int] = []
        self.reason: StopReason | None = None
        self.has_started = False

    def chunks(self, event: _Event) -> Iterator[Chunk]:
        if event.error is not None:
            raise wire.failure(0, wire.codes_of(event.error))
        if not self.has_started:
            self.has_started = True
            name = wire.request_id(self.response, event.id)
            yield Started(model=event.model or "", provider_request_id=name)
        for choice in event.choices or ():
            if choice.index == 0:
                yield from self._choice(choice)
        tokens = usage.read(usage.openai, event.usage)
        if tokens is not None:
            yield Usage(tokens=tokens, is_final=False, service_tier=_tier(event.service_tier))

    def _choice(self, choice: _Choice) -> Iterator[Chunk]:
        delta = choice.delta
        if delta is not None:
            if thought := delta.reasoning_content or delta.reasoning:
                yield Thinking(index=self.numbers.of("thinking"), text=thought)
            if delta.content:
                yield Text(index=self.numbers.of("text"), text=delta.content)
            if delta.refusal:
                yield Refusal(text=delta.refusal)
            for part in delta.tool_calls or ():
                yield from self._tool(part)
        if choice.finish_reason is not None:
            self.reason = _REASONS.get(choice.finish_reason, StopReason.END)

    def _tool(self, part: _ToolDelta) -> Iterator[Chunk]:
        function = part.function or _Function()
        held = self.tools.get(part.index)
        # Some imitations leave every index at 0 and tell calls apart by their id alone.
        if held is None or (part.id and part.id != held):
            held = self.tools[part.index] = part.id or f"call_{ids.base32(ids.new())}"
            block = self.numbers.of(held)
            self.open.append(block)
            yield ToolCall(
                index=block, id=held, name=function.name or "", signature=_signature(part)
            )
        if function.arguments:
            yield ToolArguments(index=self.numbers.of(held), delta=function.arguments)

    def end(self) -> Iterator[Chunk]:
        for block in self.open:
            yield ToolCallEnd(index=block)
        reason = self.reason or StopReason.END
        if self.open and reason is StopReason.END:  # several servers say "stop" after calls
            reason = StopReason.TOOL_CALLS
        yield Stop(reason=reason)


async def read(response: Response) -> AsyncGenerator[Chunk, None]:
    """The chunks of an answer; raises VendorError and the errors of `kit.egress`."""
    stream = _Stream(response)
    is_done = False
    try:
        async for event in egress.iter_sse(response):
            if event.data == DONE:
                is_done = True
                break
            for chunk in stream.chunks(wire.decode(event.data, _Event)):
                yield chunk
    except (AnswerBroken, AnswerTimeout):
        if stream.reason is None:
            raise
    # `[DONE]` may be missing, the reason may be; without both the answer was cut.
    if stream.reason is None and not is_done:
        raise AnswerBroken
    for chunk in stream.end():
        yield chunk


def _signature(part: _ToolDelta) -> str:
    extra = part.extra_content
    return (extra.google.thought_signature or "") if extra and extra.google else ""


def _tier(name: str | None) -> str:
    return name if name in ("flex", "priority", "batch") else "standard"
