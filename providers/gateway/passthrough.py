"""The price in a vendor's own ending: one member put into its usage object, no other byte changed.

Usage is always told, asked for or not: a vendor of chat that counted nothing gets the figures of
the settlement in an event of our own before its `[DONE]`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from providers.types import DialectName, Passed, Unfinished, Usage

Raw = msgspec.Raw
_DATA: Final = re.compile(rb"^data:[ ]?(\{.*\})[ \t]*\r?$", re.MULTILINE)
_DONE: Final = re.compile(rb"^data:[ ]?\[DONE\]", re.MULTILINE)
_KEY: Final = re.compile(rb'"usage"\s*:\s*')


class _Counted(msgspec.Struct):
    usage: Raw = Raw(b"null")


class _Wrapped(msgspec.Struct):
    """The events of `responses` hold the whole answer."""

    response: _Counted = msgspec.field(default_factory=_Counted)


def priced(endings: Sequence[Passed], usage: Usage, dialect: DialectName) -> list[Passed]:
    """The events that end an answer with `usage.cost`, a decimal string, where it is known."""
    found = list(endings)
    told = [_has_usage(chunk.data, dialect) for chunk in found]
    if usage.cost_usd is not None:
        cost = b'"cost":"' + usage.cost_usd.encode() + b'"'
        found = [
            msgspec.structs.replace(chunk, data=_with(chunk.data, cost, dialect)) if has else chunk
            for chunk, has in zip(found, told, strict=True)
        ]
    if found and dialect is DialectName.CHAT and not any(told):
        return [_counted(chunk, usage) for chunk in found]
    return found


def _has_usage(data: bytes, dialect: DialectName) -> bool:
    return any(_usage_of(event[1], dialect) is not None for event in _DATA.finditer(data))


def _with(data: bytes, member: bytes, dialect: DialectName) -> bytes:
    return _DATA.sub(
        lambda event: event[0].replace(event[1], _inserted(event[1], member, dialect)), data
    )


def _inserted(event: bytes, member: bytes, dialect: DialectName) -> bytes:
    """The event's JSON with `member` in its usage object.

    Other objects of the same name may lie elsewhere in it (metadata, tool schemas): the right one
    is that whose change the decoder sees.
    """
    usage = _usage_of(event, dialect)
    if usage is None:
        return event
    inner = usage[1:-1].strip()
    wanted = b"{" + inner + (b"," if inner else b"") + member + b"}"
    for key in reversed(list(_KEY.finditer(event))):
        begin = key.end()
        if event[begin : begin + len(usage)] != usage:
            continue
        changed = event[:begin] + wanted + event[begin + len(usage) :]
        if _usage_of(changed, dialect) == wanted:
            return changed
    return event


def _usage_of(event: bytes, dialect: DialectName) -> bytes | None:
    """The usage object at its place, as it is written; None where there is none."""
    try:
        if dialect is DialectName.RESPONSES:
            raw = msgspec.json.decode(event, type=_Wrapped).response.usage
        else:
            raw = msgspec.json.decode(event, type=_Counted).usage
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
    text = bytes(raw)
    return text if text.startswith(b"{") else None


def _counted(chunk: Passed, usage: Usage) -> Passed:
    """The same bytes with an event that tells the usage before the end."""
    done = _DONE.search(chunk.data)
    if done is None:
        return chunk
    event = b"data: " + _chat_usage(chunk.unfinished, usage) + b"\n\n"
    data = chunk.data[: done.start()] + event + chunk.data[done.start() :]
    return msgspec.structs.replace(chunk, data=data)


def _chat_usage(unfinished: Unfinished, usage: Usage) -> bytes:
    tokens = usage.tokens
    counted: dict[str, object] = {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.total,
    }
    if usage.cost_usd is not None:
        counted["cost"] = usage.cost_usd
    return msgspec.json.encode(
        {
            "id": unfinished.answer_id,
            "object": "chat.completion.chunk",
            "created": unfinished.created_s,
            "model": unfinished.model,
            "choices": [],
            "usage": counted,
        }
    )
