"""A gateway client that resends its history with every call, as they all do."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta

from agents import selectors, tasks
from agents.models import Conversation
from ideplatform.kit import ids
from providers.services import exchanges
from providers.services.exchanges import Exchange
from providers.types import (
    Call,
    CallContext,
    ClientFamily,
    DialectName,
    Message,
    Purpose,
    TextPart,
)
from tests.factories import a_user

_minutes = itertools.count()


def user(text):
    return Message(role="user", parts=(TextPart(text=text),))


def assistant(text):
    return Message(role="assistant", parts=(TextPart(text=text),))


class Client:
    """A program that resends its history with every call, as they all do."""

    def __init__(self, person=None, *, workspace=None, key="session:s-1", family="codex"):
        self.person = person or a_user()
        self.workspace = workspace
        self.key = key
        self.family = ClientFamily(family)
        self.history: list[Message] = []

    def say(self, text, *, answer="", resent="", **values):
        """One turn: the person's words, the model's answer, and how the client remembers it."""
        self.history.append(user(text))
        exchange_id = self.record(answer=answer or f"Re: {text}", **values)
        self.history.append(assistant(resent or answer or f"Re: {text}"))
        return exchange_id

    def record(self, *, answer="", grows=True, parts=None, purpose=Purpose.TURN, at=None, **values):
        workspace = self.workspace
        home = workspace.organization_id if workspace else self.person.personal_organization.pk
        call = Call(
            request_id=ids.new(),
            context=CallContext(
                user_id=self.person.pk,
                organization_id=home,
                workspace_id=workspace.pk if workspace else None,
            ),
            model=values.pop("model", "sim-echo"),
            messages=tuple(self.history),
        )
        moment = datetime(2026, 3, 1, tzinfo=UTC) + timedelta(minutes=next(_minutes))
        exchanges.record_many(
            [
                Exchange(
                    call=call,
                    client=self.family,
                    session_key=self.key,
                    purpose=purpose,
                    dialect=DialectName.CHAT,
                    outcome="ok",
                    at=at or moment,
                    parts=parts or ((TextPart(text=answer),) if answer else ()),
                    model="sim-echo-1",
                )
            ]
        )
        if grows:
            tasks.grow_conversation({"exchange_id": str(call.request_id)})
        return call.request_id


def told(conversation) -> list[str]:
    """What a reader sees: role and words of the live messages."""
    rows = selectors.messages(conversation.pk).order_by("no")
    return [
        f"{row.role[0]}:" + "".join(part.get("text", part["type"]) for part in row.parts)
        for row in rows
    ]


def all_told() -> list[list[str]]:
    return [told(row) for row in Conversation.objects.order_by("created_at", "pk")]
