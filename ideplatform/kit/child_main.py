"""The entry of a disposable child: limits first, then the one function.

Run as a script (`python -I child_main.py module:function`), with the standard library alone
until the limits stand. Standard input is the function's argument, standard output its result;
both are bytes. The exit status says how it ended; no text of an exception leaves the child.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

FAILED = 70
OUT_OF_MEMORY = 71
NOT_LIMITED = 72

_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
_CLONE_NEWUSER = 0x10000000
_CLONE_NEWNET = 0x40000000
_CLOSED_EVENTS = (
    "socket.",
    "subprocess.",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "os.spawn",
    "os.startfile",
    "os.system",
    "pty.",
    "ftplib.",
    "http.client.",
    "smtplib.",
    "urllib.",
)
_OPEN_FILES = 64


def main() -> NoReturn:
    """Limit this process, call the function, answer, and end without clean-up."""
    target, root, limits = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    answer = os.dup(1)
    os.dup2(2, 1)  # what a library prints is not the result
    try:
        _limit(**limits)
    except (OSError, ValueError):
        os._exit(NOT_LIMITED)
    os._exit(_served(target, root, answer))


def _served(target: str, root: str, answer: int) -> int:
    try:
        work = _function(target, root)
        _send(answer, work(sys.stdin.buffer.read()))
    except MemoryError:
        return OUT_OF_MEMORY
    except BaseException as failed:  # noqa: BLE001 - Rust panics are no Exception; the end is near
        os.write(2, type(failed).__name__.encode())
        return FAILED
    return 0


def _function(target: str, root: str) -> Callable[[bytes], bytes]:
    sys.path.insert(0, root)
    module, _, name = target.partition(":")
    function: Callable[[bytes], bytes] = getattr(importlib.import_module(module), name)
    return function


def _send(answer: int, result: bytes) -> None:
    view = memoryview(result)
    while view:
        view = view[os.write(answer, view) :]


def _limit(*, memory_bytes: int, cpu_s: int, parent: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # the parent died before the call above
        os._exit(NOT_LIMITED)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    _leave_network(libc)
    sys.addaudithook(_refuse)
    _set(resource.RLIMIT_AS, memory_bytes)
    # The kernel kills at the hard limit without saying why; the soft one comes first and says so.
    resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s + 1))
    _set(resource.RLIMIT_NOFILE, _OPEN_FILES)
    _set(resource.RLIMIT_FSIZE, 0)
    _set(resource.RLIMIT_CORE, 0)


def _set(kind: int, limit: int) -> None:
    resource.setrlimit(kind, (limit, limit))


def _leave_network(libc: ctypes.CDLL) -> None:
    """An empty network namespace where the kernel grants one; the audit hook stands anyway."""
    if libc.unshare(_CLONE_NEWNET) != 0:
        libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)


def _refuse(event: str, _arguments: object) -> None:
    if event.startswith(_CLOSED_EVENTS):
        raise PermissionError("a child neither connects nor starts processes")


if __name__ == "__main__":
    main()
