"""Starting, recognising and ending processes of the operating system."""

import contextlib
import ctypes
import os
import pwd
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """One process of the platform: what to run, as whom, and how to end it."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path | None = None
    user: str | None = None  # another account to run as; only root may ask for it
    stop_signal: signal.Signals = signal.SIGTERM
    stop_timeout_s: float = 10
    stop_order: int = 0  # children of a lower order have ended before a higher one is asked
    death_signal: signal.Signals = signal.SIGKILL  # sent by the kernel when its parent dies
    clean_exits: frozenset[int] = frozenset({0})
    pass_fds: Sequence[int] = ()
    prepare: Callable[[], None] | None = field(default=None)  # blocking; before every start


def die_with_parent(death_signal: signal.Signals, parent_pid: int) -> None:
    """Have the kernel send ``death_signal`` to this process when its parent ends.

    Runs in the child between fork and exec, after the change of user (which clears
    the setting). A parent that died before this line never sends the signal, hence
    the second look at the parent's pid. Only Linux knows this; elsewhere the next
    start ends what a killed supervisor left.
    """
    if _libc is None:
        return
    _libc.prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)


class PopenOptions(TypedDict, total=False):
    """What ``subprocess.Popen`` and ``asyncio.create_subprocess_exec`` take alike."""

    env: dict[str, str]
    cwd: Path | None
    stdin: int
    start_new_session: bool
    pass_fds: tuple[int, ...]
    preexec_fn: Callable[[], object]
    user: int
    group: int
    extra_groups: list[int]


def popen_options(spec: ChildSpec) -> PopenOptions:
    """Keyword arguments for ``subprocess.Popen`` and ``asyncio`` that start ``spec``.

    The caller must be the main thread: the kernel ties the death signal to the
    thread that forked, not to its process.
    """
    parent_pid = os.getpid()
    options: PopenOptions = {
        "env": dict(spec.env),
        "cwd": spec.cwd,
        "stdin": subprocess.DEVNULL,
        "start_new_session": True,
        "pass_fds": tuple(spec.pass_fds),
        "preexec_fn": lambda: die_with_parent(spec.death_signal, parent_pid),
    }
    if spec.user is not None:
        account = pwd.getpwnam(spec.user)
        options["user"], options["group"] = account.pw_uid, account.pw_gid
        options["extra_groups"] = []
    return options


def is_alive(pid: int) -> bool:
    """Whether ``pid`` is a running process; a zombie is not."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _state(pid) != "Z"


def start_mark(pid: int) -> str | None:
    """A text that tells this process from a later one with the same pid.

    None when there is no such process.
    """
    fields = _stat_fields(pid)
    if fields is not None:
        return f"{_boot_id()}:{fields[19]}"  # field 22 of proc(5): start time in ticks since boot
    answer = subprocess.run(
        ["ps", "-o", "lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout.strip() or None


def kill_group(pid: int, sign: signal.Signals) -> None:
    """Signal the process group that ``pid`` leads; an ended group is no error."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, sign)


def end(pid: int, first_signal: signal.Signals, *, timeout_s: float) -> None:
    """End a process that need not be a child of ours: ask, wait, then kill its group."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, first_signal)
    if not wait_gone([pid], timeout_s=timeout_s):
        kill_group(pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        wait_gone([pid], timeout_s=5)


def wait_gone(pids: Sequence[int], *, timeout_s: float) -> bool:
    """Wait until none of ``pids`` runs; False when the time is over first."""
    deadline = time.monotonic() + timeout_s
    while any(is_alive(pid) for pid in pids):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def working_in(directory: Path) -> list[int]:
    """Pids whose working directory is ``directory`` (Linux; elsewhere none is known)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cwd"):
        with contextlib.suppress(OSError):
            if entry.readlink() == directory:
                found.append(int(entry.parent.name))
    return found


def members_of_session(session_id: int) -> list[int]:
    """Pids of the session that ``session_id`` leads or led (Linux)."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        fields = _stat_fields(int(entry.name))
        if fields is not None and fields[3] == str(session_id) and fields[0] != "Z":
            found.append(int(entry.name))
    return found


def _state(pid: int) -> str | None:
    fields = _stat_fields(pid)
    return fields[0] if fields is not None else None


def _stat_fields(pid: int) -> list[str] | None:
    """Fields of /proc/<pid>/stat from the third on; the second may hold any character."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
