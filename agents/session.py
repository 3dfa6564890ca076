"""One run in the hands of its owner: its journal, its steps, and what it found when it began.

Agents keep no state of their own; everything that must survive is in here and in PostgreSQL.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal
from enum import StrEnum
from typing import ParamSpec, TypeVar
from uuid import UUID

import structlog
from django.db import OperationalError

from accounts.types import Actor
from agents.errors import StaleLease
from agents.journal import RunLog, Writer
from agents.replies import ReplyBuilder
from agents.services import steps
from agents.services.conversations import NewMessage
from agents.tools import Workbench
from agents.types import MessageRole, Reply, Run, StepKind, StepRecord, StepState, ToolOutcome
from ideplatform.kit.db import run_db
from ideplatform.kit.errors import DatabaseDown
from providers.types import CallContext, Message

P = ParamSpec("P")
R = TypeVar("R")
log = structlog.get_logger(__name__)
RETRY_S = 0.2


class StopReason(StrEnum):
    """Why an owner stops a run before its end."""

    CANCELLED = "cancelled"
    HANDED_OVER = "handed_over"
    LOST = "lost"


class HandOver(Exception):
    """The process ends: the run stops at this step boundary and another worker goes on."""


class Handle:
    """How the worker reaches a run that executes."""

    def __init__(self, *, run_id: UUID, fence: int, task: asyncio.Task[None] | None) -> None:
        self.run_id = run_id
        self.fence = fence
        self.reason: StopReason | None = None
        self.is_draining = False
        self.is_ending = False
        self._task = task

    def stop(self, reason: StopReason) -> None:
        """Abort whatever the run waits for. The first reason stands, but a lost lease beats all;
        a run that writes its end is not disturbed by anything else."""
        is_lost = reason == StopReason.LOST and self.reason != StopReason.LOST
        if is_lost or (self.reason is None and not self.is_ending):
            self.reason = reason
            if self._task is not None:
                self._task.cancel()


class Session:
    """What an agent works with. `history` ends with the person's request."""

    def __init__(
        self,
        *,
        run: Run,
        actor: Actor,
        history: list[Message],
        found: list[StepRecord],
        handle: Handle,
        run_log: RunLog,
        writer: Writer,
    ) -> None:
        self.run = run
        self.actor = actor
        self.history = history
        self.bench = Workbench(actor=actor, workspace_id=run.workspace_id, run_id=run.id)
        self.transcript: list[NewMessage] = []
        self.open_reply: ReplyBuilder | None = None
        self.step_id: UUID | None = None
        self.total = steps.Total(tokens=run.spent.tokens, cost_usd=Decimal(run.spent.cost_usd))
        self._found = {record.node_path: record for record in found}
        self._handle = handle
        self._log = run_log
        self._writer = writer

    def take_found(self, node_path: str) -> StepRecord | None:
        """What a former owner left of a step."""
        return self._found.pop(node_path, None)

    def call_context(self, agent_id: str) -> CallContext:
        """Who pays for this run's calls."""
        return CallContext(
            user_id=self.run.actor_id,
            organization_id=self.run.organization_id,
            workspace_id=self.run.workspace_id,
            api_key_id=self.run.api_key_id,
            agent_id=agent_id,
            conversation_id=self.run.conversation_id,
            run_id=self.run.id,
        )

    def said(self, reply: Reply) -> None:
        """Remember an answer for the conversation."""
        self.transcript.append(
            NewMessage(
                role=MessageRole.ASSISTANT,
                parts=reply.message.parts,
                model=reply.model,
                usage_event_id=reply.usage_event_id,
            )
        )

    def returned(self, message: Message) -> None:
        """Remember tool results for the conversation."""
        self.transcript.append(NewMessage(role=MessageRole.TOOL, parts=message.parts))

    async def begin(self, node_path: str, kind: StepKind, attempt: int) -> UUID:
        """Commit that a step runs; raises HandOver when the process ends, RunLimitReached."""
        if self._handle.is_draining:
            raise HandOver
        await self._writer.room()
        await self.flush()
        self.step_id = await self.durably(
            steps.begin,
            run=self.run,
            fence=self._handle.fence,
            node_path=node_path,
            kind=kind,
            attempt=attempt,
        )
        return self.step_id

    async def end_model(self, step_id: UUID, state: StepState, reply: Reply) -> None:
        """Store a model's answer after its events."""
        await self.flush()
        self.total = await self.durably(
            steps.end_model,
            run=self.run,
            fence=self._handle.fence,
            step_id=step_id,
            state=state,
            reply=reply,
        )
        self.open_reply = None

    async def end_tool(self, step_id: UUID, outcome: ToolOutcome) -> None:
        """Store a tool's outcome after its events."""
        await self.flush()
        await self.durably(
            steps.end_tool,
            run=self.run,
            fence=self._handle.fence,
            step_id=step_id,
            state=StepState.ERROR if outcome.is_error else StepState.OK,
            outcome=outcome,
        )

    async def interrupt(self, step_id: UUID, reply: Reply | None) -> None:
        """Close a model step whose stream was cut."""
        await self.flush()
        await self.durably(
            steps.interrupt,
            run=self.run,
            fence=self._handle.fence,
            step_id=step_id,
            reply=reply,
        )

    async def sent(self) -> None:
        """Wait until another owner of the run would find every event."""
        await self._writer.sent(self._log)

    async def flush(self) -> None:
        """Wait until every event is in PostgreSQL; raises StaleLease."""
        await self._writer.flush(self._log)

    async def durably(self, service: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """A service that may be repeated; see the function of this name."""
        return await durably(self._handle, service, *args, **kwargs)


async def durably(
    handle: Handle, service: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
) -> R:
    """A service that may be repeated, until the database is back or the run is no longer ours."""
    while True:
        try:
            return await run_db(service, *args, **kwargs)
        except (DatabaseDown, OperationalError) as lost:
            if handle.reason == StopReason.LOST:
                raise StaleLease from lost
            log.warning(
                "run.database_awaited", run_id=str(handle.run_id), error=type(lost).__name__
            )
            await asyncio.sleep(RETRY_S)
