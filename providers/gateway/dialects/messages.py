"""Anthropic's messages as a client dialect."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal
from uuid import UUID

import msgspec

from providers.gateway.dialects import errors, messages_answer, messages_content, reading
from providers.gateway.dialects.contract import Answer, Asked, Opening, Writer
from providers.gateway.dialects.messages_writer import MessagesWriter
from providers.gateway.dialects.reading import ABSENT, Count, Name
from providers.types import (
    Call,
    CallContext,
    DialectName,
    Message,
    ResponseFormat,
    Source,
    Tool,
)

NAME: Final = DialectName.MESSAGES
TRAVELLING: Final = ("anthropic-beta", "anthropic-version")
Raw = msgspec.Raw
Mode = Literal["auto", "required", "none"]

_KNOWN: Final = frozenset(
    {
        "model",
        "messages",
        "system",
        "stream",
        "max_tokens",
        "temperature",
        "top_p",
        "stop_sequences",
        "tools",
        "tool_choice",
        "metadata",
        "thinking",
        "output_config",
        "output_format",
    }
)
_MODES: Final[dict[str, Mode]] = {
    "auto": "auto",
    "any": "required",
    "tool": "required",
    "none": "none",
}


class _Request(msgspec.Struct):
    """`max_tokens` may be missing where tokens are counted; the gateway sets it elsewhere."""

    model: Name
    messages: list[Raw]
    system: str | list[Raw] | None = None
    stream: bool | None = None
    max_tokens: Count | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop_sequences: list[str] | None = None
    tools: list[Raw] | None = None
    tool_choice: Raw = ABSENT
    metadata: Raw = ABSENT
    thinking: Raw = ABSENT
    output_config: Raw = ABSENT
    output_format: Raw = ABSENT


class _Tool(msgspec.Struct):
    name: str
    type: str | None = None
    description: str | None = None
    input_schema: Raw = ABSENT
    strict: bool | None = None
    cache_control: object = None


class _Format(msgspec.Struct):
    type: str | None = None
    schema: Raw = ABSENT


class _OutputConfig(msgspec.Struct):
    format: _Format | None = None


_REQUEST: Final = msgspec.json.Decoder(_Request)
_TOOL: Final = msgspec.json.Decoder(_Tool)
_FORMAT: Final = msgspec.json.Decoder(_Format | None)
_OUTPUT: Final = msgspec.json.Decoder(_OutputConfig | None)


def read(
    body: bytes, *, headers: Mapping[str, str], request_id: UUID, context: CallContext
) -> Asked:
    """The request; see `contract.Dialect`."""
    given = reading.members(body)
    request = reading.decode(body, _REQUEST)
    system, messages = _system(request)
    tools, foreign = _tools(request)
    choice = reading.mapping(reading.loose(request.tool_choice))
    is_streamed = request.stream is True
    call = Call(
        request_id=request_id,
        context=context,
        model=request.model,
        system=system,
        messages=messages,
        tools=tools,
        server_tools=foreign,
        tool_choice=_MODES.get(reading.text_of(choice.get("type")), "auto"),
        tool_name=reading.text_of(choice.get("name")),
        parallel_tools=choice.get("disable_parallel_tool_use") is not True,
        max_output_tokens=request.max_tokens,
        temperature=request.temperature,
        top_p=request.top_p,
        stop=tuple(request.stop_sequences or ()),
        reasoning=reading.reasoning(effort=_effort(request), thinking=_thinking(request)),
        response_format=_format(request),
        metadata=reading.strings(reading.loose(request.metadata)),
        extra=reading.unsaid(given, _KNOWN, kept=_kept(request, choice)),
        source=Source(
            dialect=NAME,
            body=body,
            headers={name: headers[name] for name in TRAVELLING if name in headers},
            is_streamed=is_streamed,
        ),
    )
    return Asked(call=call, is_streamed=is_streamed)


def writer(opening: Opening) -> Writer:
    return MessagesWriter(opening)


def render(answer: Answer, opening: Opening) -> bytes:
    """A whole answer as JSON."""
    return messages_answer.render(answer, opening)


def problem(error: Exception, *, request_id: str) -> bytes:
    """The body of an error answer before the first byte."""
    return errors.anthropic(error, request_id=request_id)


def _system(request: _Request) -> tuple[str, tuple[Message, ...]]:
    """The system text and the messages; blocks, with their cache marks, are the first of these."""
    messages = messages_content.read(request.messages)
    if isinstance(request.system, list):
        leading = Message(role="system", parts=messages_content.system(request.system))
        return "", (leading, *messages)
    return request.system or "", messages


def _tools(request: _Request) -> tuple[tuple[Tool, ...], tuple[Raw, ...]]:
    """Tools of the client's, typed `custom` or not at all, and others as they came."""
    own: list[Tool] = []
    foreign: list[Raw] = []
    for place, raw in enumerate(request.tools or ()):
        tool = _own_tool(raw, f"/tools/{place}")
        if tool is None:
            foreign.append(raw)
        else:
            own.append(tool)
    return tuple(own), tuple(foreign)


def _own_tool(raw: Raw, at: str) -> Tool | None:
    told = reading.loose(raw)
    if isinstance(told, dict) and told.get("type") not in (None, "custom"):
        return None
    tool = reading.decode(raw, _TOOL, at=at)
    schema = tool.input_schema
    return Tool(
        name=tool.name,
        description=tool.description or "",
        parameters=schema if reading.is_given(schema) else reading.NO_PARAMETERS,
        strict=tool.strict,
        cache=reading.cache_time(tool.cache_control),
    )


def _output(request: _Request) -> dict[str, object]:
    return reading.mapping(reading.loose(request.output_config))


def _effort(request: _Request) -> object:
    return _output(request).get("effort")


def _thinking(request: _Request) -> object:
    return reading.loose(request.thinking)


def _format(request: _Request) -> ResponseFormat | None:
    """The form of the answer, in today's place or in the beta's."""
    wanted: _Format | None = None
    if reading.is_given(request.output_config):
        config = reading.decode(request.output_config, _OUTPUT, at="/output_config")
        wanted = config.format if config is not None else None
    if wanted is None and reading.is_given(request.output_format):
        wanted = reading.decode(request.output_format, _FORMAT, at="/output_format")
    if wanted is None or wanted.type != "json_schema":
        return None
    return ResponseFormat(schema=wanted.schema if reading.is_given(wanted.schema) else None)


def _kept(request: _Request, choice: dict[str, object]) -> set[str]:
    """Known members that say more than our call can."""
    config, thinking = _output(request), reading.mapping(_thinking(request))
    form = reading.mapping(config.get("format"))
    says_more = {
        "tool_choice": bool(choice) and reading.text_of(choice.get("type")) not in _MODES,
        "thinking": thinking.get("type") not in (None, "enabled", "adaptive", "disabled")
        or "display" in thinking,
        "output_config": not config.keys() <= {"effort", "format"}
        or config.get("effort") not in (None, *reading.SAYABLE_EFFORTS)
        or form.get("type") not in (None, "json_schema"),
        "metadata": not reading.mapping(reading.loose(request.metadata)).keys() <= {"user_id"},
    }
    return {name for name, is_more in says_more.items() if is_more}
