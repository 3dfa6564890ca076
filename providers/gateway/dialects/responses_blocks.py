"""Open output items of a streamed response, and the events that they make."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Protocol

from providers.gateway.dialects import responses_object as objects
from providers.gateway.dialects.contract import ToolName
from providers.gateway.dialects.responses_object import Item
from providers.gateway.dialects.wire import encode
from providers.types import Citation

_REFUSAL: Final = -1  # a refusal has no index of its own


class Events:
    """Numbers the events. `count` is the next one's number."""

    def __init__(self) -> None:
        self.count = 0

    def event(self, kind: str, members: bytes) -> bytes:
        """One event; `members` is the inside of its JSON object."""
        number, self.count = self.count, self.count + 1
        name = kind.encode()
        return b'event: %b\ndata: {"type":"%b",%b,"sequence_number":%d}\n\n' % (
            name, name, members, number)  # fmt: skip

    def item(self, moment: str, place: int, item: object) -> bytes:
        """`response.output_item.added` or `.done`."""
        members = b'"output_index":%d,"item":%b' % (place, encode(item))
        return self.event(f"response.output_item.{moment}", members)

    def of_item(self, kind: str, place: int, item_id: str, more: Mapping[str, object]) -> bytes:
        """An event that belongs to an item."""
        at: Item = {"item_id": item_id, "output_index": place}
        return self.event(kind, encode({**at, **more})[1:-1])

    def lead(self, kind: str, at: Item) -> bytes:
        """What comes before the text of a delta; `delta` says the rest."""
        name = kind.encode()
        return b'event: %b\ndata: {"type":"%b",%b,"delta":' % (name, name, encode(at)[1:-1])

    def delta(self, lead: bytes, text: str, tail: bytes) -> bytes:
        """One delta: the only event that is said for every token."""
        number = self.count
        self.count = number + 1
        return b'%b%b%b"sequence_number":%d}\n\n' % (lead, encode(text), tail, number)


class Block(Protocol):
    """An output item that is open."""

    place: int

    def begin(self, events: Events) -> bytes: ...

    def end(self, events: Events, *, status: str) -> bytes: ...

    def item(self, *, status: str) -> Item:
        """The item as it is by now."""
        ...


class Message:
    """What the model says: texts and refusals. `key` is the chunk index of the open part."""

    def __init__(self, place: int, item_id: str) -> None:
        self.place = place
        self.key: int | None = None
        self._id = item_id
        self._content: list[Item] = []
        self._pieces: list[str] = []
        self._annotations: list[Item] = []
        self._size = 0
        self._lead = self._tail = b""

    def begin(self, events: Events) -> bytes:
        return events.item("added", self.place, self.item(status="in_progress"))

    def open_text(self, index: int, events: Events) -> bytes:
        told = self._close_part(events)
        self.key = index
        return told + self._open_part(events, "output_text", b',"logprobs":[],')

    def open_refusal(self, events: Events) -> bytes:
        if self.key == _REFUSAL:
            return b""
        told = self._close_part(events)
        self.key = _REFUSAL
        return told + self._open_part(events, "refusal", b",")

    def delta(self, text: str, events: Events) -> bytes:
        self._pieces.append(text)
        return events.delta(self._lead, text, self._tail)

    def cite(self, citation: Citation, events: Events) -> bytes:
        """A source of the part's text so far."""
        end = sum(map(len, self._pieces))
        found = objects.annotation(citation, self._size, end)
        self._size = end
        self._annotations.append(found)
        number = len(self._annotations) - 1
        more: Item = {
            "content_index": self._number,
            "annotation_index": number,
            "annotation": found,
        }
        kind = "response.output_text.annotation.added"
        return events.of_item(kind, self.place, self._id, more)

    def end(self, events: Events, *, status: str) -> bytes:
        told = self._close_part(events)
        return told + events.item("done", self.place, self.item(status=status))

    def item(self, *, status: str) -> Item:
        open_part = [] if self.key is None else [self._part()]
        return objects.message(self._id, [*self._content, *open_part], status=status)

    @property
    def _number(self) -> int:
        return len(self._content)

    def _at(self) -> Item:
        return {"item_id": self._id, "output_index": self.place, "content_index": self._number}

    def _part(self) -> Item:
        text = "".join(self._pieces)
        if self.key == _REFUSAL:
            return objects.refusal_part(text)
        return objects.text_part(text, list(self._annotations))

    def _open_part(self, events: Events, kind: str, tail: bytes) -> bytes:
        self._pieces, self._annotations, self._size = [], [], 0
        self._lead = events.lead(f"response.{kind}.delta", self._at())
        self._tail = tail
        more: Item = {"content_index": self._number, "part": self._part()}
        return events.of_item("response.content_part.added", self.place, self._id, more)

    def _close_part(self, events: Events) -> bytes:
        if self.key is None:
            return b""
        part, at = self._part(), {"content_index": self._number}
        if self.key == _REFUSAL:
            kind, done = "refusal", {"refusal": part["refusal"]}
        else:
            kind, done = "output_text", {"text": part["text"], "logprobs": []}
        told = events.of_item(f"response.{kind}.done", self.place, self._id, at | done)
        more = at | {"part": part}
        told += events.of_item("response.content_part.done", self.place, self._id, more)
        self._content.append(part)
        self.key = None
        return told


class Reasoning:
    """A thought, shown as a summary. `signature` comes before its end, if at all."""

    def __init__(self, place: int, item_id: str, index: int) -> None:
        self.place = place
        self.key = index
        self.signature = ""
        self._id = item_id
        self._pieces: list[str] = []
        self._lead = b""

    def begin(self, events: Events) -> bytes:
        told = events.item("added", self.place, objects.reasoning(self._id, "", None))
        at = {"summary_index": 0}
        kind = "response.reasoning_summary_text.delta"
        self._lead = events.lead(kind, {"item_id": self._id, "output_index": self.place, **at})
        part = at | {"part": {"type": "summary_text", "text": ""}}
        kind = "response.reasoning_summary_part.added"
        return told + events.of_item(kind, self.place, self._id, part)

    def delta(self, text: str, events: Events) -> bytes:
        self._pieces.append(text)
        return events.delta(self._lead, text, b",")

    def end(self, events: Events, *, status: str) -> bytes:
        text = "".join(self._pieces)
        done = {"summary_index": 0, "text": text}
        kind = "response.reasoning_summary_text.done"
        told = events.of_item(kind, self.place, self._id, done)
        part = {"summary_index": 0, "part": {"type": "summary_text", "text": text}}
        kind = "response.reasoning_summary_part.done"
        told += events.of_item(kind, self.place, self._id, part)
        return told + events.item("done", self.place, self.item(status=status))

    def item(self, *, status: str) -> Item:
        del status  # the vendor's own items have none
        return objects.thought(self._id, "".join(self._pieces), self.signature)


class Call:
    """A call of the client's tool; a custom tool's text is told when it is whole."""

    def __init__(
        self, place: int, item_id: str, call_id: str, name: str, tool: ToolName | None
    ) -> None:
        self.place = place
        self._id = item_id
        self._call_id = call_id
        self._name = name
        self._tool = tool
        self._is_custom = tool is not None and tool.is_custom
        self._pieces: list[str] = []
        self._lead = b""

    def begin(self, events: Events) -> bytes:
        at: Item = {"item_id": self._id, "output_index": self.place}
        self._lead = events.lead("response.function_call_arguments.delta", at)
        return events.item("added", self.place, self.item(status="in_progress"))

    def delta(self, text: str, events: Events) -> bytes:
        self._pieces.append(text)
        return b"" if self._is_custom else events.delta(self._lead, text, b",")

    def end(self, events: Events, *, status: str) -> bytes:
        item = self.item(status=status)
        told = self._told(events, item)
        return told + events.item("done", self.place, item)

    def item(self, *, status: str) -> Item:
        text = "".join(self._pieces)
        return objects.call(self._id, self._call_id, self._name, text, self._tool, status=status)

    def _told(self, events: Events, item: Item) -> bytes:
        if self._is_custom:
            kind = "response.custom_tool_call_input"
            delta, done = {"delta": item["input"]}, {"input": item["input"]}
            told = events.of_item(f"{kind}.delta", self.place, self._id, delta)
            return told + events.of_item(f"{kind}.done", self.place, self._id, done)
        done = {"arguments": item["arguments"], "name": item["name"]}
        kind = "response.function_call_arguments.done"
        return events.of_item(kind, self.place, self._id, done)
