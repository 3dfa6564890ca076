"""Turning a model's chunks into journal events, and back into the reply they amount to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

from agents import frames
from agents.types import Reply
from ideplatform.kit import money
from providers import types as chunks
from providers.types import AnyPart, Chunk, Message, TextPart, ThinkingPart, ToolUsePart


@dataclass(slots=True)
class _Part:
    """A part of the answer while it grows."""

    kind: str
    text: list[str] = field(default_factory=list)
    id: str = ""
    name: str = ""
    signature: str = ""

    def done(self) -> AnyPart:
        text = "".join(self.text)
        match self.kind:
            case "tool":
                return ToolUsePart(
                    id=self.id, name=self.name, arguments=text, signature=self.signature
                )
            case "thinking":
                return ThinkingPart(text=text, signature=self.signature)
            case "redacted":
                return chunks.RedactedThinkingPart(data=text)
            case _:
                return TextPart(text=text)


class ReplyBuilder:
    """Collects one stream. `run_tokens` and `run_cost_usd` are the run's totals before it."""

    def __init__(self, *, run_tokens: int, run_cost_usd: Decimal) -> None:
        self._tokens = run_tokens
        self._cost = run_cost_usd
        self._parts: dict[tuple[str, int], _Part] = {}
        self._usage: chunks.Usage | None = None
        self._stop = ""
        self.model = ""

    def take(self, chunk: Chunk) -> Iterator[frames.Event]:
        """The events of one chunk."""
        match chunk:
            case chunks.Started(model=model):
                self.model = model
            case chunks.Text(index=index, text=text):
                yield self._spoken(index, text)
            case chunks.Refusal(text=text):
                yield self._spoken(0, text)
            case chunks.Usage(is_final=True):
                self._usage = chunk
            case chunks.Stop(reason=reason):
                self._stop = reason.value
                yield self._used()
            case chunks.ToolCall() | chunks.ToolArguments():
                yield self._calling(chunk)
            case _:
                yield from self._thinking(chunk)

    def _spoken(self, index: int, text: str) -> frames.Event:
        self._part("text", index).text.append(text)
        return frames.Delta(content=text, metadata=frames.DeltaMetadata(tokens=1, model=self.model))

    def _calling(self, chunk: chunks.ToolCall | chunks.ToolArguments) -> frames.Event:
        part = self._part("tool", chunk.index)
        if isinstance(chunk, chunks.ToolCall):
            part.id, part.name, part.signature = chunk.id, chunk.name, chunk.signature
            return frames.ToolCalled(call_id=chunk.id, tool=chunk.name)
        part.text.append(chunk.delta)
        return frames.ToolArguments(call_id=part.id, delta=chunk.delta)

    def _thinking(self, chunk: Chunk) -> Iterator[frames.Event]:
        match chunk:
            case chunks.Thinking(index=index, text=text):
                self._part("thinking", index).text.append(text)
                yield frames.Thinking(text=text)
            case chunks.ThinkingSignature(index=index, signature=signature):
                self._part("thinking", index).signature = signature
            case chunks.RedactedThinking(index=index, data=data):
                self._part("redacted", index).text.append(data)

    def reply(self, *, is_partial: bool = False) -> Reply:
        """What was answered so far; a partial answer keeps its text and drops unfinished calls."""
        parts = [part.done() for part in self._parts.values() if not is_partial or _is_text(part)]
        usage = self._usage
        return Reply(
            message=Message(role="assistant", parts=tuple(part for part in parts if _says(part))),
            stop=self._stop,
            model=self.model,
            tokens_input=usage.tokens.input if usage else 0,
            tokens_output=usage.tokens.output if usage else 0,
            cost_usd=usage.cost_usd if usage else None,
            is_estimated=usage.is_estimated if usage else False,
            usage_event_id=usage.usage_event_id if usage else None,
            is_partial=is_partial,
        )

    def _part(self, kind: str, index: int) -> _Part:
        return self._parts.setdefault((kind, index), _Part(kind))

    def _used(self) -> frames.Used:
        reply = self.reply()
        cost = self._cost + Decimal(reply.cost_usd or 0)
        return frames.Used(
            model=reply.model,
            tokens_input=reply.tokens_input,
            tokens_output=reply.tokens_output,
            cost_usd=reply.cost_usd,
            is_estimated=reply.is_estimated,
            usage_event_id=reply.usage_event_id,
            stop=reply.stop,
            run_tokens=self._tokens + reply.tokens,
            run_cost_usd=money.text(cost),
        )


@dataclass(slots=True)
class Journalled:
    """What the journal has of one attempt of a model call."""

    reply: Reply
    is_complete: bool


def from_journal(events: Iterable[frames.AnyEvent]) -> Journalled:
    """The reply that journalled events amount to; complete when its usage was journalled.

    Signatures of thinking are not in the journal, so the thinking itself is left out: a vendor
    takes it back only with its signature.
    """
    text: list[str] = []
    calls: dict[str, _Part] = {}
    used: frames.Used | None = None
    model = ""
    for event in events:
        match event:
            case frames.Delta(content=content, metadata=metadata):
                text.append(content)
                model = metadata.model
            case frames.ToolCalled(call_id=call_id, tool=tool):
                calls[call_id] = _Part("tool", id=call_id, name=tool)
            case frames.ToolArguments(call_id=call_id, delta=delta):
                calls[call_id].text.append(delta)
            case frames.Used():
                used = event
    reply = _rebuilt("".join(text), calls.values() if used else (), used, model)
    return Journalled(reply=reply, is_complete=used is not None)


def _rebuilt(text: str, calls: Iterable[_Part], used: frames.Used | None, model: str) -> Reply:
    said = (TextPart(text=text),) if text else ()
    message = Message(role="assistant", parts=(*said, *(call.done() for call in calls)))
    if used is None:
        return Reply(message=message, stop="", model=model, is_partial=True)
    return Reply(
        message=message,
        stop=used.stop,
        model=used.model,
        tokens_input=used.tokens_input,
        tokens_output=used.tokens_output,
        cost_usd=used.cost_usd,
        is_estimated=used.is_estimated,
        usage_event_id=used.usage_event_id,
    )


def text_of(message: Message) -> str:
    """The words of a message."""
    return "".join(part.text for part in message.parts if isinstance(part, TextPart))


def shown(text: str, most: int) -> tuple[list[frames.TextPart], bool]:
    """The beginning of a tool's result as parts, and whether something was left out."""
    return [frames.TextPart(text=text[:most])], len(text) > most


def supersedes(record_id: UUID, attempt: int, reason: str) -> frames.Attempt:
    """The event that takes back what an attempt streamed."""
    return frames.Attempt(supersedes=record_id, attempt=attempt, reason=reason)


def _is_text(part: _Part) -> bool:
    return part.kind == "text"


def _says(part: AnyPart) -> bool:
    return not (isinstance(part, TextPart) and not part.text)
