"""Conversations of gateway clients, grown from what their calls resend.

A session of a person is a tree of conversations, each grown under the lock of its thread:

- what continues the end of one is appended to it: the new turn and its answer, each once, however
  often or in which order its calls are read; what a lost record left out comes with the next;
- the same turn asked again at the end: the new answer supersedes the old one;
- a history that was edited, or taken up again in the middle, branches off: a new conversation with
  the messages up to there, and the old one as its parent;
- a history that shares nothing (a sub-agent, a compaction) is a new one below the session's first.

Calls that only name a conversation give the first one its title and are no turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import structlog
from django.db import transaction

from agents import resends, selectors
from agents.models import Conversation, GatewayThread, GatewayTurn
from agents.resends import Turn
from agents.services import conversations
from agents.services.conversations import NewMessage
from agents.types import ConversationOrigin, MessageRole
from providers.services import exchanges
from providers.services.exchanges import Recorded
from providers.types import AGENT_PREFIX, Message, Purpose

log = structlog.get_logger(__name__)

_BY_FIRST_WORDS = "first:"
_ROLES = {"user": MessageRole.USER, "tool": MessageRole.TOOL, "assistant": MessageRole.ASSISTANT}


def grow(exchange_id: UUID) -> None:
    """Take one recorded call into its conversation; nothing happens the second time.

    An agent's own runs are in its conversation already; metadata alone makes none.
    """
    found = exchanges.recorded(exchange_id)
    if found is None or found.model.startswith(AGENT_PREFIX):
        return
    if found.purpose is Purpose.TITLE:
        _name(found)
        return
    asked = resends.turns(found.request.messages)
    if asked:
        with transaction.atomic():
            thread = locked(
                organization_id=found.organization_id,
                user_id=found.user_id,
                session_key=found.session_key,
            )
            _Growth(thread, found, asked).run()


def locked(*, organization_id: UUID, user_id: UUID, session_key: str) -> GatewayThread:
    """The thread of a session, made if need be; nobody else grows it until the transaction ends."""
    names = {"organization_id": organization_id, "user_id": user_id, "session_key": session_key}
    GatewayThread.objects.bulk_create([GatewayThread(**names)], ignore_conflicts=True)
    return GatewayThread.objects.select_for_update().get(**names)


def known(thread: GatewayThread, asked: Sequence[Turn], *, agent_id: str) -> GatewayTurn | None:
    """The deepest of these turns that the thread's conversations with `agent_id` have."""
    rows = GatewayTurn.objects.filter(
        thread=thread,
        digest__in=[turn.digest for turn in asked],
        conversation__agent_id=agent_id,
    )
    return rows.select_related("conversation").order_by("position", "asked_at", "pk").last()


def is_last(turn: GatewayTurn) -> bool:
    """Whether its conversation ends with this turn."""
    later = GatewayTurn.objects.filter(
        conversation_id=turn.conversation_id, position__gt=turn.position
    )
    return not later.exists()


def forget_user(user_id: UUID) -> None:
    """A person left: their sessions, and what they said outside every workspace, are gone."""
    GatewayThread.objects.filter(user_id=user_id).delete()
    Conversation.objects.filter(user_id=user_id, workspace__isnull=True).delete()


def new_messages(messages: Sequence[Message], *, model: str = "") -> list[NewMessage]:
    """Messages of a client's history as a conversation keeps them."""
    kept = ((_ROLES.get(message.role), resends.readable(message)) for message in messages)
    return [
        NewMessage(role=role, parts=parts, model=model if role == MessageRole.ASSISTANT else "")
        for role, parts in kept
        if role is not None and parts
    ]


@transaction.atomic
def _name(found: Recorded) -> None:
    """Give the session its name; a session known by its first words has none of its own."""
    name = resends.title(found.answer.parts)
    if not name or found.session_key.startswith(_BY_FIRST_WORDS):
        return
    thread = locked(
        organization_id=found.organization_id,
        user_id=found.user_id,
        session_key=found.session_key,
    )
    if thread.titled_at is not None and thread.titled_at >= found.created_at:
        return
    thread.title, thread.titled_at = name, found.created_at
    thread.save(update_fields=["title", "titled_at"])
    first = _first(thread)
    if first is not None:
        first.title = name
        first.save(update_fields=["title"])


def _first(thread: GatewayThread) -> Conversation | None:
    turn = (
        GatewayTurn.objects.filter(thread=thread)
        .select_related("conversation")
        .order_by("conversation__created_at", "conversation_id")
        .first()
    )
    return turn.conversation if turn is not None else None


class _Growth:
    """One call taken into a locked thread."""

    def __init__(self, thread: GatewayThread, found: Recorded, asked: Sequence[Turn]) -> None:
        self._thread = thread
        self._found = found
        self._asked = asked
        self._agent_id = found.client.value
        self._last = len(asked) - 1

    def run(self) -> None:
        turn = known(self._thread, self._asked, agent_id=self._agent_id)
        if turn is None:
            self._append(self._opened(), 0, has_answer=False)
        elif turn.position < self._last:
            self._go_on(turn)
        elif turn.exchange_id != self._found.id:
            self._ask_again(turn)

    def _go_on(self, turn: GatewayTurn) -> None:
        conversation = turn.conversation if is_last(turn) else self._branched(turn)
        has_answer = turn.answer_no is not None
        self._append(conversation, turn.position + 1, has_answer=has_answer)

    def _ask_again(self, turn: GatewayTurn) -> None:
        """The same question: a late record of an older call, a retry, or another answer."""
        is_late = self._found.created_at <= turn.asked_at
        if is_late and turn.answer_no is not None:
            return
        if is_last(turn):
            self._answer(turn)
        elif not is_late:
            before = GatewayTurn.objects.filter(
                conversation_id=turn.conversation_id, position=turn.position - 1
            ).first()
            base = turn.conversation if before is None else self._branched(before)
            if before is None:
                base = self._opened(parent=base)
            has_answer = before is not None and before.answer_no is not None
            self._append(base, turn.position, has_answer=has_answer)

    def _append(self, conversation: Conversation, begin: int, *, has_answer: bool) -> None:
        """The turns from `begin` on, with the answers between them that are not there yet."""
        turn = None
        for position in range(begin, self._last + 1):
            asked = self._asked[position]
            if turn is not None:
                self._fill(turn, asked)
            elif not has_answer:
                self._write(conversation, new_messages(asked.before))
            last_no = self._write(conversation, new_messages(asked.messages))
            turn = GatewayTurn.objects.create(
                thread=self._thread,
                conversation=conversation,
                position=position,
                digest=asked.digest,
                exchange_id=self._found.id,
                asked_at=self._found.created_at,
                last_no=last_no,
            )
        if turn is not None:
            self._answer(turn)

    def _fill(self, turn: GatewayTurn, asked: Turn) -> None:
        """The answer to an earlier turn as the client has it: no record of ours has it."""
        messages = new_messages(asked.before)
        if messages:
            turn.answer_no = turn.last_no = self._write(turn.conversation, messages)
            turn.save(update_fields=["answer_no", "last_no"])

    def _answer(self, turn: GatewayTurn) -> None:
        answer, fields = self._found.answer, ["exchange_id", "asked_at"]
        said = Message(role="assistant", parts=answer.parts)
        if parts := resends.readable(said):
            message = NewMessage(
                role=MessageRole.ASSISTANT,
                parts=parts,
                model=answer.model,
                usage_event_id=answer.usage_event_id,
                supersedes=turn.answer_no,
            )
            turn.answer_no = turn.last_no = self._write(turn.conversation, [message])
            fields += ["answer_no", "last_no"]
        turn.exchange_id = self._found.id
        turn.asked_at = max(turn.asked_at, self._found.created_at)
        turn.save(update_fields=fields)

    def _write(self, conversation: Conversation, messages: Sequence[NewMessage]) -> int:
        return conversations.append(
            conversation_id=conversation.pk,
            messages=messages,
            run_id=None,
            author_id=self._found.user_id,
        )

    def _opened(self, *, parent: Conversation | None = None) -> Conversation:
        first = _first(self._thread)
        conversation = conversations.open_thread(
            workspace_id=self._found.workspace_id,
            user_id=self._found.user_id,
            agent_id=self._agent_id,
            prompt=resends.words(self._asked[0].messages),
            origin=ConversationOrigin.GATEWAY,
            parent=parent or first,
        )
        if first is None and self._thread.title:
            conversation.title = self._thread.title
            conversation.save(update_fields=["title"])
        return conversation

    def _branched(self, turn: GatewayTurn) -> Conversation:
        """A new conversation with everything up to the end of a turn, in its own numbers."""
        branch = self._opened(parent=turn.conversation)
        rows = selectors.messages(turn.conversation_id).filter(no__lte=turn.last_no).order_by("no")
        numbers: dict[int, int] = {}
        for no, row in enumerate(rows, start=1):
            numbers[row.no] = no
            row.pk, row.no, row.conversation, row.supersedes = None, no, branch, None
            row.save(force_insert=True)
        kept = GatewayTurn.objects.filter(
            conversation_id=turn.conversation_id, position__lte=turn.position
        )
        for copy in kept.order_by("position"):
            answer_no = copy.answer_no
            copy.pk, copy.conversation = None, branch
            copy.last_no = max(
                (new for old, new in numbers.items() if old <= copy.last_no), default=0
            )
            copy.answer_no = None if answer_no is None else numbers[answer_no]
            copy.save(force_insert=True)
        return branch
