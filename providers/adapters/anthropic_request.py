"""Our call as the body of Anthropic's messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from providers.adapters import blocks
from providers.adapters.blocks import Dropped, Request
from providers.adapters.contract import Route
from providers.types import (
    AudioPart,
    CacheTime,
    Call,
    Capability,
    DialectName,
    DocumentPart,
    ImagePart,
    Message,
    OpaquePart,
    Raw,
    RedactedThinkingPart,
    RefusalPart,
    ResponseFormat,
    TextPart,
    ThinkingPart,
    Tool,
    ToolResultPart,
    ToolUsePart,
)

Block = dict[str, object]
DEFAULT_MAX_TOKENS: Final = 8_192  # the vendor demands a figure; every current model allows this
MIN_THINKING_BUDGET: Final = 1_024
MAX_CACHE_POINTS: Final = 4  # more are refused
_BUDGETS: Final = {"minimal": 1_024, "low": 4_096, "medium": 16_384, "high": 32_768, "auto": 16_384}
_EFFORTS: Final = {"minimal": "low", "low": "low", "medium": "medium", "high": "high"}
_JSON_ONLY: Final = "Answer with one JSON object and nothing else."


def body(call: Call, route: Route) -> Request:
    """The request of a stream."""
    dropped = Dropped()
    request = _common(call, route, dropped)
    max_tokens = call.max_output_tokens or min(
        route.max_output_tokens or DEFAULT_MAX_TOKENS, DEFAULT_MAX_TOKENS
    )
    thinking = _thinking(call, route, max_tokens)
    request |= {"stream": True, "max_tokens": max_tokens} | thinking
    if thinking:  # the vendor refuses sampling parameters beside thinking
        sampling = {"temperature": call.temperature, "top_p": call.top_p}
        dropped.add_where({name: value is not None for name, value in sampling.items()})
    else:
        if call.reasoning.level != "off":
            dropped.add("reasoning")
            _forget_thinking(request)
        request |= blocks.given(temperature=call.temperature, top_p=call.top_p)
    if call.stop:
        request["stop_sequences"] = list(call.stop)
    if user := call.metadata.get("user_id"):
        request["metadata"] = {"user_id": user}
    dropped.add_where({"metadata": call.metadata.keys() - {"user_id"}})
    return Request(msgspec.json.encode(_formatted(request, call.response_format)), dropped.names)


def _forget_thinking(request: Block) -> None:
    """The client's own words for it go as well: beside them the vendor wants signed thoughts."""
    request.pop("thinking", None)
    edits = request.get("context_management")
    if isinstance(edits, Raw) and b"clear_thinking" in bytes(edits):
        del request["context_management"]


def count_body(call: Call, route: Route) -> bytes:
    """The request of a token count."""
    return msgspec.json.encode(_common(call, route, Dropped()))


def _formatted(request: Block, wanted: ResponseFormat | None) -> Block:
    if wanted is None or wanted.schema is None:
        return request
    held = request.get("output_config")
    config: Block = held if isinstance(held, dict) else {}
    shape = {"type": "json_schema", "schema": wanted.schema}
    return request | {"output_config": {**config, "format": shape}}


def _common(call: Call, route: Route, dropped: Dropped) -> Block:
    server_tools, extra = blocks.own_words(call, DialectName.MESSAGES, dropped)
    points = _CachePoints()
    tools: list[object] = [*(_tool(tool, route, points) for tool in call.tools), *server_tools]
    texts, messages = blocks.leading_system(call)
    if call.response_format is not None and call.response_format.schema is None:
        dropped.add("response_format.json_object")  # asked for in words: nothing enforces it
        texts = [*texts, TextPart(text=_JSON_ONLY)]
    system = _system(texts, points)
    turns = _turns(messages, points, dropped)
    points.trim()
    request: Block = {**extra, "model": route.model, "messages": turns}
    if system:
        request["system"] = system
    if tools:
        request |= {"tools": tools, "tool_choice": _tool_choice(call, dropped)}
    return request


class _CachePoints:
    """Where the prompt may be cached up to; the last ones are kept when there are too many."""

    def __init__(self) -> None:
        self._blocks: list[Block] = []

    def mark(self, block: Block, cache: CacheTime) -> Block:
        if cache:
            ttl = {"ttl": "1h"} if cache == "1h" else {}
            block["cache_control"] = {"type": "ephemeral", **ttl}
            self._blocks.append(block)
        return block

    def trim(self) -> None:
        for block in self._blocks[:-MAX_CACHE_POINTS]:
            del block["cache_control"]


def _system(texts: list[TextPart], points: _CachePoints) -> object:
    if not any(part.cache for part in texts):
        return "\n\n".join(part.text for part in texts)
    said = [part for part in texts if part.text.strip()]
    return [points.mark({"type": "text", "text": part.text}, part.cache) for part in said]


def _tool(tool: Tool, route: Route, points: _CachePoints) -> object:
    knows_strict = route.capabilities is None or Capability.STRUCTURED_OUTPUT in route.capabilities
    strict = tool.strict if knows_strict else None
    declared: Block = {
        "name": tool.name,
        "description": tool.description,
        "input_schema": tool.parameters,
    }
    return points.mark(declared | blocks.given(strict=strict or None), tool.cache)


def _tool_choice(call: Call, dropped: Dropped) -> Block:
    kind = {"auto": "auto", "required": "any", "none": "none"}[call.tool_choice]
    if call.tool_name:
        kind = "tool"
    if kind in ("any", "tool") and _wants_thinking(call):
        kind = "auto"  # the vendor refuses forced tools beside thinking
        dropped.add("tool_choice")
    choice: Block = {"type": kind}
    if kind == "tool":
        choice["name"] = call.tool_name
    if not call.parallel_tools and kind != "none":
        choice["disable_parallel_tool_use"] = True
    return choice


def _thinking(call: Call, route: Route, max_tokens: int) -> Block:
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
            return any(_is_signed(part) for part in message.parts)
    return False


def _is_signed(part: object) -> bool:
    """Whether the vendor can know the signature: those of other dialects look different."""
    match part:
        case ThinkingPart(signature=signature):
            return bool(signature) and "#" not in signature
        case RedactedThinkingPart(data=data):
            return not data.startswith("{")
    return False


def _turns(
    messages: Iterable[Message], points: _CachePoints, dropped: Dropped
) -> list[dict[str, object]]:
    """The conversation; tool results stand first in their turn, or the vendor refuses it."""
    sides = (
        (_role(message), list(_Content(message, points, dropped).blocks()))
        for message in map(blocks.as_user, messages)
    )
    turns = list(blocks.merged(sides))
    for turn in turns:
        if turn["role"] == "user" and isinstance(content := turn["content"], list):
            content.sort(key=_is_no_result)
    return turns


def _is_no_result(block: object) -> bool:
    return not (isinstance(block, dict) and block.get("type") == "tool_result")


def _role(message: Message) -> str:
    return "assistant" if message.role == "assistant" else "user"


class _Content:
    """One message as content blocks."""

    def __init__(self, message: Message, points: _CachePoints, dropped: Dropped) -> None:
        self._message = message
        self._points = points
        self._dropped = dropped
        self._is_assistant = message.role == "assistant"

    def blocks(self) -> Iterator[object]:
        for part in self._message.parts:
            for block in self._block(part):
                yield self._points.mark(block, part.cache) if isinstance(block, dict) else block

    def _block(self, part: object) -> Iterator[object]:
        match part:
            case TextPart(text=text) | RefusalPart(text=text):
                if text.strip():
                    yield {"type": "text", "text": text}
            case ImagePart() | DocumentPart():
                yield from self._medium(part)
            case ThinkingPart() | RedactedThinkingPart():
                yield from self._thought(part)
            case ToolUsePart(id=call_id, name=name, arguments=arguments):
                arguments_object = blocks.as_object(arguments)
                yield {"type": "tool_use", "id": call_id, "name": name, "input": arguments_object}
            case ToolResultPart():
                yield self._result(part)
            case OpaquePart(dialect=DialectName.MESSAGES, raw=raw):
                yield raw
            case AudioPart():
                self._dropped.add("audio")
            case OpaquePart(raw=raw):
                self._dropped.add(f"opaque.{blocks.kind_of(raw)}")

    def _thought(self, part: ThinkingPart | RedactedThinkingPart) -> Iterator[Block]:
        """Only with a signature of the vendor's own, or it refuses the turn."""
        if not _is_signed(part):
            named = not isinstance(part, ThinkingPart) or part.signature
            self._dropped.add_where({"thinking": named})
        elif isinstance(part, ThinkingPart):
            yield {"type": "thinking", "thinking": part.text, "signature": part.signature}
        else:
            yield {"type": "redacted_thinking", "data": part.data}

    def _result(self, part: ToolResultPart) -> Block:
        result: Block = {"type": "tool_result", "tool_use_id": part.tool_use_id}
        content: object = part.text
        if part.media:
            text = [{"type": "text", "text": part.text}] if part.text.strip() else []
            content = [*text, *(block for one in part.media for block in self._medium(one))]
        return result | {"content": content} | ({"is_error": True} if part.is_error else {})

    def _medium(self, part: ImagePart | DocumentPart) -> Iterator[Block]:
        if isinstance(part, ImagePart):
            if self._is_assistant:
                self._dropped.add("images")  # a model's turn holds none
            else:
                yield {"type": "image", "source": _source(blocks.inlined(part))}
            return
        title = {"title": part.name} if part.name else {}
        text = blocks.document_text(part)
        if text is not None:
            source: Block = {"type": "text", "media_type": "text/plain", "data": text}
            yield {"type": "document", "source": source, **title}
        elif part.url or part.media_type == "application/pdf":
            yield {"type": "document", "source": _source(part), **title}
        else:
            self._dropped.add("documents")  # only texts and PDFs are read


def _source(part: ImagePart | DocumentPart) -> Block:
    if part.url:
        return {"type": "url", "url": part.url}
    return {"type": "base64", "media_type": blocks.media_type(part), "data": part.data}
