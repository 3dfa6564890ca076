"""The end of a vendor's own stream that was cut: what it left open is closed as incomplete."""

from __future__ import annotations

from typing import Final

from providers.gateway.dialects import responses_object as objects
from providers.gateway.dialects.responses_blocks import Events
from providers.gateway.dialects.responses_object import Item
from providers.gateway.dialects.wire import members, one_line
from providers.types import OpenItem, Raw, Unfinished

_SUMMARY: Final = "reasoning_summary_text"
_TEXTS: Final = ("output_text", "refusal")
_VALUES: Final = {"function_call_arguments": "arguments", "custom_tool_call_input": "input"}


def closed(begun: Unfinished, events: Events) -> tuple[bytes, list[object]]:
    """The events that close each open item, and all the output there was, in order."""
    output: dict[int, object] = {place: Raw(one_line(item)) for place, item in begun.output.items()}
    told = b""
    for place in sorted(begun.open_items):
        item = begun.open_items[place]
        told += _ended(item, place, events)
        output[place] = _item(item)
        told += events.item("done", place, output[place])
    return told, [output[place] for place in sorted(output)]


def _ended(item: OpenItem, place: int, events: Events) -> bytes:
    told = b""
    for number, text in _texts(item):
        told += _text_ended(item, place, number, text, events)
    return told


def _text_ended(item: OpenItem, place: int, number: int, text: str, events: Events) -> bytes:
    kind = f"response.{item.kind}.done"
    if item.kind in _VALUES:
        done: Item = {_VALUES[item.kind]: text}
        if item.kind == "function_call_arguments":
            done["name"] = members(item.item).get("name", "")
        return events.of_item(kind, place, item.id, done)
    if item.kind == _SUMMARY:
        at = {"summary_index": number}
        told = events.of_item(kind, place, item.id, at | {"text": text})
        part: Item = {"type": "summary_text", "text": text}
        done_kind = "response.reasoning_summary_part.done"
        return told + events.of_item(done_kind, place, item.id, at | {"part": part})
    if item.kind in _TEXTS:
        at, part = {"content_index": number}, _part(item.kind, text)
        done = at | ({"refusal": text} if item.kind == "refusal" else {"text": text})
        if item.kind == "output_text":
            done["logprobs"] = []
        told = events.of_item(kind, place, item.id, done)
        return told + events.of_item(
            "response.content_part.done", place, item.id, at | {"part": part}
        )
    return b""


def _item(item: OpenItem) -> Item:
    """The item with what was written of it."""
    found: Item = dict(members(item.item))
    texts = [text for _, text in _texts(item)]
    if item.kind in _VALUES:
        found[_VALUES[item.kind]] = "".join(texts)
    elif item.kind == _SUMMARY:
        found["summary"] = [{"type": "summary_text", "text": text} for text in texts]
    elif item.kind in _TEXTS:
        found["content"] = [_part(item.kind, text) for text in texts]
    if "status" in found or item.kind in _TEXTS:
        found["status"] = "incomplete"
    return found


def _texts(item: OpenItem) -> list[tuple[int, str]]:
    return [(number, "".join(item.texts[number])) for number in sorted(item.texts)]


def _part(kind: str, text: str) -> Item:
    return objects.refusal_part(text) if kind == "refusal" else objects.text_part(text)
