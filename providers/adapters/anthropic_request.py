"""Our call as the body of Anthropic's messages."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import msgspec

from providers.adapters import blocks
from providers.adapters.contract import Route
from providers.types import (
    Call,
    Capability,
    ImagePart,
    Message,
    RedactedThinkingPart,
    TextPart,
    ThinkingPart,
    ToolResultPart,
    ToolUsePart,
)

DEFAULT_MAX_TOKENS: Final = 8_192  # the vendor demands a figure; every current model allows this
MIN_THINKING_BUDGET: Final = 1_024
_BUDGETS: Final = {"minimal": 1_024, "low": 4_096, "medium": 16_384, "high": 32_768, "auto": 16_384}
_EFFORTS: Final = {"minimal": "low", "low": "low", "medium": "medium", "high": "high"}


def body(call: Call, route: Route) -> bytes:
    """The request of a stream."""
    request = _common(call, route)
    max_tokens = call.max_output_tokens or min(
        route.max_output_tokens or DEFAULT_MAX_TOKENS, DEFAULT_MAX_TOKENS
    )
    thinking = _thinking(call, route, max_tokens)
    request |= {"stream": True, "max_tokens": max_tokens} | thinking
    if not thinking:  # the vendor refuses sampling parameters beside thinking
        request |= _given(temperature=call.temperature, top_p=call.top_p)
    if call.stop:
        request["stop_sequences"] = list(call.stop)
    if call.response_format is not None and call.response_format.schema is not None:
        schema = {"type": "json_schema", "schema": call.response_format.schema}
        request["output_config"] = {
            **_mapping(request.get("output_config")),
            "format": schema,
        }
    return msgspec.json.encode(request)


def count_body(call: Call, route: Route) -> bytes:
    """The request of a token count."""
    return msgspec.json.encode(_common(call, route))


def _common(call: Call, route: Route) -> dict[str, object]:
    system, messages = blocks.leading_system(call.system, call.messages)
    turns = ((_role(message), list(_content(message))) for message in messages)
    request: dict[str, object] = {"model": route.model, "messages": list(blocks.merged(turns))}
    if system:
        request["system"] = system
    if call.tools:
        request["tools"] = [
            {
                "name": tool.name,
                "description": tool.description,
                "input_schema": tool.parameters,
            }
            for tool in call.tools
        ]
        request["tool_choice"] = _tool_choice(call, thinks=_wants_thinking(call))
    return request


def _tool_choice(call: Call, *, thinks: bool) -> dict[str, object]:
    kind = {"auto": "auto", "required": "any", "none": "none"}[call.tool_choice]
    if kind == "any" and thinks:
        kind = "auto"  # the vendor refuses forced tools beside thinking
    choice: dict[str, object] = {"type": kind}
    if not call.parallel_tools and kind != "none":
        choice["disable_parallel_tool_use"] = True
    return choice


def _thinking(call: Call, route: Route, max_tokens: int) -> dict[str, object]:
    if not _wants_thinking(call):
        return {}
    if Capability.THINKING_ADAPTIVE in (route.capabilities or ()):
        effort = _EFFORTS.get(call.reasoning.level)
        config = {"output_config": {"effort": effort}} if effort else {}
        return {"thinking": {"type": "adaptive"}, **config}
    wanted = call.reasoning.budget or _BUDGETS[call.reasoning.level]
    budget = min(wanted, max_tokens - 1)
    if budget < MIN_THINKING_BUDGET:
        return {}
    return {"thinking": {"type": "enabled", "budget_tokens": budget}}


def _wants_thinking(call: Call) -> bool:
    """Thinking is asked for, and the turn that answers a tool call still has its signed thought.

    The vendor refuses an unsigned turn; without the signature the call runs with thinking off.
    """
    if call.reasoning.level == "off":
        return False
    answering = call.messages[-1:] and any(
        isinstance(part, ToolResultPart) for part in call.messages[-1].parts
    )
    return not answering or _last_turn_is_signed(call.messages)


def _last_turn_is_signed(messages: tuple[Message, ...]) -> bool:
    for message in reversed(messages):
        if message.role == "assistant":
            return any(
                isinstance(part, RedactedThinkingPart)
                or (isinstance(part, ThinkingPart) and part.signature)
                for part in message.parts
            )
    return False


def _role(message: Message) -> str:
    return "assistant" if message.role == "assistant" else "user"


def _content(message: Message) -> Iterator[object]:
    # Tool results stand first in their turn, or the vendor refuses it.
    for part in sorted(message.parts, key=lambda part: not isinstance(part, ToolResultPart)):
        match part:
            case TextPart(text=text) if text.strip():
                yield {"type": "text", "text": text}
            case ImagePart(url=url) if url:
                yield {"type": "image", "source": {"type": "url", "url": url}}
            case ImagePart(media_type=kind, data=data):
                source = {"type": "base64", "media_type": kind, "data": data}
                yield {"type": "image", "source": source}
            case ThinkingPart(text=text, signature=signature) if signature:
                yield {"type": "thinking", "thinking": text, "signature": signature}
            case RedactedThinkingPart(data=data):
                yield {"type": "redacted_thinking", "data": data}
            case ToolUsePart(id=call_id, name=name, arguments=arguments):
                arguments_object = blocks.as_object(arguments)
                yield {"type": "tool_use", "id": call_id, "name": name, "input": arguments_object}
            case ToolResultPart(tool_use_id=call_id, text=text, is_error=is_error):
                result: dict[str, object] = {"type": "tool_result", "tool_use_id": call_id}
                yield result | {"content": text} | ({"is_error": True} if is_error else {})


def _given(**values: object) -> dict[str, object]:
    return {name: value for name, value in values.items() if value is not None}


def _mapping(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}
