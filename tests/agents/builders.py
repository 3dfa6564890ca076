"""Builders of runs and workers: each shows only what matters to its test."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from accounts.models import User
from accounts.types import Actor
from agents import frames, journal
from agents.journal import Entry
from agents.services import runs
from agents.types import Run
from agents.worker import Worker
from tests.factories import a_user, a_workspace, an_actor
from workspaces.models import Workspace


@dataclass(frozen=True, slots=True)
class Desk:
    """Somebody at work: a person, their workspace, and how they act."""

    user: User
    workspace: Workspace
    actor: Actor


def a_desk() -> Desk:
    user = a_user()
    return Desk(user=user, workspace=a_workspace(user), actor=an_actor(user))


def a_run(desk: Desk | None = None, *, prompt: str = "hello there", **values: Any) -> Run:
    """A queued run of `universal` on the simulator's echo model."""
    desk = desk or a_desk()
    asked = {"conversation_id": None, "agent": "universal"} | values
    return runs.open_run(actor=desk.actor, workspace_id=desk.workspace.pk, prompt=prompt, **asked)


@contextmanager
def a_worker() -> Iterator[Worker]:
    worker = Worker()
    worker.start()
    try:
        yield worker
    finally:
        worker.stop()


async def followed(run_id: UUID, *, after: int = 0, **options: Any) -> list[Any]:
    """Everything a follower gets, to the end of the run."""
    return [item async for item in journal.follow(run_id, after=after, **options)]


def text_of(items: list[Any]) -> str:
    """The answer as a client shows it: what a later attempt superseded is left out."""
    events = [(item.step_id, item.event()) for item in items if isinstance(item, Entry)]
    dropped = {event.supersedes for _, event in events if isinstance(event, frames.Attempt)}
    return "".join(
        event.content
        for step_id, event in events
        if isinstance(event, frames.Delta) and step_id not in dropped
    )


def seqs(items: list[Any]) -> list[int]:
    return [item.seq for item in items if isinstance(item, Entry)]
