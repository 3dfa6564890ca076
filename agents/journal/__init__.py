"""The run's journal: appended by the owner of its lease, followed by whoever may read the run."""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from agents import frames
from agents.errors import StaleLease
from agents.journal import log
from agents.journal.entries import Entry
from agents.journal.following import follow
from agents.journal.log import RunLog
from agents.journal.writer import Writer

__all__ = ["Entry", "RunLog", "Writer", "append", "follow"]


def append(
    run_id: UUID, events: Iterable[frames.Event], *, fence: int, step_id: UUID | None = None
) -> None:
    """Append to a run that this process owns under `fence`, on its worker's loop.

    Events are visible within 8 ms and durable within 250 ms, or when a flush has returned.
    Raises StaleLease when the run is not (or no longer) ours.
    """
    opened = log.find(run_id, fence)
    if opened is None or opened.is_stale:
        raise StaleLease
    opened.append(events, step_id=step_id)
