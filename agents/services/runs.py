"""Runs: opening, cancelling and ending them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from uuid import UUID

import msgspec
from django.db import IntegrityError, transaction
from django.db.models import F

from accounts.types import Actor, Permission
from agents import catalog, frames, orchestrator, selectors
from agents.errors import RunAlreadyActive, StaleLease
from agents.journal import entries, store, tail
from agents.journal.entries import Entry
from agents.models import Run as RunRow
from agents.models import RunCommand, RunLease, RunStep
from agents.services import conversations, steps
from agents.services.conversations import NewMessage
from agents.types import (
    ACTIVE,
    AgentRequest,
    CommandKind,
    ConversationOrigin,
    MessageRole,
    Run,
    RunState,
    Spent,
    StepState,
    Terminal,
)
from billing.services import balances
from ideplatform.kit import clock, ids, money, redis, throttle
from ideplatform.kit.errors import (
    Forbidden,
    IdempotencyKeyReused,
    InvalidInput,
    NotFound,
    Pointer,
)
from ideplatform.outbox import facts
from workspaces import selectors as workspace_selectors
from workspaces.services import access
from workspaces.types import WorkspaceRef


def open_run(
    *,
    actor: Actor,
    workspace_id: UUID | None,
    conversation_id: UUID | None,
    prompt: str,
    agent: str = "",
    request_id: str = "",
    request: AgentRequest | None = None,
    earlier: Sequence[NewMessage] = (),
    said: Sequence[NewMessage] = (),
    origin: ConversationOrigin = ConversationOrigin.API,
) -> Run:
    """Write the message and the run, and tell the workers: from here on it will end.

    `request_id` makes it idempotent per user: the same again is the same run. `request` carries
    model, provider and limits; `earlier` begins a new conversation with messages of the client's;
    `said` stands for the prompt where the turn is more than a text: results of a client's tools.
    Without a workspace, the conversation's is taken, else the actor's oldest where they may run.
    Raises NotFound, Forbidden, InvalidInput (UnknownAgent), IdempotencyKeyReused,
    RunAlreadyActive, TooManyRequests.
    """
    place = _workspace(actor, workspace_id, conversation_id)
    wanted = msgspec.structs.replace(
        request or AgentRequest(prompt=prompt), prompt=prompt, agent_id=catalog.canonical(agent)
    )
    said = said or [conversations.said(MessageRole.USER, prompt)]
    digest = _digest(place.id, conversation_id, wanted, [*earlier, *said])
    known = _known(actor, request_id, digest)
    if known is not None:
        return known
    throttle.take(throttle.of_user(throttle.RUN_START, actor.user_id))
    try:
        return _open(
            actor, place, conversation_id, wanted, request_id, digest, earlier, said, origin
        )
    except IntegrityError as clash:
        return _resolved(clash, actor, request_id, digest)


@transaction.atomic
def _open(
    actor: Actor,
    place: WorkspaceRef,
    conversation_id: UUID | None,
    request: AgentRequest,
    request_id: str,
    digest: bytes,
    earlier: Sequence[NewMessage],
    said: Sequence[NewMessage],
    origin: ConversationOrigin,
) -> Run:
    if conversation_id is None:
        agent_id = orchestrator.route(request).steps[0].agent_id
        thread = conversations.open_thread(
            workspace_id=place.id,
            user_id=actor.user_id,
            agent_id=agent_id,
            prompt=request.prompt,
            origin=origin,
        )
    else:
        thread = conversations.usable(
            actor=actor, workspace_id=place.id, conversation_id=conversation_id
        )
        former = catalog.card(thread.agent_id)  # a gateway client's name is no agent's
        context = orchestrator.Context(former_agent_id=former.id if former else "")
        agent_id = orchestrator.route(request, context).steps[0].agent_id
    run_id = ids.new()
    row = RunRow.objects.create(
        id=run_id,
        conversation=thread,
        workspace_id=place.id,
        actor_id=actor.user_id,
        api_key_id=actor.api_key_id,
        agent_id=agent_id,
        root_id=run_id,
        request=msgspec.to_builtins(request),
        limits=msgspec.to_builtins(request.limits),
        spent=msgspec.to_builtins(Spent()),
        idempotency_key=request_id or None,
        request_hash=digest,
        last_seq=1,
    )
    conversations.append(
        conversation_id=thread.pk,
        messages=[*earlier, *said] if conversation_id is None else said,
        run_id=run_id,
        author_id=actor.user_id,
    )
    _write_event(run_id, seq=1, fence=0, event=frames.RunChanged(state=RunState.QUEUED))
    RunLease.objects.create(run_id=run_id)
    facts.publish("run.opened", key=str(run_id), payload={"run_id": str(run_id)})
    return selectors.run_by_id(row.pk)


@transaction.atomic
def cancel(*, actor: Actor, run_id: UUID) -> Run:
    """Ask a run to end; one that nobody has taken ends here and now. Idempotent.

    An ended run is answered as it is. Raises NotFound, Forbidden.
    """
    run = readable(actor=actor, run_id=run_id, permission=Permission.AGENT_RUN)
    RunLease.objects.select_for_update().filter(run_id=run_id).first()
    row = RunRow.objects.select_for_update(of=("self",)).get(pk=run_id)
    if row.state == RunState.QUEUED:
        RunRow.objects.filter(pk=run_id).update(fence=F("fence") + 1)
        RunLease.objects.filter(run_id=run_id).update(fence=F("fence") + 1)
        end(run_id=run_id, fence=row.fence + 1, state=RunState.CANCELLED, messages=())
    elif row.state == RunState.RUNNING:
        RunCommand.objects.get_or_create(
            run_id=run_id, kind=CommandKind.CANCEL, defaults={"actor_id": actor.user_id}
        )
        transaction.on_commit(lambda: redis.ring(tail.BELL, b"c" + run_id.bytes))
    return selectors.run_by_id(run.id)


@transaction.atomic
def end(
    *,
    run_id: UUID,
    fence: int,
    state: Terminal,
    messages: Sequence[NewMessage],
    problem: dict[str, object] | None = None,
) -> Entry:
    """The one end of a run: state, terminal event, answer, lease, all in one transaction.

    Returns the terminal event, to be sent. Raises StaleLease unless `fence` owns the run.
    """
    RunLease.objects.select_for_update().filter(run_id=run_id).first()
    row = (
        RunRow.objects.select_for_update().filter(pk=run_id, fence=fence, state__in=ACTIVE).first()
    )
    if row is None:
        raise StaleLease
    total = steps.charged(run_id)
    spent = msgspec.structs.replace(
        msgspec.convert(row.spent, Spent),
        tokens=total.tokens,
        cost_usd=money.text(total.cost_usd),
    )
    row.state, row.error, row.ended_at = state, problem, clock.now()
    row.spent = msgspec.to_builtins(spent)
    row.last_seq += 1
    row.save(update_fields=["state", "error", "ended_at", "spent", "last_seq"])
    left_open = StepState.CANCELLED if state == RunState.CANCELLED else StepState.INTERRUPTED
    RunStep.objects.filter(run_id=run_id, state=StepState.RUNNING).update(
        state=left_open, ended_at=clock.now()
    )
    if messages:
        conversations.append(
            conversation_id=row.conversation_id, messages=messages, run_id=run_id, author_id=None
        )
    RunCommand.objects.filter(run_id=run_id, taken_seq__isnull=True).update(taken_seq=row.last_seq)
    RunLease.objects.filter(run_id=run_id).delete()
    event = _last(run_id, state, spent, problem)
    return _write_event(run_id, seq=row.last_seq, fence=fence, event=event)


def readable(*, actor: Actor, run_id: UUID, permission: Permission = Permission.RUN_READ) -> Run:
    """A run that the actor may read (with `agent.run`: steer): their own, or of a shared thread.

    Raises NotFound, Forbidden.
    """
    run = selectors.run_by_id(run_id)
    access.workspace(actor, run.workspace_id, permission)
    if not selectors.runs_of(actor, workspace_id=run.workspace_id).filter(pk=run_id).exists():
        raise NotFound
    return run


def _last(
    run_id: UUID, state: RunState, spent: Spent, problem: dict[str, object] | None
) -> frames.Event:
    if problem is not None:
        return frames.error(problem)
    balance = balances.after_run(run_id)
    return frames.Complete(
        metadata=frames.CompleteMetadata(
            total_tokens=spent.tokens,
            cost=spent.cost_usd,
            outcome=state,
            balance_after=None if balance is None else money.text(balance),
        )
    )


def _write_event(run_id: UUID, *, seq: int, fence: int, event: frames.Event) -> Entry:
    entry = entries.made(event, run_id=run_id, seq=seq, fence=fence, step_id=None)
    store.insert(entry)
    return entry


def _workspace(
    actor: Actor, workspace_id: UUID | None, conversation_id: UUID | None
) -> WorkspaceRef:
    if workspace_id is not None:
        return access.workspace(actor, workspace_id, Permission.AGENT_RUN)
    if conversation_id is not None:
        home = selectors.workspace_of_conversation(conversation_id)
        if home is not None:
            return access.workspace(actor, home, Permission.AGENT_RUN)
    visible = workspace_selectors.workspaces_of(actor).order_by("created_at", "pk")
    for candidate in visible.values_list("pk", flat=True)[:20]:
        try:
            return access.workspace(actor, candidate, Permission.AGENT_RUN)
        except (NotFound, Forbidden):
            continue
    raise InvalidInput(errors=[Pointer(pointer="/workspace_id", detail="name a workspace")])


def _digest(
    workspace_id: UUID,
    conversation_id: UUID | None,
    request: AgentRequest,
    messages: Sequence[NewMessage],
) -> bytes:
    said = [(message.role, message.parts) for message in messages]
    facts_of_request = (workspace_id, conversation_id, request, said)
    return hashlib.sha256(msgspec.json.encode(facts_of_request)).digest()


def _known(actor: Actor, request_id: str, digest: bytes) -> Run | None:
    """The run that this request opened before; raises IdempotencyKeyReused for another one."""
    row = selectors.run_of_key(actor, request_id) if request_id else None
    if row is None:
        return None
    if bytes(row.request_hash) != digest:
        raise IdempotencyKeyReused
    return selectors.as_run(row)


def _resolved(clash: IntegrityError, actor: Actor, request_id: str, digest: bytes) -> Run:
    """What a lost race means: the other request was the same one, or the thread is busy."""
    constraint = getattr(getattr(clash.__cause__, "diag", None), "constraint_name", "")
    known = _known(actor, request_id, digest)
    if known is not None:
        return known
    if constraint == "runs_one_active":
        raise RunAlreadyActive from clash
    raise clash
