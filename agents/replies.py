"""Turning a model's chunks into journal events, and back into the reply they amount to."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from uuid import UUID

import msgspec

from agents import frames
from agents.types import Reply
from billing.types import TokenCount, UnitClass
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
    """Collects one stream. `run_tokens` and `run_cost_usd` are the run's totals before it.

    Calls of `client_tools` are for the client.
    """

    def __init__(
        self, *, run_tokens: int, run_cost_usd: Decimal, client_tools: Collection[str] = ()
    ) -> None:
        self._client_tools = client_tools
        self._tokens = run_tokens
        self._cost = run_cost_usd
        self._parts: dict[tuple[str, int], _Part] = {}
        self._answered: chunks.Answered | None = None
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
            case chunks.Answered():
                self._answered = chunk
                yield _answered(chunk)
            case chunks.Usage(is_final=True):
                self._usage = chunk
            case chunks.Stop(reason=reason):
                self._stop = reason.value
                yield used(self.reply(), run_tokens=self._tokens, run_cost_usd=self._cost)
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
            where = "client" if chunk.name in self._client_tools else "server"
            return frames.ToolCalled(call_id=chunk.id, tool=chunk.name, where=where)
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

    @property
    def is_whole(self) -> bool:
        """Whether the model has said all it will."""
        return self._answered is not None

    def reply(self, *, is_partial: bool = False) -> Reply:
        """What was answered so far; a partial answer keeps its text and drops unfinished calls."""
        parts = [part.done() for part in self._parts.values() if not is_partial or _is_text(part)]
        message = Message(role="assistant", parts=tuple(part for part in parts if _says(part)))
        reply = Reply(message=message, stop=self._stop, model=self.model, is_partial=is_partial)
        return reply if self._usage is None else settled(reply, self._usage)

    def _part(self, kind: str, index: int) -> _Part:
        return self._parts.setdefault((kind, index), _Part(kind))


def used(reply: Reply, *, run_tokens: int, run_cost_usd: Decimal) -> frames.Used:
    """The event of a settled answer. `run_tokens` and `run_cost_usd` are the totals before it."""
    cost = run_cost_usd + Decimal(reply.cost_usd or 0)
    return frames.Used(
        model=reply.model,
        tokens_input=reply.tokens_input,
        tokens_output=reply.tokens_output,
        cost_usd=reply.cost_usd,
        is_estimated=reply.is_estimated,
        usage_event_id=reply.usage_event_id,
        stop=reply.stop,
        run_tokens=run_tokens + reply.tokens,
        run_cost_usd=money.text(cost),
    )


def _answered(chunk: chunks.Answered) -> frames.Answered:
    return frames.Answered(
        model=chunk.model,
        stop=chunk.reason.value,
        tokens={name.value: count for name, count in chunk.tokens.quantities.items()},
        is_estimated=chunk.is_estimated,
        call_attempt=chunk.attempt,
        service_tier=chunk.service_tier,
        provider_request_id=chunk.provider_request_id,
    )


@dataclass(slots=True)
class Journalled:
    """What the journal has of one attempt of a model call.

    `answered` once the model had said all; `is_settled` when the price had been journalled too.
    """

    reply: Reply
    answered: chunks.Answered | None
    is_settled: bool


def from_journal(events: Iterable[frames.AnyEvent]) -> Journalled:
    """The reply that journalled events amount to; partial unless its end was journalled.

    Signatures of thinking are not in the journal, so the thinking itself is left out: a vendor
    takes it back only with its signature.
    """
    text: list[str] = []
    calls: dict[str, _Part] = {}
    said: frames.Answered | None = None
    priced: frames.Used | None = None
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
            case frames.Answered():
                said = event
            case frames.Used():
                priced = event
    words = (TextPart(text="".join(text)),) if text else ()
    if said is None:
        cut = Message(role="assistant", parts=words)
        reply = Reply(message=cut, stop="", model=model, is_partial=True)
        return Journalled(reply=reply, answered=None, is_settled=False)
    message = Message(role="assistant", parts=(*words, *(call.done() for call in calls.values())))
    reply = Reply(message=message, stop=said.stop, model=said.model)
    if priced is not None:
        reply = msgspec.structs.replace(
            reply,
            tokens_input=priced.tokens_input,
            tokens_output=priced.tokens_output,
            cost_usd=priced.cost_usd,
            is_estimated=priced.is_estimated,
            usage_event_id=priced.usage_event_id,
        )
    return Journalled(reply=reply, answered=_heard(said), is_settled=priced is not None)


def settled(reply: Reply, usage: chunks.Usage) -> Reply:
    """The reply with what its call used and cost."""
    return msgspec.structs.replace(
        reply,
        tokens_input=usage.tokens.input,
        tokens_output=usage.tokens.output,
        cost_usd=usage.cost_usd,
        is_estimated=usage.is_estimated,
        usage_event_id=usage.usage_event_id,
    )


def _heard(said: frames.Answered) -> chunks.Answered:
    return chunks.Answered(
        attempt=said.call_attempt,
        reason=chunks.StopReason(said.stop),
        tokens=TokenCount({UnitClass(name): count for name, count in said.tokens.items()}),
        is_estimated=said.is_estimated,
        model=said.model,
        service_tier=said.service_tier,
        provider_request_id=said.provider_request_id,
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
