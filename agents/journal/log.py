"""One run's journal in the hands of its owner: sequence numbers, and what is not yet stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from uuid import UUID

from agents import frames
from agents.journal import entries
from agents.journal.entries import Entry

_open: dict[tuple[UUID, int], RunLog] = {}
"""The runs that this process writes, by run and fence."""


def find(run_id: UUID, fence: int) -> RunLog | None:
    """The open log of an owner in this process."""
    return _open.get((run_id, fence))


class RunLog:
    """Appends of the owner of `fence`. Belongs to the event loop of its writer.

    A piece of text that nobody has seen yet grows instead of becoming one row per token.
    """

    def __init__(
        self, *, run_id: UUID, fence: int, last_seq: int, wake: Callable[[bool], None]
    ) -> None:
        self.run_id = run_id
        self.fence = fence
        self.seq = last_seq
        self.is_stale = False
        self.is_storing = False
        self.fresh: list[Entry] = []
        self.unsaved: list[Entry] = []
        self.watchers: frozenset[bytes] = frozenset()
        self._wake = wake
        self._last: tuple[frames.Event, Entry] | None = None
        _open[run_id, fence] = self

    def close(self) -> None:
        """The run is no longer ours."""
        _open.pop((self.run_id, self.fence), None)

    def append(self, events: Iterable[frames.Event], *, step_id: UUID | None = None) -> None:
        """Give each event its place; they are sent within milliseconds and stored soon after."""
        for event in events:
            for piece in entries.split(event):
                if not self._grown(piece, step_id):
                    self._add(piece, step_id)
            self._wake(event.is_urgent)

    def adopt(self, old: Iterable[Entry]) -> None:
        """Take over what the former owner left in the tail: to be stored, already sent."""
        for entry in old:
            self.unsaved.append(entry)
            self.seq = entry.seq

    def take_fresh(self) -> list[Entry]:
        """What the tail has not had yet; from now on it does not change."""
        self._freeze()
        taken, self.fresh = self.fresh, []
        return taken

    def take_unsaved(self) -> list[Entry]:
        """What the database has not had yet; from now on it does not change."""
        self._freeze()
        taken, self.unsaved = self.unsaved, []
        return taken

    def _grown(self, event: frames.Event, step_id: UUID | None) -> bool:
        """Whether the event could be joined to the last entry, which nobody has seen."""
        if self._last is None or self._last[1].step_id != step_id:
            return False
        whole = entries.joined(self._last[0], event)
        if whole is None:
            return False
        self._last = (whole, self._last[1])
        return True

    def _add(self, event: frames.Event, step_id: UUID | None) -> None:
        self._freeze()
        self.seq += 1
        entry = entries.placed(
            event, run_id=self.run_id, seq=self.seq, fence=self.fence, step_id=step_id
        )
        self.fresh.append(entry)
        self.unsaved.append(entry)
        self._last = (event, entry)

    def _freeze(self) -> None:
        """Encode the last entry, once, when it will not grow any more."""
        if self._last is not None:
            event, entry = self._last
            entry.body = frames.encode(event)
            self._last = None
