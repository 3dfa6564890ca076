"""Agents as models: a gateway call opens a run, and its journal is the answer.

Fills `providers.types.AgentModels`. What runs on our side is told by its result alone; a call of
the caller's own tools ends the answer, and the next request brings its result. An attempt that is
taken back after it was told ends the answer with an error: nobody can unsay it.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing, suppress
from uuid import UUID

from agents import frames, journal
from agents.errors import RunInterrupted
from agents.journal import Entry
from agents.services import calls
from agents.services.calls import Opened
from billing.types import TokenCount, UnitClass
from ideplatform.kit import errors
from ideplatform.kit.db import run_db
from ideplatform.kit.errors import PlatformError, Unavailable
from providers import types as chunks
from providers.types import Call, CallContext, Chunk, ModelInfo, StopReason

_KEPT_REASONS = {
    reason.value: reason
    for reason in (StopReason.LENGTH, StopReason.CONTENT_FILTER, StopReason.REFUSAL)
}
_leaving: set[asyncio.Task[None]] = set()


class Port:
    """The agents of this platform as models."""

    def listed(self, context: CallContext) -> Sequence[ModelInfo]:
        """The agents that this caller may run."""
        return calls.listed(context)

    async def stream(self, call: Call) -> AsyncGenerator[Chunk, None]:
        """The answer of a run; whoever stops reading before its end cancels it."""
        found = await run_db(calls.opened, call)
        answer = _Answer(call)
        try:
            yield answer.started()
            async with aclosing(journal.follow(found.run.id)) as items:
                async for item in items:
                    for chunk in answer.take(item):
                        yield chunk
            if not answer.is_over:
                raise Unavailable("the run of this answer is gone")
        finally:
            if not answer.is_over:
                await _leave(found)


async def _leave(found: Opened) -> None:
    """Cancel the run, also when this task is being cancelled itself."""
    task = asyncio.ensure_future(run_db(calls.cancel, found))
    _leaving.add(task)
    task.add_done_callback(_leaving.discard)
    with suppress(PlatformError):
        await asyncio.shield(task)


class _Answer:
    """The chunks that a run's events amount to."""

    def __init__(self, call: Call) -> None:
        self._call = call
        self._index = -1
        self._kind: object = None
        self._told: set[UUID | None] = set()
        self._calls: dict[str, int] = {}
        self._open: list[int] = []
        self._tokens: dict[UnitClass, int] = {}
        self._is_estimated = False
        self._stop = ""
        self.is_over = False

    def started(self) -> Chunk:
        return chunks.Started(
            model=self._call.model,
            provider="agents",
            provider_request_id=str(self._call.request_id),
            dropped=calls.unheard(self._call),
        )

    def take(self, item: Entry | frames.ServerFrame) -> Iterator[Chunk]:
        """The chunks of one item; raises the PlatformError that ended the run."""
        if isinstance(item, frames.Rewind):
            self._unsaid(bool(self._told))
        elif isinstance(item, Entry):
            yield from self._event(item.event(), item.step_id)

    def _event(self, event: frames.AnyEvent, step_id: UUID | None) -> Iterator[Chunk]:
        match event:
            case frames.Delta() | frames.Thinking():
                yield self._spoken(event, step_id)
            case frames.ToolCalled() | frames.ToolArguments():
                yield from self._calling(event, step_id)
            case frames.ToolReturned():
                yield _returned(event)
            case frames.Attempt(supersedes=former_id):
                self._unsaid(former_id in self._told)
            case frames.Answered() | frames.Used():
                self._count(event)
                yield from self._closed_calls()
            case frames.Complete() | frames.Error():
                yield from self._ended(event)

    def _spoken(self, event: frames.Delta | frames.Thinking, step_id: UUID | None) -> Chunk:
        if isinstance(event, frames.Delta):
            self._place("text", step_id)
            return chunks.Text(index=self._index, text=event.content)
        self._place("thinking", step_id)
        return chunks.Thinking(index=self._index, text=event.text)

    def _place(self, kind: str, step_id: UUID | None) -> None:
        """A block goes on while its kind and step do."""
        self._told.add(step_id)
        if self._kind != (kind, step_id):
            self._kind = (kind, step_id)
            self._index += 1

    def _calling(
        self, event: frames.ToolCalled | frames.ToolArguments, step_id: UUID | None
    ) -> Iterator[Chunk]:
        """A call for the client; those of the server are told by their results."""
        if isinstance(event, frames.ToolCalled):
            if event.where == "client":
                self._place(event.call_id, step_id)
                self._calls[event.call_id] = self._index
                self._open.append(self._index)
                yield chunks.ToolCall(index=self._index, id=event.call_id, name=event.tool)
        elif event.call_id in self._calls:
            index = self._calls[event.call_id]
            yield chunks.ToolArguments(index=index, delta=event.delta)

    def _closed_calls(self) -> Iterator[Chunk]:
        """The model has said all of them: arguments of parallel calls may interleave."""
        for index in self._open:
            yield chunks.ToolCallEnd(index=index)
        self._open.clear()

    def _count(self, event: frames.Answered | frames.Used) -> None:
        if isinstance(event, frames.Used):
            self._stop = event.stop
            return
        self._is_estimated |= event.is_estimated
        for name, count in event.tokens.items():
            kind = UnitClass(name)
            self._tokens[kind] = self._tokens.get(kind, 0) + count

    def _ended(self, event: frames.Complete | frames.Error) -> Iterator[Chunk]:
        self.is_over = True
        if isinstance(event, frames.Error):
            raise _failure(event)
        yield chunks.Usage(
            tokens=TokenCount(self._tokens),
            is_final=True,
            is_estimated=self._is_estimated,
            cost_usd=event.metadata.cost,
        )
        yield chunks.Stop(reason=self._reason(event))

    def _reason(self, event: frames.Complete) -> StopReason:
        if event.metadata.outcome == "cancelled":
            return StopReason.CANCELLED
        if self._calls:
            return StopReason.TOOL_CALLS
        return _KEPT_REASONS.get(self._stop, StopReason.END)

    def _unsaid(self, was_told: bool) -> None:
        if was_told:
            raise RunInterrupted("a part of this answer was lost; ask again")


def _returned(event: frames.ToolReturned) -> Chunk:
    return chunks.ToolResult(
        id=event.call_id,
        name=event.tool,
        text="".join(part.text for part in event.parts),
        is_error=event.is_error,
    )


def _failure(event: frames.Error) -> PlatformError:
    """The error that ended the run, of its own class."""
    problem = event.problem
    kind = _kinds().get(str(problem.get("code")), PlatformError)
    after = problem.get("retry_after_s")
    error = kind.__new__(kind)  # some classes make their own detail of other arguments
    retry_after_s = after if isinstance(after, int) else None
    PlatformError.__init__(error, str(problem.get("detail", "")), retry_after_s=retry_after_s)
    return error


@functools.cache
def _kinds() -> dict[str, type[PlatformError]]:
    return {kind.code: kind for kind in errors.registered()}
