"""Executing one run that this process owns, from its plan to its one end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from uuid import UUID

import structlog

from accounts.types import Permission
from agents import catalog, frames, journal, orchestrator
from agents.errors import RunInterrupted, RunLimitReached, StaleLease
from agents.journal import RunLog, Writer
from agents.orchestrator import Context
from agents.services import actors, conversations, leases, runs, steps
from agents.services.conversations import NewMessage
from agents.services.leases import MAX_ATTEMPTS, Taken
from agents.session import Handle, HandOver, Session, StopReason, durably
from agents.types import Run, RunState, Terminal
from ideplatform.kit import clock, problems
from ideplatform.kit.errors import DatabaseDown, PlatformError
from ideplatform.observability import metrics
from ideplatform.outbox import relay
from workspaces.services import access

log = structlog.get_logger(__name__)

# A full buffer is read without ever waiting. When 200 runs took in all they had, one turn of the
# loop lasted seconds, and no lease was renewed meanwhile.
EVENTS_A_TURN = 16


async def execute(taken: Taken, *, handle: Handle, writer: Writer) -> None:
    """Carry a run on from wherever it stands, until it ends or is given back.

    Limits and deadlines end it with an error, a cancel ends it as cancelled. When the process
    ends or the lease is lost, it stops without an end: another owner goes on.
    """
    run_log = writer.open(taken.run.id, fence=handle.fence, last_seq=taken.run.last_seq)
    execution = _Execution(taken, handle=handle, writer=writer, run_log=run_log)
    try:
        await execution.run()
    except StaleLease:
        log.warning("run.lease_lost", run_id=str(taken.run.id), fence=handle.fence)
    finally:
        writer.forget(run_log)


class _Execution:
    def __init__(self, taken: Taken, *, handle: Handle, writer: Writer, run_log: RunLog) -> None:
        self._run = taken.run
        self._former_fence = taken.former_fence
        self._handle = handle
        self._writer = writer
        self._log = run_log
        self._session: Session | None = None
        self._taken = 0

    async def run(self) -> None:
        try:
            await self._writer.salvage(self._log, former_fence=self._former_fence)
            if self._run.attempt > MAX_ATTEMPTS:
                await self._end(RunState.INTERRUPTED, RunInterrupted())
                return
            session = self._session = await self._begin()
            await self._act(session)
            await self._end(RunState.COMPLETED)
        except asyncio.CancelledError:
            await self._stopped()
        except (HandOver, DatabaseDown):
            await self._give_back()
        except StaleLease:
            raise
        except PlatformError as error:
            await self._end(RunState.FAILED, error)
        except Exception:
            log.exception("run.failed", run_id=str(self._run.id))
            await self._end(RunState.FAILED, None)

    async def _begin(self) -> Session:
        is_first = self._log.seq <= 1
        reason = "" if is_first else "resumed"
        self._append(frames.RunChanged(state=RunState.RUNNING, reason=reason))
        return await durably(
            self._handle, _prepared, self._run, self._handle, self._log, self._writer
        )

    async def _act(self, session: Session) -> None:
        plan = orchestrator.route(self._run.request, Context(former_agent_id=self._run.agent_id))
        if self._log.seq <= 2:
            agents = [step.agent_id for step in plan.steps]
            planned = frames.Planned(
                agents=agents, reason=plan.reason, confidence=str(plan.confidence)
            )
            self._append(planned)
        try:
            async with asyncio.timeout(self._seconds_left()) as deadline:
                for step in plan.steps:
                    agent = catalog.agent(step.agent_id)
                    async with aclosing(agent.act(step, session)) as events:
                        async for event in events:
                            await self._take_in(event, step_id=session.step_id)
        except TimeoutError:
            if deadline.expired():
                limit = self._run.request.limits.active_s
                raise RunLimitReached(f"the run was active for {limit} seconds") from None
            raise

    def _append(self, event: frames.Event, *, step_id: UUID | None = None) -> None:
        journal.append(self._run.id, [event], fence=self._handle.fence, step_id=step_id)

    async def _take_in(self, event: frames.Event, *, step_id: UUID | None) -> None:
        """Append an agent's event and let others have their turn."""
        self._append(event, step_id=step_id)
        self._taken += 1
        if self._taken % EVENTS_A_TURN == 0:
            await asyncio.sleep(0)
        if not self._writer.has_room:
            await self._writer.room()

    def _seconds_left(self) -> float:
        started = self._run.started_at or clock.now()
        elapsed_s = (clock.now() - started).total_seconds()
        return max(1.0, self._run.request.limits.active_s - max(0.0, elapsed_s))

    async def _stopped(self) -> None:
        """Somebody aborted the run; what happens next depends on why."""
        task = asyncio.current_task()
        if self._handle.reason is None or task is None:
            raise asyncio.CancelledError
        task.uncancel()
        match self._handle.reason:
            case StopReason.CANCELLED:
                await self._end(RunState.CANCELLED)
            case StopReason.HANDED_OVER:
                await self._close_open_step()
                await self._give_back()
            case StopReason.LOST:
                log.warning("run.abandoned", run_id=str(self._run.id))

    async def _close_open_step(self) -> None:
        session = self._session
        if session is None or session.open_reply is None or session.step_id is None:
            return
        if not session.open_reply.is_whole:
            await session.interrupt(session.step_id, session.open_reply.reply(is_partial=True))

    async def _give_back(self) -> None:
        """Flush, release the lease, and ring: another worker goes on within a second."""
        self._handle.is_ending = True
        await self._writer.flush(self._log)
        await durably(self._handle, leases.release, run_id=self._run.id, fence=self._handle.fence)
        await durably(self._handle, relay.drain)
        log.info("run.handed_over", run_id=str(self._run.id))

    async def _end(self, state: Terminal, error: PlatformError | None = None) -> None:
        """Everything stored, then the end in one transaction, then the news of it."""
        self._handle.is_ending = True
        await self._writer.flush(self._log)
        entry = await durably(
            self._handle,
            runs.end,
            run_id=self._run.id,
            fence=self._handle.fence,
            state=state,
            messages=self._transcript(),
            problem=self._problem(state, error),
        )
        agent = self._run.agent_id
        metrics.agent_requests_total.labels(agent=agent, status=state).inc()
        lasted_s = (entry.at - self._run.created_at).total_seconds()
        metrics.agent_request_duration_seconds.labels(agent=agent).observe(max(0.0, lasted_s))
        await self._writer.publish(self._log, entry)
        log.info("run.ended", run_id=str(self._run.id), state=state, agent=agent)

    def _problem(self, state: Terminal, error: PlatformError | None) -> problems.Problem | None:
        if state in (RunState.COMPLETED, RunState.CANCELLED):
            return None
        if error is None:
            return problems.internal(request_id=str(self._run.id))
        return problems.of(error, request_id=str(self._run.id))

    def _transcript(self) -> Sequence[NewMessage]:
        """What the conversation keeps: every answer, and the text of one that was cut."""
        session = self._session
        if session is None:
            return ()
        if session.open_reply is None:
            return session.transcript
        cut = session.open_reply.reply(is_partial=True)
        if cut.message.parts:
            session.said(cut)
        return session.transcript


def _prepared(run: Run, handle: Handle, run_log: RunLog, writer: Writer) -> Session:
    """Everything that execution needs from the database, in one hop.

    Raises Forbidden or NotFound when the person may no longer run agents there.
    """
    actor = actors.acting(run)
    access.workspace(actor, run.workspace_id, Permission.AGENT_RUN)
    return Session(
        run=run,
        actor=actor,
        history=conversations.history(run.conversation_id),
        found=steps.found(run.id),
        handle=handle,
        run_log=run_log,
        writer=writer,
    )
