"""Conversations: threads of append-only messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import msgspec
from django.db import transaction
from django.db.models import Max

from accounts.services import access as people
from accounts.types import Actor, Permission
from agents import selectors
from agents.models import Conversation, Message
from agents.types import ConversationOrigin, ConversationVisibility, MessageRole
from ideplatform.kit import accounting, clock, ids
from ideplatform.kit.errors import Forbidden, InvalidInput, NotFound
from providers.types import AnyPart, TextPart
from providers.types import Message as ModelMessage
from workspaces.services import access

TITLE_CHARS = 80


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMessage:
    """A message to append. `model` and `usage_event_id` are set on what a model wrote.

    `supersedes` is the number of the message that it replaces.
    """

    role: MessageRole
    parts: tuple[AnyPart, ...]
    model: str = ""
    usage_event_id: UUID | None = None
    supersedes: int | None = None


def said(role: MessageRole, text: str) -> NewMessage:
    """A message of plain text."""
    return NewMessage(role=role, parts=(TextPart(text=text),))


def open_thread(
    *,
    workspace_id: UUID | None,
    user_id: UUID,
    agent_id: str,
    prompt: str,
    origin: ConversationOrigin,
    parent: Conversation | None = None,
) -> Conversation:
    """A new private conversation, titled by the first line of its first prompt.

    `parent` is the one that it branches off. Only a gateway client's may have no workspace.
    """
    conversation_id = ids.new()
    return Conversation.objects.create(
        id=conversation_id,
        workspace_id=workspace_id,
        user_id=user_id,
        agent_id=agent_id,
        title=_title(prompt),
        parent=parent,
        root_id=conversation_id if parent is None else parent.root_id or parent.pk,
        origin=origin,
    )


@transaction.atomic
def append(
    *,
    conversation_id: UUID,
    messages: Sequence[NewMessage],
    run_id: UUID | None,
    author_id: UUID | None,
) -> int:
    """Append messages in order, and answer the last one's number.

    The conversation's row is locked, so numbers have no gap.
    """
    row = Conversation.objects.select_for_update().get(pk=conversation_id)
    last = row.messages.aggregate(last=Max("no"))["last"] or 0
    Message.objects.bulk_create(
        Message(
            conversation_id=conversation_id,
            no=last + offset,
            role=message.role,
            parts=[_kept(part) for part in message.parts],
            run_id=run_id,
            author_id=author_id if message.role == MessageRole.USER else None,
            model=message.model,
            usage_event_id=message.usage_event_id,
            supersedes=message.supersedes,
        )
        for offset, message in enumerate(messages, start=1)
    )
    row.updated_at = clock.now()
    row.save(update_fields=["updated_at"])
    return last + len(messages)


@transaction.atomic
def share(
    *, actor: Actor, conversation_id: UUID, visibility: ConversationVisibility
) -> Conversation:
    """Let the workspace's members read a conversation, or no longer. Its person alone decides.

    Raises NotFound, Forbidden, InvalidInput for one outside every workspace.
    """
    home = selectors.workspace_of_conversation(conversation_id)
    if home is None:
        _homeless(actor, conversation_id, Permission.AGENT_RUN)
        raise InvalidInput("this conversation belongs to no workspace that could read it")
    ref = access.workspace(actor, home, Permission.AGENT_RUN)
    row = selectors.conversation(actor, ref, conversation_id)
    if row.user_id != actor.user_id:
        raise Forbidden("only the person of a conversation shares it")
    row.visibility = visibility
    row.save(update_fields=["visibility"])
    return row


def readable(*, actor: Actor, conversation_id: UUID) -> Conversation:
    """A conversation that the actor may read; raises NotFound, Forbidden."""
    home = selectors.workspace_of_conversation(conversation_id)
    if home is None:
        return _homeless(actor, conversation_id, Permission.RUN_READ)
    ref = access.workspace(actor, home, Permission.RUN_READ)
    return selectors.conversation(actor, ref, conversation_id)


def history(conversation_id: UUID) -> list[ModelMessage]:
    """Every live message in the form of a model's request, oldest first."""
    return [
        ModelMessage(
            role=MessageRole(row.role).value,
            parts=msgspec.convert(row.parts, tuple[AnyPart, ...]),
        )
        for row in selectors.messages(conversation_id).order_by("no")
    ]


def usable(*, actor: Actor, workspace_id: UUID, conversation_id: UUID) -> Conversation:
    """The actor's own conversation of an authorised workspace, locked; raises NotFound."""
    row = (
        Conversation.objects.select_for_update()
        .filter(pk=conversation_id, workspace_id=workspace_id, user_id=actor.user_id)
        .first()
    )
    if row is None:
        raise NotFound
    return row


def _homeless(actor: Actor, conversation_id: UUID, permission: Permission) -> Conversation:
    """A gateway client's conversation outside every workspace; raises NotFound, ScopeMissing."""
    row = selectors.homeless(actor).filter(pk=conversation_id).first()
    if row is None:
        accounting.record(permission, "deny")
        raise NotFound
    people.authorise_listing(actor, permission)
    return row


def _kept(part: AnyPart) -> dict[str, object]:
    """A part as JSON, without the hint how long a vendor may cache a prompt that ends there."""
    value: dict[str, object] = msgspec.to_builtins(part)
    value.pop("cache", None)
    return value


def _title(prompt: str) -> str:
    first = next((line.strip() for line in prompt.splitlines() if line.strip()), "")
    return first if len(first) <= TITLE_CHARS else first[: TITLE_CHARS - 1] + "…"
