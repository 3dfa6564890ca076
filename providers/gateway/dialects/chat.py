"""OpenAI's chat completions as a client dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal
from uuid import UUID

import msgspec

from providers.gateway.dialects import chat_answer, chat_messages, errors, reading
from providers.gateway.dialects.chat_writer import ChatWriter
from providers.gateway.dialects.contract import Answer, Asked, Opening, Writer
from providers.gateway.dialects.reading import ABSENT, Count, Name
from providers.types import (
    Call,
    CallContext,
    DialectName,
    ResponseFormat,
    Source,
    Tool,
)

NAME: Final = DialectName.CHAT
TRAVELLING: Final = ("openai-beta",)
Raw = msgspec.Raw
Mode = Literal["auto", "required", "none"]

_KNOWN: Final = frozenset(
    {
        "model",
        "messages",
        "stream",
        "max_tokens",
        "max_completion_tokens",
        "temperature",
        "top_p",
        "stop",
        "parallel_tool_calls",
        "tools",
        "functions",
        "function_call",
        "tool_choice",
        "metadata",
        "response_format",
        "reasoning_effort",
        "reasoning",
    }
)
_MODES: Final[dict[str, Mode]] = {
    "auto": "auto",
    "none": "none",
    "required": "required",
    "any": "required",
}


class _Request(msgspec.Struct):
    model: Name
    messages: list[Raw]
    stream: bool | None = None
    max_tokens: Count | None = None
    max_completion_tokens: Count | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: str | list[str] | None = None
    parallel_tool_calls: bool | None = None
    tools: list[Raw] | None = None
    functions: list[Raw] | None = None
    function_call: Raw = ABSENT
    tool_choice: Raw = ABSENT
    metadata: Raw = ABSENT
    user: Raw = ABSENT
    stream_options: Raw = ABSENT
    response_format: Raw = ABSENT
    reasoning_effort: Raw = ABSENT
    reasoning: Raw = ABSENT
    thinking: Raw = ABSENT


class _Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: Raw = ABSENT
    strict: bool | None = None


class _Tool(msgspec.Struct):
    """A tool; some clients leave out the envelope, as the newer dialect does."""

    type: str = "function"
    function: _Function | None = None
    name: str | None = None
    description: str | None = None
    parameters: Raw = ABSENT
    strict: bool | None = None
    cache_control: object = None


_REQUEST: Final = msgspec.json.Decoder(_Request)
_TOOL: Final = msgspec.json.Decoder(_Tool)
_FUNCTION: Final = msgspec.json.Decoder(_Function)
_FORMAT: Final = msgspec.json.Decoder(dict[str, Raw])


def read(
    body: bytes, *, headers: Mapping[str, str], request_id: UUID, context: CallContext
) -> Asked:
    """The request; see `contract.Dialect`."""
    given = reading.members(body)
    request = reading.decode(body, _REQUEST)
    choice = _Choice(request)
    shape = _Shape(request.response_format)
    tools = _Tools(request)
    is_streamed = request.stream is True
    call = Call(
        request_id=request_id,
        context=context,
        model=request.model,
        messages=chat_messages.read(request.messages),
        tools=tuple(tools.found),
        server_tools=tuple(tools.foreign),
        tool_choice=choice.mode,
        tool_name=choice.name,
        parallel_tools=request.parallel_tool_calls is not False,
        max_output_tokens=request.max_completion_tokens or request.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        stop=reading.texts(request.stop),
        reasoning=reading.reasoning(
            effort=reading.loose(request.reasoning_effort),
            thinking=reading.loose(request.thinking),
            options=reading.loose(request.reasoning),
        ),
        response_format=shape.found,
        metadata=_metadata(request),
        extra=reading.unsaid(given, _KNOWN, kept=_kept(request, choice, shape)),
        source=Source(
            dialect=NAME,
            body=body,
            headers={name: headers[name] for name in TRAVELLING if name in headers},
            is_streamed=is_streamed,
        ),
    )
    options = reading.mapping(reading.loose(request.stream_options))
    return Asked(
        call=call,
        is_streamed=is_streamed,
        asks_usage=not is_streamed or options.get("include_usage") is True,
        uses_functions=bool(request.functions) and not request.tools,
    )


def writer(opening: Opening) -> Writer:
    return ChatWriter(opening)


def render(answer: Answer, opening: Opening) -> bytes:
    """A whole answer as JSON."""
    return chat_answer.render(answer, opening)


def problem(error: Exception, *, request_id: str) -> bytes:
    """The body of an error answer before the first byte."""
    return errors.openai(error, request_id=request_id)


class _Tools:
    """Functions, and tools of other types as they came: `custom`, `web_search`, any other."""

    def __init__(self, request: _Request) -> None:
        self.found: list[Tool] = []
        self.foreign: list[Raw] = []
        for place, raw in enumerate(request.tools or ()):
            self._take(raw, f"/tools/{place}")
        for place, raw in enumerate(() if request.tools else request.functions or ()):
            function = reading.decode(raw, _FUNCTION, at=f"/functions/{place}")
            self.found.append(_function(function, None))

    def _take(self, raw: Raw, at: str) -> None:
        try:
            tool = _TOOL.decode(raw)
        except msgspec.DecodeError:
            kind = reading.mapping(reading.loose(raw)).get("type", "function")
            if kind == "function":
                reading.decode(raw, _TOOL, at=at)
            tool = _Tool(type="")
        flat = tool if tool.name else None
        function = tool.function or (
            _Function(flat.name or "", flat.description, flat.parameters, flat.strict)
            if flat is not None
            else None
        )
        if tool.type == "function" and function is not None:
            self.found.append(_function(function, tool.cache_control))
        else:
            self.foreign.append(raw)


def _function(function: _Function, cache_control: object) -> Tool:
    given = function.parameters
    return Tool(
        name=function.name,
        description=function.description or "",
        parameters=given if reading.is_given(given) else reading.NO_PARAMETERS,
        strict=function.strict,
        cache=reading.cache_time(cache_control),
    )


class _Choice:
    """Which tool may be called. `is_whole`: our words say all that was asked."""

    def __init__(self, request: _Request) -> None:
        has_tools = bool(request.tools) or not request.functions
        raw = request.tool_choice if has_tools else request.function_call
        asked = reading.loose(raw)
        self.name = ""
        self.is_whole = True
        word = asked if isinstance(asked, str) else None
        if isinstance(asked, dict):
            word = self._object(asked)
        found = _MODES.get(word or "auto")
        self.is_whole = self.is_whole and found is not None
        self.mode: Mode = found or "auto"

    def _object(self, asked: dict[str, object]) -> str:
        kind = asked.get("type")
        named = reading.mapping(asked.get("function")) or asked
        if kind in ("function", "tool", None) and isinstance(named.get("name"), str):
            self.name = reading.text_of(named["name"])
            return "required"
        if kind == "allowed_tools":
            self.is_whole = False
            allowed = reading.mapping(asked.get("allowed_tools")) or asked
            return reading.text_of(allowed.get("mode"))
        return reading.text_of(kind)


class _Shape:
    """The form of the answer. `is_whole`: our words say all that was asked."""

    def __init__(self, raw: Raw) -> None:
        asked = reading.mapping(reading.loose(raw))
        self.found: ResponseFormat | None = None
        self.is_whole = True
        match asked.get("type"):
            case None | "text":
                pass
            case "json_object":
                self.found = ResponseFormat(strict=False)
            case "json_schema" if isinstance(asked.get("json_schema"), dict):
                outer = reading.decode(raw, _FORMAT, at="/response_format")
                self.found = _schema(outer["json_schema"])
            case _:
                self.is_whole = False


def _schema(raw: Raw) -> ResponseFormat:
    given = reading.decode(raw, _FORMAT, at="/response_format/json_schema")
    told = reading.mapping(reading.loose(raw))
    schema = given.get("schema", ABSENT)
    return ResponseFormat(
        name=reading.text_of(told.get("name")) or "answer",
        schema=schema if reading.is_given(schema) else None,
        strict=told.get("strict") is True,
    )


def _metadata(request: _Request) -> dict[str, str]:
    """OpenAI's `user` is what Anthropic calls `user_id`."""
    found = reading.strings(reading.loose(request.metadata))
    user = reading.loose(request.user)
    return found | {"user_id": user} if isinstance(user, str) and user else found


def _kept(request: _Request, choice: _Choice, shape: _Shape) -> set[str]:
    """Known members that say more than our call can."""
    effort, options = reading.loose(request.reasoning_effort), reading.loose(request.reasoning)
    metadata = reading.loose(request.metadata)
    is_sayable = reading.text_of(effort) in reading.SAYABLE_EFFORTS
    says_more = {
        "tool_choice": not choice.is_whole and bool(request.tools),
        "response_format": not shape.is_whole,
        "reasoning_effort": effort is not None and not is_sayable,
        "reasoning": not _is_plain(options),
        "metadata": len(reading.strings(metadata)) != len(reading.mapping(metadata)),
    }
    return {name for name, is_more in says_more.items() if is_more}


def _is_plain(options: object) -> bool:
    asked = reading.mapping(options)
    effort = reading.text_of(asked.get("effort"))
    is_sayable = asked.get("effort") is None or effort in reading.SAYABLE_EFFORTS
    return is_sayable and asked.keys() <= {"effort", "max_tokens", "enabled"}
