"""The `responses` dialect of OpenAI's clients; `responses_writer` says the answer.

What only OpenAI understands travels along: unknown items and content as OpaquePart, its own tools
as `server_tools`, unknown members as `extra`, the whole body as `source`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Final
from uuid import UUID

import msgspec

from ideplatform.kit.errors import PlatformError
from providers.gateway.dialects import errors, fields, reading, responses_signed
from providers.gateway.dialects import responses_items as items_of
from providers.gateway.dialects import responses_tools as tools_of
from providers.gateway.dialects.contract import Answer, Asked, Opening, Writer
from providers.gateway.dialects.fields import Fields
from providers.gateway.dialects.responses_answer import render as _render
from providers.gateway.dialects.responses_writer import ResponsesWriter
from providers.gateway.dialects.wire import encode
from providers.types import (
    Call,
    CallContext,
    DialectName,
    Level,
    Raw,
    Reasoning,
    ResponseFormat,
    Source,
    ThinkingPart,
    Tool,
)

NAME: Final = DialectName.RESPONSES
_SENT_ON: Final = ("openai-beta",)
_LEVELS: Final[dict[str, Level]] = {
    "none": "off",
    "minimal": "minimal",
    "low": "low",
    "medium": "medium",
    "high": "high",
    "xhigh": "high",
}
# The members that OpenAI repeats in every Response object.
ECHOED: Final = (
    "instructions",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "parallel_tool_calls",
    "prompt_cache_key",
    "reasoning",
    "safety_identifier",
    "service_tier",
    "temperature",
    "text",
    "tool_choice",
    "tools",
    "top_logprobs",
    "top_p",
    "truncation",
    "user",
)
_WITHOUT_INPUT: Final = ("prompt", "conversation")


class _Reasoning(msgspec.Struct):
    effort: str | None = None


class _Format(msgspec.Struct):
    type: str = "text"
    name: str | None = None
    schema: Raw = fields.NULL
    strict: bool | None = None


class _Text(msgspec.Struct):
    format: _Format | None = None


class _Choice(msgspec.Struct):
    type: str | None = None
    name: str | None = None
    namespace: str | None = None
    mode: str | None = None
    tools: list[_Choice] | None = None
    function: _Choice | None = None


class _Reference(msgspec.Struct):
    type: str | None = None
    id: str | None = None
    encrypted_content: str | None = None


def read(
    body: bytes, *, headers: Mapping[str, str], request_id: UUID, context: CallContext
) -> Asked:
    """The request; see `contract.Dialect.read`."""
    members = reading.members(body)
    sent = {name: headers[name] for name in _SENT_ON if name in headers}
    return _asked(members, body, headers=sent, request_id=request_id, context=context)


def writer(opening: Opening) -> Writer:
    return ResponsesWriter(opening)


def render(answer: Answer, opening: Opening) -> bytes:
    """The whole Response object."""
    return _render(answer, opening)


def problem(error: PlatformError, *, request_id: str) -> bytes:
    return errors.openai(error, request_id=request_id)


def own_items(asked: Asked, *, referenced: Mapping[str, Raw]) -> tuple[Raw, ...]:
    """The request's own input items, references replaced by what they refer to."""
    return tuple(referenced.get(_referred(item), item) for item in asked.items)


def references(asked: Asked) -> tuple[str, ...]:
    """The ids of earlier output items that the request refers to."""
    return tuple(found for item in asked.items if (found := _referred(item)))


def continued(asked: Asked, *, history: Sequence[Raw] = (), referenced: Mapping[str, Raw]) -> Asked:
    """The request with what it only pointed at: the items of `previous_response_id`, references.

    Its body is that of a request which brought them itself, so any vendor can have it.
    """
    call = asked.call
    if call.source is None:
        return asked
    members = reading.members(call.source.body)
    members.pop("previous_response_id", None)
    items = (*history, *own_items(asked, referenced=referenced))
    members["input"] = Raw(encode(items))
    found = _asked(
        members,
        encode(members),
        headers=call.source.headers,
        request_id=call.request_id,
        context=call.context,
    )
    return dataclasses.replace(
        found, previous_response_id=asked.previous_response_id, items=asked.items
    )


def _referred(item: Raw) -> str:
    """The id in an item that is a reference, else nothing."""
    if b"item_reference" not in bytes(item):
        return ""
    found = fields.decoded(item, _Reference, at="/input")
    return (found.id or "") if found.type == "item_reference" else ""


def _readable(members: Mapping[str, Raw], body: bytes, items: Sequence[Raw]) -> bytes:
    """The body for a vendor of this dialect: reasoning that we sealed as its maker knows it."""
    if responses_signed.PREFIX.encode() not in body:
        return body
    kept = [found for item in items if (found := _unsealed(item)) is not None]
    return encode({**members, "input": Raw(encode(kept))})


def _unsealed(item: Raw) -> Raw | None:
    """None for another vendor's reasoning, which OpenAI would refuse."""
    found = fields.decoded(item, _Reference, at="/input")
    if found.type != "reasoning" or not found.encrypted_content:
        return item
    match responses_signed.opened(found.encrypted_content):
        case None:
            return item
        case ThinkingPart(signature=signature) if responses_signed.SEPARATOR in signature:
            name, _, encrypted = signature.partition(responses_signed.SEPARATOR)
            own = {"type": "reasoning", "id": name, "summary": [], "encrypted_content": encrypted}
            return Raw(encode(own))
    return None


def _asked(
    members: Mapping[str, Raw],
    body: bytes,
    *,
    headers: dict[str, str],
    request_id: UUID,
    context: CallContext,
) -> Asked:
    given = Fields(members)
    model = given.take("model", str, "")
    is_stored = given.take("store", bool, True)
    in_background = given.take("background", bool, False)
    previous = given.take("previous_response_id", str, "")
    is_streamed = given.take("stream", bool, False)
    limit = given.take("max_output_tokens", int | None, None)  # type: ignore[arg-type]  # a union
    samples = [given.take(name, float | None, None) for name in ("temperature", "top_p")]  # type: ignore[arg-type]
    is_parallel = given.take("parallel_tool_calls", bool, True)
    session = given.take("prompt_cache_key", str, "")
    listed = given.take("tools", list[Raw], [])
    raw_input, instructions = given.raw("input"), given.raw("instructions")
    metadata = _metadata(given)
    wanted = _format(given)
    level = _level(given)
    choice = given.raw("tool_choice")
    given.check()
    _require(model, raw_input, previous, members, limit, in_background and not is_stored)
    items = items_of.listed(raw_input)
    system, opening = _instructions(instructions)
    tools = tools_of.read(
        [*((f"/tools/{n}", raw) for n, raw in enumerate(listed)), *items_of.tools_in(items)]
    )
    chosen = _chosen(choice, tools)
    call = Call(
        request_id=request_id,
        context=context,
        model=model,
        system=system,
        messages=items_of.messages((*opening, *items), tools.names),
        tools=chosen.tools,
        tool_choice=chosen.choice,
        tool_name=chosen.name,
        server_tools=tools.server_tools,
        parallel_tools=is_parallel,
        max_output_tokens=limit,
        temperature=samples[0],
        top_p=samples[1],
        reasoning=Reasoning(level=level),
        response_format=wanted,
        metadata=metadata,
        session=session,
        extra=_extra(given.rest, members, choice, chosen),
        source=Source(
            dialect=NAME,
            body=_readable(members, body, items),
            headers=headers,
            is_streamed=is_streamed,
        ),
    )
    return Asked(
        call=call,
        is_streamed=is_streamed,
        is_stored=is_stored,
        in_background=in_background,
        previous_response_id=previous,
        tool_names=tools.names.by_flat,
        echo={name: members[name] for name in ECHOED if name in members},
        items=items,
    )


def _require(
    model: str,
    raw_input: Raw | None,
    previous: str,
    members: Mapping[str, Raw],
    limit: int | None,
    is_lost_background: bool,
) -> None:
    if not model:
        raise fields.fault("/model", "say which model is to answer")
    if raw_input is None and not previous and not any(name in members for name in _WITHOUT_INPUT):
        raise fields.fault("/input", "there is nothing to answer")
    if limit is not None and limit < 1:
        raise fields.fault("/max_output_tokens", "this is a positive number")
    if is_lost_background:
        raise fields.fault("/background", "what runs in the background must be stored")


def _metadata(given: Fields) -> dict[str, str]:
    found = given.take("metadata", dict[str, Raw], {})
    texts: dict[str, str] = {}
    for name, raw in found.items():
        if bytes(raw).startswith(b'"'):
            texts[name] = fields.decoded(raw, str, at=f"/metadata/{name}")
    user = given.take("user", str, "") or given.take("safety_identifier", str, "")
    return texts | ({"user_id": user} if user else {})


def _format(given: Fields) -> ResponseFormat | None:
    found = given.take("text", _Text, _Text()).format
    if found is None or found.type not in ("json_object", "json_schema"):
        return None
    if found.type == "json_object":
        return ResponseFormat(schema=None)
    schema = None if fields.is_null(found.schema) else found.schema
    return ResponseFormat(name=found.name or "answer", schema=schema, strict=bool(found.strict))


def _level(given: Fields) -> Level:
    if "reasoning" not in given.rest or fields.is_null(given.rest["reasoning"]):
        return "off"
    effort = given.take("reasoning", _Reasoning, _Reasoning()).effort
    return _LEVELS.get(effort or "", "auto")


def _instructions(raw: Raw | None) -> tuple[str, tuple[Raw, ...]]:
    """A text is the system's; items go before the input."""
    if raw is None:
        return "", ()
    if bytes(raw).startswith(b'"'):
        return fields.decoded(raw, str, at="/instructions"), ()
    return "", tuple(fields.decoded(raw, list[Raw], at="/instructions"))


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class _Chosen:
    tools: tuple[Tool, ...]
    choice: tools_of.Choice = "auto"
    name: str = ""
    is_said: bool = True


def _chosen(raw: Raw | None, offered: tools_of.Offered) -> _Chosen:
    """`tool_choice` in our words, as far as they go (`is_said`)."""
    if raw is None:
        return _Chosen(tools=offered.tools)
    if bytes(raw).startswith(b'"'):
        word = fields.decoded(raw, str, at="/tool_choice")
        is_known = word in ("auto", "required", "none")
        return _Chosen(
            tools=offered.tools,
            choice=word if is_known else "auto",  # type: ignore[arg-type]  # narrowed by the tuple
            is_said=is_known,
        )
    choice = fields.decoded(raw, _Choice, at="/tool_choice")
    if choice.type == "allowed_tools":
        return _allowed(choice, offered)
    name = _named(choice, offered)
    return _Chosen(tools=offered.tools, name=name, is_said=bool(name))


def _allowed(choice: _Choice, offered: tools_of.Offered) -> _Chosen:
    names = {_named(tool, offered) for tool in choice.tools or ()}
    return _Chosen(
        tools=tuple(tool for tool in offered.tools if tool.name in names),
        choice="required" if choice.mode == "required" else "auto",
    )


def _named(choice: _Choice, offered: tools_of.Offered) -> str:
    """The function that a choice names, by the call's name for it."""
    if choice.type not in ("function", "custom"):
        return ""
    name = choice.name or (choice.function.name if choice.function else None) or ""
    return offered.names.flat(choice.namespace or "", name)


def _extra(
    rest: Mapping[str, Raw], members: Mapping[str, Raw], choice: Raw | None, chosen: _Chosen
) -> dict[str, Raw]:
    """What our words do not say."""
    extra = {name: raw for name, raw in rest.items() if name != "stream_options"}
    if choice is not None and not chosen.is_said:
        extra["tool_choice"] = choice
    for name in ("prompt_cache_key", "reasoning", "text"):
        if name in members and _says_more(name, members[name]):
            extra[name] = members[name]
    return extra


def _says_more(name: str, raw: Raw) -> bool:
    """Whether a member that was read holds more than what was read of it."""
    if name == "prompt_cache_key":
        return True
    known = "effort" if name == "reasoning" else "format"
    return not fields.is_null(raw) and set(fields.decoded(raw, dict[str, Raw], at="")) != {known}
