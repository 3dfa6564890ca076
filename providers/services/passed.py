"""What a vendor said in a stream that was passed on unread: its events as parts of an answer.

Pure and lenient: an event that cannot be read is left out, a cut answer gives what there was.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import msgspec

from ideplatform.kit.egress import AnswerTooLarge
from ideplatform.kit.egress.sse import SseParser
from providers.types import (
    AnyPart,
    DialectName,
    RefusalPart,
    TextPart,
    ThinkingPart,
    ToolUsePart,
)

_MAX_LINE_BYTES: Final = 64 * 1024 * 1024


@dataclass(slots=True)
class _Block:
    """One part of the answer while it grows."""

    kind: str
    pieces: list[str] = field(default_factory=list)
    id: str = ""
    name: str = ""
    signature: str = ""

    def part(self) -> AnyPart:
        text = "".join(self.pieces)
        match self.kind:
            case "tool":
                return ToolUsePart(id=self.id, name=self.name, arguments=text)
            case "thinking":
                return ThinkingPart(text=text, signature=self.signature)
            case "refusal":
                return RefusalPart(text=text)
        return TextPart(text=text)


Blocks = dict[tuple[str, object], _Block]


def parts_of(dialect: DialectName, data: bytes) -> tuple[AnyPart, ...]:
    """The parts of the answer in `data`, whole server-sent events of one dialect."""
    blocks: Blocks = {}
    read = _READERS[dialect]
    for event in _events(data):
        try:
            read(blocks, event)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            continue
    return tuple(block.part() for block in blocks.values() if block.pieces or block.name)


def _events(data: bytes) -> Iterator[bytes]:
    try:
        yield from (event.data for event in SseParser(max_line_bytes=_MAX_LINE_BYTES).feed(data))
    except AnswerTooLarge:
        return


def _grow(blocks: Blocks, kind: str, place: object, text: str | None) -> _Block:
    block = blocks.setdefault((kind, place), _Block(kind))
    if text:
        block.pieces.append(text)
    return block


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolDelta(msgspec.Struct):
    index: int = 0
    id: str | None = None
    function: _Function | None = None


class _ChatDelta(msgspec.Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[_ToolDelta] | None = None


class _Choice(msgspec.Struct):
    index: int = 0
    delta: _ChatDelta | None = None


class _ChatEvent(msgspec.Struct):
    choices: list[_Choice] | None = None


def _chat(blocks: Blocks, data: bytes) -> None:
    for choice in msgspec.json.decode(data, type=_ChatEvent).choices or ():
        delta = choice.delta
        if choice.index or delta is None:
            continue
        for kind, text in (
            ("thinking", delta.reasoning_content or delta.reasoning),
            ("text", delta.content),
            ("refusal", delta.refusal),
        ):
            if text:
                _grow(blocks, kind, 0, text)
        for call in delta.tool_calls or ():
            _chat_call(blocks, call)


def _chat_call(blocks: Blocks, call: _ToolDelta) -> None:
    """Some servers leave every index at 0 and tell calls apart by their id alone."""
    held = blocks.get(("tool", call.index))
    if held is not None and call.id and held.id and call.id != held.id:
        blocks["tool", held.id] = blocks.pop(("tool", call.index))
    function = call.function or _Function()
    block = _grow(blocks, "tool", call.index, function.arguments)
    block.id = call.id or block.id
    block.name = function.name or block.name


class _Block0(msgspec.Struct):
    type: str = ""
    id: str | None = None
    name: str | None = None
    text: str | None = None
    thinking: str | None = None


class _MessageDelta(msgspec.Struct):
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None


class _MessageEvent(msgspec.Struct):
    type: str = ""
    index: int = 0
    content_block: _Block0 | None = None
    delta: _MessageDelta | None = None


_BLOCKS: Final = {"text": "text", "thinking": "thinking", "tool_use": "tool"}


def _messages(blocks: Blocks, data: bytes) -> None:
    event = msgspec.json.decode(data, type=_MessageEvent)
    if event.type == "content_block_start" and event.content_block is not None:
        begun = event.content_block
        if begun.type in _BLOCKS:
            block = _grow(blocks, "block", event.index, begun.text or begun.thinking)
            block.kind = _BLOCKS[begun.type]
            block.id, block.name = begun.id or "", begun.name or ""
    elif event.type == "content_block_delta" and event.delta is not None:
        held = blocks.get(("block", event.index))
        delta = event.delta
        if held is not None:
            held.pieces.append(delta.text or delta.thinking or delta.partial_json or "")
            held.signature = delta.signature or held.signature


class _Content(msgspec.Struct):
    type: str = ""
    text: str | None = None
    refusal: str | None = None


class _Item(msgspec.Struct):
    type: str = ""
    call_id: str | None = None
    name: str | None = None
    arguments: str | None = None
    input: str | None = None
    content: list[_Content] | None = None
    summary: list[_Content] | None = None


class _ResponseEvent(msgspec.Struct):
    type: str = ""
    output_index: int = 0
    delta: str | None = None
    item: _Item | None = None


def _responses(blocks: Blocks, data: bytes) -> None:
    """A whole item replaces what its deltas had told."""
    event = msgspec.json.decode(data, type=_ResponseEvent)
    place = event.output_index
    if event.type == "response.output_text.delta":
        _grow(blocks, "text", place, event.delta)
    elif event.type == "response.output_item.done" and event.item is not None:
        _item(blocks, place, event.item)


def _item(blocks: Blocks, place: int, item: _Item) -> None:
    blocks.pop(("text", place), None)
    match item.type:
        case "message":
            for content in item.content or ():
                kind = "refusal" if content.type == "refusal" else "text"
                _grow(blocks, kind, place, content.text or content.refusal)
        case "reasoning":
            for content in item.summary or ():
                _grow(blocks, "thinking", place, content.text)
        case "function_call" | "custom_tool_call":
            block = _grow(blocks, "tool", place, item.arguments or item.input)
            block.id, block.name = item.call_id or "", item.name or ""


_READERS: Final[dict[DialectName, Callable[[Blocks, bytes], None]]] = {
    DialectName.CHAT: _chat,
    DialectName.MESSAGES: _messages,
    DialectName.RESPONSES: _responses,
}
