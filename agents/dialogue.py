"""The loop of model and tools, one durable step after the other.

Node paths: `1`, `2`, ... are the model's turns; `1/1`, `1/2` the tool calls of turn 1. A step that
a former owner finished is taken from its row. One that it left running is rebuilt from the journal
and settled when its stream had ended, else closed as interrupted and asked again as the next
attempt.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from decimal import Decimal

import msgspec

from agents import frames, replies, tools
from agents.journal import store
from agents.journal.entries import MAX_TEXT
from agents.prompting import Prompt
from agents.replies import Journalled, ReplyBuilder
from agents.services import steps
from agents.session import Session
from agents.types import (
    ClientTool,
    PlanStep,
    Reply,
    StepKind,
    StepRecord,
    StepState,
    ToolOutcome,
)
from ideplatform.kit import money
from ideplatform.kit.errors import DatabaseDown, PlatformError
from providers.services import calls, gateway
from providers.types import Answered, Call, Message, Tool, ToolResultPart, ToolUsePart

CALL_DEADLINE_S = 900


async def converse(
    step: PlanStep, context: Session, *, prompt: Prompt, alias: str, offered: Sequence[Tool]
) -> AsyncGenerator[frames.Event]:
    """Ask, do what was asked for, ask again, until the model calls no more tools.

    It also ends with a turn that calls a tool of the client's, when its other calls are done.
    """
    turns = _Turns(step, context, prompt, alias=alias, offered=tuple(offered))
    for number in itertools.count(1):
        async with aclosing(turns.ask(str(number))) as events:
            async for event in events:
                yield event
        calls = turns.calls
        if not calls:
            return
        for place, call in enumerate(calls, start=1):
            if turns.is_client_s(call):
                continue
            async with aclosing(turns.use(f"{number}/{place}", call)) as events:
                async for event in events:
                    yield event
        turns.return_results()
        if any(map(turns.is_client_s, calls)):
            return


class _Turns:
    """The messages of one dialogue as they grow."""

    def __init__(
        self,
        step: PlanStep,
        context: Session,
        prompt: Prompt,
        *,
        alias: str,
        offered: tuple[Tool, ...],
    ) -> None:
        self._step = step
        self._context = context
        self._prompt = prompt
        self._alias = alias
        theirs = [_offer(tool) for tool in context.run.request.tools]
        self._client_tools = frozenset(tool.name for tool in theirs)
        own = (tool for tool in offered if tool.name not in self._client_tools)
        self._offered = (*own, *theirs)
        self._messages = list(prompt.messages)
        self._results: list[ToolResultPart] = []
        self.calls: list[ToolUsePart] = []

    async def ask(self, node_path: str) -> AsyncGenerator[frames.Event]:
        """One model call; its answer is appended to the messages."""
        context = self._context
        record = context.take_found(node_path)
        if record is not None and record.state == StepState.OK and record.reply is not None:
            self._accept(record.reply)
            return
        attempt = 1
        if record is not None:
            journalled = await self._journalled(record)
            if journalled is not None:
                async with aclosing(self._finish(record, journalled)) as events:
                    async for event in events:
                        yield event
                return
            attempt = record.attempt + 1
            yield replies.supersedes(record.id, attempt, "owner_lost")
        step_id = await context.begin(node_path, StepKind.MODEL, attempt)
        yield self._changed(StepState.RUNNING, StepKind.MODEL, node_path, attempt)
        context.open_reply = builder = ReplyBuilder(
            run_tokens=context.total.tokens,
            run_cost_usd=context.total.cost_usd,
            client_tools=self._client_tools,
        )
        try:
            async with aclosing(gateway.stream(self._call(node_path, attempt))) as chunks:
                async for chunk in chunks:
                    for event in builder.take(chunk):
                        yield event
                    if isinstance(chunk, Answered):
                        await context.sent()
        except DatabaseDown:
            raise  # the call can be made again once the database is back
        except PlatformError:
            await context.end_model(step_id, StepState.ERROR, builder.reply(is_partial=True))
            raise
        reply = builder.reply()
        await context.end_model(step_id, StepState.OK, reply)
        yield self._changed(StepState.OK, StepKind.MODEL, node_path, attempt)
        self._accept(reply)

    async def use(self, node_path: str, call: ToolUsePart) -> AsyncGenerator[frames.Event]:
        """One tool call; its outcome is kept for the next turn.

        A call that was running when its owner was lost runs again under its own key: reads
        repeat, writes are looked up.
        """
        context = self._context
        record = context.take_found(node_path)
        if record is not None and record.outcome is not None:
            self._keep(call, record.outcome)
            context.bench.remember(record.outcome)
            return
        step_id = await context.begin(node_path, StepKind.TOOL, 1)
        yield self._changed(StepState.RUNNING, StepKind.TOOL, node_path, 1)
        outcome, duration_ms = await tools.invoke(call, context.bench, key=f"tool:{step_id}")
        parts, is_truncated = replies.shown(outcome.text, MAX_TEXT)
        yield frames.ToolReturned(
            call_id=call.id,
            tool=call.name,
            parts=parts,
            is_error=outcome.is_error,
            is_truncated=is_truncated,
            duration_ms=duration_ms,
        )
        await context.end_tool(step_id, outcome)
        state = StepState.ERROR if outcome.is_error else StepState.OK
        yield self._changed(state, StepKind.TOOL, node_path, 1)
        self._keep(call, outcome)

    def is_client_s(self, call: ToolUsePart) -> bool:
        """Whether the client runs this call."""
        return call.name in self._client_tools

    def return_results(self) -> None:
        """Hand the outcomes of a turn back to the model."""
        if not self._results:
            return
        message = Message(role="tool", parts=tuple(self._results))
        self._messages.append(message)
        self._context.returned(message)
        self._results = []

    async def _journalled(self, record: StepRecord) -> Journalled | None:
        """The answer that a former owner had received whole; else the step is closed."""
        context = self._context
        if record.state != StepState.RUNNING:
            return None
        events = await context.durably(store.events_of_step, context.run.id, record.id)
        journalled = replies.from_journal(events)
        if journalled.answered is None:
            await context.interrupt(record.id, journalled.reply)
            return None
        return journalled

    async def _finish(
        self, record: StepRecord, journalled: Journalled
    ) -> AsyncGenerator[frames.Event]:
        """What a former owner left undone of a whole answer: its price, and the end of its step."""
        context, reply = self._context, journalled.reply
        if not journalled.is_settled and journalled.answered is not None:
            request_id = steps.call_id(context.run.id, record.node_path, record.attempt)
            usage = await context.durably(
                calls.finish, request_id=request_id, answered=journalled.answered
            )
            reply = replies.settled(reply, usage)
            yield replies.used(
                reply, run_tokens=context.total.tokens, run_cost_usd=context.total.cost_usd
            )
        await context.end_model(record.id, StepState.OK, reply)
        yield self._changed(StepState.OK, StepKind.MODEL, record.node_path, record.attempt)
        self._accept(reply)

    def _call(self, node_path: str, attempt: int) -> Call:
        run = self._context.run
        return Call(
            request_id=steps.call_id(run.id, node_path, attempt),
            context=self._context.call_context(self._step.agent_id),
            model=self._context.run.request.model or self._alias,
            messages=tuple(self._messages),
            system=self._prompt.system,
            tools=self._offered,
            deadline_s=CALL_DEADLINE_S,
            ceiling_usd=money.text(Decimal(run.limits.cost_usd) - self._context.total.cost_usd),
        )

    def _accept(self, reply: Reply) -> None:
        self._messages.append(reply.message)
        self._context.said(reply)
        self.calls = [part for part in reply.message.parts if isinstance(part, ToolUsePart)]

    def _keep(self, call: ToolUsePart, outcome: ToolOutcome) -> None:
        self._results.append(
            ToolResultPart(
                tool_use_id=call.id, name=call.name, text=outcome.text, is_error=outcome.is_error
            )
        )

    def _changed(
        self, state: StepState, kind: StepKind, node_path: str, attempt: int
    ) -> frames.StepChanged:
        return frames.StepChanged(
            state=state,
            kind=kind,
            agent=self._step.agent_id,
            node_path=node_path,
            attempt=attempt,
        )


def _offer(tool: ClientTool) -> Tool:
    return Tool(
        name=tool.name,
        description=tool.description,
        parameters=msgspec.Raw(tool.parameters.encode()),
    )
