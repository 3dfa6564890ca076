"""Which processes a supervisor started, on disk, so that the next one can end them."""

import contextlib
import json
import signal
from dataclasses import asdict, dataclass
from pathlib import Path

from ideplatform.embedded import private_files, processes
from ideplatform.embedded.processes import ChildSpec

STALE_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """A started process; ``mark`` tells it from a later one with the same pid."""

    name: str
    pid: int
    mark: str
    stop_signal: int


class Register:
    """``DATA_DIR/children.json``: one entry per living child."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._entries: dict[str, Entry] = {}

    def add(self, spec: ChildSpec, pid: int) -> None:
        """Note a started child; one that has ended already leaves no entry."""
        mark = processes.start_mark(pid)
        if mark is not None:
            entry = Entry(name=spec.name, pid=pid, mark=mark, stop_signal=int(spec.stop_signal))
            self._entries[spec.name] = entry
            self._save()

    def remove(self, name: str) -> None:
        if self._entries.pop(name, None) is not None:
            self._save()

    def end_stale(self) -> list[str]:
        """End what a killed supervisor left behind, stores last; answer the names."""
        ended = [entry.name for entry in reversed(self._load()) if _end(entry)]
        self._entries = {}
        self._save()
        return ended

    def _load(self) -> list[Entry]:
        try:
            rows = json.loads(self._path.read_text(encoding="utf-8"))
            return [Entry(**row) for row in rows]
        except (
            OSError,
            ValueError,
            TypeError,
        ):  # absent, or cut by a crash of the machine
            return []

    def _save(self) -> None:
        rows = [asdict(entry) for entry in self._entries.values()]
        private_files.write(self._path, json.dumps(rows, indent=1) + "\n")


def _end(entry: Entry) -> bool:
    """End the process of ``entry`` if it is still that process, and the rest of its session."""
    found = False
    if processes.start_mark(entry.pid) == entry.mark and processes.is_alive(entry.pid):
        found = True
        sign = signal.Signals(entry.stop_signal)
        processes.end(entry.pid, sign, timeout_s=STALE_TIMEOUT_S)
    for pid in processes.members_of_session(entry.pid):
        if _is_younger(pid, entry):
            found = True
            with contextlib.suppress(ProcessLookupError, PermissionError):
                processes.end(pid, signal.SIGKILL, timeout_s=1)
    return found


def _is_younger(pid: int, entry: Entry) -> bool:
    """Whether ``pid`` can descend from the process of ``entry``.

    A session number is a pid, and pids are used again: only a process of the same boot
    that started after the entry's can be its child.
    """
    mark = processes.start_mark(pid)
    if mark is None:
        return False
    boot, _, ticks = mark.rpartition(":")
    entry_boot, _, entry_ticks = entry.mark.rpartition(":")
    return boot == entry_boot and int(ticks) >= int(entry_ticks)
