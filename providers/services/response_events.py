"""Server-sent events of stored responses, as bytes. Pure.

An event is `event: <type>`, `data: <JSON on one line>` and an empty line. The last one of a stream
holds the whole Response object.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

import msgspec

from providers.types import Raw, ResponseState

encode: Final = msgspec.json.Encoder().encode
_members: Final = msgspec.json.Decoder(dict[str, Raw])
_FAULTS: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_TERMINAL: Final = ("response.completed", "response.incomplete", "response.failed")
_ID: Final = re.compile(r"[!-~]{1,200}")  # what a row keeps of a vendor's ids
ITEM_DONE: Final = b"event: response.output_item.done\n"
LOST: Final = "The server stopped while it was answering"


class _Item(msgspec.Struct):
    id: str | None = None


class _Answer(msgspec.Struct):
    status: str = ""
    output: list[_Item] = []


class _Event(msgspec.Struct):
    type: str = ""
    sequence_number: int = -1
    response: Raw = Raw(b"")


class _Output(msgspec.Struct):
    output: list[Raw] = []


class _Done(msgspec.Struct):
    item: Raw = Raw(b"null")


_event: Final = msgspec.json.Decoder(_Event)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """What a terminal event says: the state, the object as JSON, the ids of its output items."""

    state: ResponseState
    answer: bytes
    item_ids: tuple[str, ...]


@dataclass(slots=True, kw_only=True)
class Event:
    """One event as its client gets it; `ended` is set in the last one."""

    data: bytes
    ended: Ended | None = None


def split(data: bytes) -> Iterator[bytes]:
    """Whole events, each with its empty line; what is cut is left out."""
    if b"\r" in data:
        data = data.replace(b"\r\n", b"\n")
    begin = 0
    while (end := data.find(b"\n\n", begin)) >= 0:
        yield data[begin : end + 2]
        begin = end + 2


def numbered(data: bytes, number: int, own: Mapping[str, Raw]) -> Event | None:
    """An event under our number, its Response object with our members `own`.

    Bytes that say so already stay as they are. None for what is no event: comments, `[DONE]`.
    """
    payload = _payload(data)
    try:
        event = _event.decode(payload)
    except _FAULTS:
        return None
    answer = event.response
    if bytes(answer).startswith(b"{") and not _is_own(answer, own):
        answer = Raw(encode({**_members.decode(answer), **own}))
    if event.sequence_number != number or answer is not event.response:
        members = _members.decode(payload)
        if answer is not event.response:
            members["response"] = answer
        data = _written(event.type, members | {"sequence_number": Raw(b"%d" % number)})
    is_last = event.type in _TERMINAL
    return Event(data=data, ended=ended(bytes(answer)) if is_last else None)


def _is_own(answer: Raw, own: Mapping[str, Raw]) -> bool:
    return _encoded_id(answer) == bytes(own["id"])


def _encoded_id(answer: Raw) -> bytes:
    return encode(item_id(answer))


def ended(answer: bytes) -> Ended:
    """What a whole Response object says of its end."""
    told = msgspec.json.decode(answer, type=_Answer)
    known = {state.value: state for state in ResponseState if state.is_over}
    return Ended(
        state=known.get(told.status, ResponseState.FAILED),
        answer=answer,
        item_ids=tuple(item.id for item in told.output if item.id and _ID.fullmatch(item.id)),
    )


def renumbered(data: bytes, number: int) -> bytes:
    """A stored event under another number."""
    members = _members.decode(_payload(data))
    kind = msgspec.json.decode(members["type"], type=str)
    return _written(kind, members | {"sequence_number": Raw(b"%d" % number)})


def terminal(answer: bytes, number: int, state: ResponseState, items: list[Raw]) -> Event:
    """The last event of a response whose process cannot say it any more."""
    members: dict[str, object] = dict(_members.decode(answer))
    members |= {"status": state.value, "output": items}
    kind = "response.incomplete"
    if state is ResponseState.FAILED:
        kind = "response.failed"
        members["error"] = {"code": "server_error", "message": LOST}
    whole = encode(members)
    event = _written(kind, {"response": Raw(whole), "sequence_number": Raw(b"%d" % number)})
    return Event(data=event, ended=ended(whole))


def with_status(answer: bytes, state: ResponseState) -> bytes:
    """The object of a response that goes on, in its present state."""
    return encode(_members.decode(answer) | {"status": Raw(encode(state.value))})


def output(answer: bytes) -> list[Raw]:
    """The output items of a Response object."""
    return msgspec.json.decode(answer, type=_Output).output


def item_of(data: bytes) -> Raw:
    """The item of an `output_item.done` event."""
    return msgspec.json.decode(_payload(data), type=_Done).item


def item_id(item: Raw) -> str:
    """The id of an item; empty when it has none."""
    try:
        return msgspec.json.decode(item, type=_Item).id or ""
    except _FAULTS:
        return ""


def _payload(data: bytes) -> bytes:
    """The JSON of an event: its `data` lines, joined; nearly always the one that ends it."""
    begin = data.find(b"\ndata: ") + 7
    if begin >= 7 and data.find(b"\n", begin) == len(data) - 2:
        return data[begin:-2]
    lines = [line[5:] for line in data.split(b"\n") if line.startswith(b"data:")]
    return b"\n".join(lines)


def _written(kind: str, members: Mapping[str, Raw]) -> bytes:
    whole = {"type": Raw(encode(kind)), **members}
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), encode(whole))
