"""A journal row and its frame: one envelope in front of the event's own JSON.

`{"run_id":..., "seq":..., "fence":..., "step_id":..., "at":..., "type":..., ...}`: the event is
encoded once and travels unchanged to Redis, to PostgreSQL and to every client.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from uuid import UUID

import msgspec

from agents import frames
from ideplatform.kit import clock

MAX_TEXT = 8_192
"""Characters of text in one event, at most: its row stays below 64 KiB however it is escaped."""

TERMINAL_TYPES = frozenset({"complete", "error"})
_TYPE = b'"type":'
_envelope = msgspec.json.Decoder(frames.Envelope)


@dataclass(slots=True, kw_only=True)
class Entry:
    """One event with its place in a run. `body` is the event's JSON; `at` aware UTC.

    `first_seq`, when set, tells that it stands for every event since that one.
    """

    run_id: UUID
    seq: int
    fence: int
    step_id: UUID | None
    type: str
    body: bytes
    at: datetime = field(default_factory=clock.now)
    first_seq: int | None = None
    _wire: bytes = b""

    @property
    def is_terminal(self) -> bool:
        return self.type in TERMINAL_TYPES

    def wire(self) -> bytes:
        """The frame; made once, when the body will not change any more."""
        if not self._wire:
            self._wire = b'{"run_id":"%s","seq":%d,"fence":%d,"step_id":%s,"at":"%s",%s%s' % (
                str(self.run_id).encode(),
                self.seq,
                self.fence,
                b"null" if self.step_id is None else b'"%s"' % str(self.step_id).encode(),
                clock.rfc3339(self.at).encode(),
                b"" if self.first_seq is None else b'"first_seq":%d,' % self.first_seq,
                self.body[1:],
            )
        return self._wire

    def event(self) -> frames.AnyEvent:
        """The typed event."""
        return frames.decode_event(self.body)


def made(event: frames.Event, *, run_id: UUID, seq: int, fence: int, step_id: UUID | None) -> Entry:
    """The entry of an event that happened now."""
    return Entry(
        run_id=run_id,
        seq=seq,
        fence=fence,
        step_id=step_id,
        type=str(event.__struct_config__.tag),
        body=frames.encode(event),
    )


def read(wire: bytes) -> Entry:
    """The entry of a frame made by `Entry.wire`."""
    envelope = _envelope.decode(wire)
    return Entry(
        run_id=envelope.run_id,
        seq=envelope.seq,
        fence=envelope.fence,
        step_id=envelope.step_id,
        type=envelope.type,
        body=b"{" + wire[wire.index(_TYPE) :],
        at=envelope.at.astimezone(UTC),
    )


def joined(first: frames.Event, second: frames.Event) -> frames.Event | None:
    """Both pieces of text as one event, or None when they do not belong together."""
    match first, second:
        case frames.Delta(), frames.Delta():
            if first.metadata.model != second.metadata.model:
                return None
            tokens = first.metadata.tokens + second.metadata.tokens
            return _fitting(
                len(first.content) + len(second.content),
                frames.Delta(
                    content=first.content + second.content,
                    metadata=frames.DeltaMetadata(tokens=tokens, model=first.metadata.model),
                ),
            )
        case frames.Thinking(), frames.Thinking():
            return _fitting(
                len(first.text) + len(second.text), frames.Thinking(text=first.text + second.text)
            )
        case frames.ToolArguments(), frames.ToolArguments():
            if first.call_id != second.call_id:
                return None
            return _fitting(
                len(first.delta) + len(second.delta),
                frames.ToolArguments(call_id=first.call_id, delta=first.delta + second.delta),
            )
        case _:
            return None


def _fitting(characters: int, event: frames.Event) -> frames.Event | None:
    return event if characters <= MAX_TEXT else None


def split(event: frames.Event) -> list[frames.Event]:
    """The event, or several when its text is too long for one row."""
    match event:
        case frames.Delta(content=text, metadata=metadata) if len(text) > MAX_TEXT:
            return [frames.Delta(content=piece, metadata=metadata) for piece in pieces(text)]
        case frames.Thinking(text=text) if len(text) > MAX_TEXT:
            return [frames.Thinking(text=piece) for piece in pieces(text)]
        case frames.ToolArguments(call_id=call_id, delta=text) if len(text) > MAX_TEXT:
            return [frames.ToolArguments(call_id=call_id, delta=piece) for piece in pieces(text)]
        case _:
            return [event]


def pieces(text: str) -> list[str]:
    """A text in parts that fit into events."""
    return [text[start : start + MAX_TEXT] for start in range(0, len(text), MAX_TEXT)]


def merged(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The same events in fewer entries: neighbouring pieces of one text become one."""
    last: Entry | None = None
    event: frames.Event | None = None
    for entry in entries:
        whole = None
        if last is not None and event is not None and last.step_id == entry.step_id:
            whole = joined(event, entry.event())
        if last is not None and whole is None:
            yield last
        if whole is None:
            last, event = entry, entry.event()
        else:
            last, event = _grown(last, entry, whole), whole
    if last is not None:
        yield last


def _grown(first: Entry | None, last: Entry, whole: frames.Event) -> Entry:
    since = last.seq if first is None else first.first_seq or first.seq
    return replace(last, body=frames.encode(whole), first_seq=since, _wire=b"")
