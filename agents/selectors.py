"""Reads of runs and conversations: the actor or an authorised workspace first.

`run_by_id` and its kin serve the owner of a run, whose right is the lease.
"""

from __future__ import annotations

from uuid import UUID

import msgspec
from django.db.models import Q, QuerySet

from accounts.types import Actor
from agents.models import Conversation, Message, RunCommand
from agents.models import Run as RunRow
from agents.types import (
    ACTIVE,
    AgentRequest,
    CommandKind,
    ConversationVisibility,
    Limits,
    Run,
    RunState,
    Spent,
)
from ideplatform.kit.errors import NotFound
from workspaces import selectors as workspace_selectors
from workspaces.types import WorkspaceRef


def run_by_id(run_id: UUID) -> Run:
    """A run, whoever asks; for its owner and for edges that authorise right after."""
    row = RunRow.objects.select_related("workspace").filter(pk=run_id).first()
    if row is None:
        raise NotFound
    return as_run(row)


def runs_of(
    actor: Actor,
    *,
    workspace_id: UUID | None = None,
    conversation_id: UUID | None = None,
    state: str = "",
) -> QuerySet[RunRow]:
    """The runs in workspaces that the actor may see: their own, and those of shared threads."""
    rows = RunRow.objects.select_related("workspace").filter(
        workspace__in=workspace_selectors.workspaces_of(actor).values("pk")
    )
    rows = rows.filter(
        Q(actor_id=actor.user_id) | Q(conversation__visibility=ConversationVisibility.WORKSPACE)
    )
    if workspace_id is not None:
        rows = rows.filter(workspace_id=workspace_id)
    if conversation_id is not None:
        rows = rows.filter(conversation_id=conversation_id)
    return rows.filter(state=state) if state else rows


def conversations_of(
    actor: Actor, *, workspace_id: UUID | None = None, agent_id: str = ""
) -> QuerySet[Conversation]:
    """The actor's own conversations, and those shared with their workspaces."""
    seen = Q(user_id=actor.user_id) | Q(visibility=ConversationVisibility.WORKSPACE)
    here = Q(workspace__in=workspace_selectors.workspaces_of(actor).values("pk"))
    rows = Conversation.objects.filter((seen & here) | _homeless_of(actor))
    if workspace_id is not None:
        rows = rows.filter(workspace_id=workspace_id)
    return rows.filter(agent_id=agent_id) if agent_id else rows


def conversation(actor: Actor, ref: WorkspaceRef, conversation_id: UUID) -> Conversation:
    """A conversation of an authorised workspace that the actor may read; raises NotFound."""
    found = Conversation.objects.filter(
        Q(user_id=actor.user_id) | Q(visibility=ConversationVisibility.WORKSPACE),
        pk=conversation_id,
        workspace_id=ref.id,
    ).first()
    if found is None:
        raise NotFound
    return found


def homeless(actor: Actor) -> QuerySet[Conversation]:
    """The actor's conversations of gateway clients that worked outside every workspace.

    For a person in a session alone: a key is bound to an organization, and these to none.
    """
    return Conversation.objects.filter(_homeless_of(actor))


def workspace_of_conversation(conversation_id: UUID) -> UUID | None:
    """Where a conversation belongs, to authorise there; None for nowhere; raises NotFound."""
    found = Conversation.objects.filter(pk=conversation_id).values_list("workspace_id").first()
    if found is None:
        raise NotFound
    return found[0]


def messages(conversation_id: UUID) -> QuerySet[Message]:
    """The live messages of a conversation that the caller has authorised: none superseded."""
    rows = Message.objects.filter(conversation_id=conversation_id)
    superseded = rows.filter(supersedes__isnull=False).values("supersedes")
    return rows.exclude(no__in=superseded)


def has_active_run(conversation_id: UUID) -> bool:
    """Whether somebody works in a conversation at the moment."""
    return RunRow.objects.filter(conversation_id=conversation_id, state__in=ACTIVE).exists()


def run_of_key(actor: Actor, key: str) -> RunRow | None:
    """The actor's run with an idempotency key."""
    return (
        RunRow.objects.select_related("workspace")
        .filter(actor_id=actor.user_id, idempotency_key=key)
        .first()
    )


def cancelled_among(run_ids: list[UUID]) -> set[UUID]:
    """Which of these runs somebody asked to cancel."""
    rows = RunCommand.objects.filter(
        run_id__in=run_ids, kind=CommandKind.CANCEL, taken_seq__isnull=True
    )
    return set(rows.values_list("run_id", flat=True))


def as_run(row: RunRow) -> Run:
    """The value of a row whose workspace is loaded."""
    return Run(
        id=row.pk,
        root_id=row.root_id or row.pk,
        workspace_id=row.workspace_id,
        organization_id=row.workspace.organization_id,
        conversation_id=row.conversation_id,
        actor_id=row.actor_id,
        api_key_id=row.api_key_id,
        agent_id=row.agent_id,
        state=RunState(row.state),
        fence=row.fence,
        last_seq=row.last_seq,
        attempt=row.attempt,
        request=msgspec.convert(row.request, AgentRequest),
        limits=msgspec.convert(row.limits, Limits),
        spent=msgspec.convert(row.spent, Spent),
        error=row.error,
        created_at=row.created_at,
        started_at=row.started_at,
        ended_at=row.ended_at,
    )


def _homeless_of(actor: Actor) -> Q:
    if not actor.is_session:
        return Q(pk__in=[])
    return Q(workspace__isnull=True, user_id=actor.user_id)
