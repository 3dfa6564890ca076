"""The event sequence of a streamed response, numbered without a gap.

``created``, ``in_progress``; per item ``output_item.added``, its parts and deltas, its ``done``
events, ``output_item.done``; at the end ``completed`` or ``incomplete``. Parallel function calls
are all opened first and their argument deltas take turns.
"""

from providers.simulator import envelopes
from providers.simulator.answers import Answer
from providers.simulator.conversation import Conversation
from providers.simulator.frames import Frame, encode, interleaved
from providers.simulator.script import Turn

from . import Dialect, openai_responses
from .openai_responses import Item


class _Events:
    """Numbers events and joins delta events from bytes."""

    def __init__(self) -> None:
        self.laid: list[Frame] = []
        self._count = 0

    def add(self, kind: str, fields: Item, *, spent: int = 0) -> None:
        event = {"type": kind, "sequence_number": self._next(), **fields}
        head = b"event: " + kind.encode() + b"\ndata: "
        self.laid.append(Frame(head + encode(event) + b"\n\n", spent))

    def deltas(
        self, kind: str, pieces: tuple[str, ...], fields: Item, *, is_reasoning: bool = False
    ) -> None:
        for piece in pieces:
            self.delta(kind, piece, fields, is_reasoning=is_reasoning)

    def delta(self, kind: str, piece: str, fields: Item, *, is_reasoning: bool = False) -> None:
        name = kind.encode()
        lead = b"event: " + name + b'\ndata: {"type":"' + name + b'","sequence_number":'
        data = b"%b%d,%b,\"delta\":%b}\n\n" % (
            lead, self._next(), encode(fields)[1:-1], encode(piece))  # fmt: skip
        self.laid.append(Frame(data, 1, is_reasoning))

    def silence(self, tokens: int) -> None:
        self.laid += [Frame(b"", 1, is_reasoning=True)] * tokens

    def _next(self) -> int:
        self._count += 1
        return self._count - 1


def frames(conversation: Conversation, answer: Answer, _turn: Turn) -> list[Frame]:
    events = _Events()
    opening = openai_responses.snapshot(conversation, "in_progress", [], None)
    events.add("response.created", {"response": opening})
    events.add("response.in_progress", {"response": opening})
    place = 0
    if answer.thinking:
        _reasoning(events, conversation, answer)
        place += 1
    if answer.is_strange:
        strange: Item = {"output_index": [], "delta": {"a": 1}}
        events.add("response.surprise.delta", strange)
    for item in openai_responses.extra_items(conversation, answer):
        opened = {name: value for name, value in item.items() if name != "result"}
        events.add("response.output_item.added", {"output_index": place, "item": opened})
        events.add("response.output_item.done", {"output_index": place, "item": item})
        place += 1
    if answer.text or not answer.calls:
        _message(events, conversation, answer, place)
        place += 1
    _calls(events, conversation, answer, place)
    kind, final = openai_responses.ended(conversation, answer)
    events.add(kind, {"response": final})
    return events.laid


def _reasoning(events: _Events, conversation: Conversation, answer: Answer) -> None:
    item = openai_responses.reasoning_item(conversation, answer)
    opened = {**item, "summary": []}
    events.add("response.output_item.added", {"output_index": 0, "item": opened})
    if conversation.shows_reasoning:
        _summary(events, item["id"], answer)
    else:
        events.silence(len(answer.thinking))
    events.add("response.output_item.done", {"output_index": 0, "item": item})


def _summary(events: _Events, item_id: object, answer: Answer) -> None:
    at: Item = {"item_id": item_id, "output_index": 0, "summary_index": 0}
    text = "".join(answer.thinking)
    part = "response.reasoning_summary_part"
    events.add(f"{part}.added", {**at, "part": {"type": "summary_text", "text": ""}})
    kind = "response.reasoning_summary_text"
    events.deltas(f"{kind}.delta", answer.thinking, at, is_reasoning=True)
    events.add(f"{kind}.done", {**at, "text": text})
    events.add(f"{part}.done", {**at, "part": {"type": "summary_text", "text": text}})


def _message(events: _Events, conversation: Conversation, answer: Answer, place: int) -> None:
    item = openai_responses.message_item(conversation, answer)
    at: Item = {"item_id": item["id"], "output_index": place, "content_index": 0}
    part = openai_responses.content_part(answer)
    key = "refusal" if answer.stop == "refusal" else "text"
    kind = f"response.{'refusal' if key == 'refusal' else 'output_text'}"
    extra: Item = {} if key == "refusal" else {"logprobs": []}
    opened = {**item, "status": "in_progress", "content": []}
    events.add("response.output_item.added", {"output_index": place, "item": opened})
    empty = {**part, key: ""} | ({"annotations": []} if key == "text" else {})
    events.add("response.content_part.added", {**at, "part": empty})
    events.deltas(f"{kind}.delta", answer.text, {**at, **extra})
    for number, annotation in enumerate(openai_responses.annotations(answer)):
        told = {"annotation_index": number, "annotation": annotation}
        events.add(f"{kind}.annotation.added", {**at, **told})
    events.add(f"{kind}.done", {**at, key: part[key], **extra})
    events.add("response.content_part.done", {**at, "part": part})
    events.add("response.output_item.done", {"output_index": place, "item": item})


def _calls(events: _Events, conversation: Conversation, answer: Answer, first: int) -> None:
    items = [
        openai_responses.call_item(conversation, answer, place)
        for place in range(len(answer.calls))
    ]
    for place, item in enumerate(items, first):
        opened = {**item, "status": "in_progress", "arguments": ""}
        events.add("response.output_item.added", {"output_index": place, "item": opened}, spent=1)
    kind = "response.function_call_arguments"
    for index, piece in interleaved(answer.calls):
        at: Item = {"item_id": items[index]["id"], "output_index": first + index}
        events.delta(f"{kind}.delta", piece, at)
    for place, item in enumerate(items, first):
        done = {"arguments": item["arguments"], "name": item["name"]}
        events.add(f"{kind}.done", {"item_id": item["id"], "output_index": place, **done})
        events.add("response.output_item.done", {"output_index": place, "item": item})


DIALECT = Dialect(
    vendor="openai",
    operation="responses",
    read=openai_responses.read,
    whole=openai_responses.whole,
    frames=frames,
    failure_event=openai_responses.failure_event,
    envelope=envelopes.openai,
)
