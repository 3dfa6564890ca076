"""Hostile or heavy input runs in a disposable child process, never here.

`children.run("memory.chunking_child:chunk", body)` starts a fresh interpreter with an empty
environment, memory, CPU, file and network limits, hands it the bytes and takes the bytes back.
By `subprocess`, since Celery's pool forbids multiprocessing.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import selectors
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final, Literal

import structlog

from ideplatform.kit import child_main
from ideplatform.kit.errors import PlatformError, Unavailable

log = structlog.get_logger(__name__)

MIB: Final = 1024 * 1024
MEMORY_MB: Final = 256
CPU_S: Final = 2
WALL_S: Final = 10
MAX_OUTPUT_BYTES: Final = 16 * MIB
# Children of this process at once; a further one waits within its own wall time.
MAX_PARALLEL: Final = 8

_ROOT: Final = str(Path(__file__).resolve().parents[2])
_ENTRY: Final = str(Path(child_main.__file__).resolve())
_PIECE: Final = 65_536
_STDERR_BYTES: Final = 2_048
_KINDS: Final[dict[int, Kind]] = {
    child_main.OUT_OF_MEMORY: "too_much_memory",
    -signal.SIGXCPU: "timed_out",
}

Kind = Literal["crashed", "timed_out", "too_much_memory", "output_too_large"]


class ChildFailed(PlatformError):
    """The input could not be processed within its limits; `kind` says which way it ended."""

    code, title, status = "not_processable", "This could not be processed within its limits", 422

    def __init__(self, kind: Kind) -> None:
        super().__init__(kind=kind)
        self.kind = kind


class ChildrenBusy(Unavailable):
    code, title = "children_busy", "Too much is being processed at once"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Address space in MB, CPU and wall time in seconds, result in bytes."""

    memory_mb: int = MEMORY_MB
    cpu_s: float = CPU_S
    wall_s: float = WALL_S
    max_output_bytes: int = MAX_OUTPUT_BYTES


def run(
    target: str,
    body: bytes,
    *,
    memory_mb: int = MEMORY_MB,
    cpu_s: float = CPU_S,
    wall_s: float = WALL_S,
    max_output_bytes: int = MAX_OUTPUT_BYTES,
) -> bytes:
    """Call `module:function` with `body` in a child; the function takes and returns bytes.

    CPU time is rounded up to whole seconds. What the function finds wrong with its input belongs
    into its result. Raises ChildFailed 422 and ChildrenBusy 503.
    """
    limits = Limits(
        memory_mb=memory_mb, cpu_s=cpu_s, wall_s=wall_s, max_output_bytes=max_output_bytes
    )
    return _run(target, body, limits, time.monotonic() + wall_s)


_slots = threading.BoundedSemaphore(MAX_PARALLEL)


def _run(target: str, body: bytes, limits: Limits, deadline: float) -> bytes:
    if not _slots.acquire(timeout=max(0.0, deadline - time.monotonic())):
        raise ChildrenBusy(retry_after_s=1)
    try:
        return _Exchange(_start(target, limits), body, limits, deadline).result()
    except ChildFailed as failed:
        log.warning("child.failed", target=target, kind=failed.kind, input_bytes=len(body))
        raise
    finally:
        _slots.release()


def _start(target: str, limits: Limits) -> subprocess.Popen[bytes]:
    settings = {
        "memory_bytes": limits.memory_mb * MIB,
        "cpu_s": math.ceil(limits.cpu_s),
        "parent": os.getpid(),
    }
    return subprocess.Popen(  # noqa: S603 - our own entry, no shell
        [sys.executable, "-I", "-X", "utf8", _ENTRY, target, _ROOT, json.dumps(settings)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={},
        cwd="/",
        start_new_session=True,
    )


@dataclass(slots=True)
class _Exchange:
    """Feeds one child and collects its answer, without ever waiting beyond the deadline."""

    child: subprocess.Popen[bytes]
    body: bytes
    limits: Limits
    deadline: float
    output: bytearray = field(default_factory=bytearray)
    notes: bytearray = field(default_factory=bytearray)

    def result(self) -> bytes:
        try:
            self._talk()
            status = self.child.wait(max(0.0, self.deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise ChildFailed("timed_out") from None
        finally:
            self._end()
        if status != 0:
            log.info("child.ended", status=status, error=self.notes.decode(errors="replace"))
            raise ChildFailed(_KINDS.get(status, "crashed"))
        return bytes(self.output)

    def _talk(self) -> None:
        view = memoryview(self.body)
        with selectors.DefaultSelector() as selector:
            for pipe, events in (
                (self.child.stdin, selectors.EVENT_WRITE),
                (self.child.stdout, selectors.EVENT_READ),
                (self.child.stderr, selectors.EVENT_READ),
            ):
                if pipe is not None:  # for the type checker: all three are pipes
                    os.set_blocking(pipe.fileno(), False)
                    selector.register(pipe, events)
            while selector.get_map():
                left_s = self.deadline - time.monotonic()
                ready = selector.select(left_s) if left_s > 0 else []
                if not ready:
                    raise ChildFailed("timed_out")
                for key, _ in ready:
                    if key.fileobj is self.child.stdin:
                        view = self._write(selector, self.child.stdin, view)
                    else:
                        self._read(selector, key)

    def _write(
        self, selector: selectors.BaseSelector, pipe: IO[bytes], view: memoryview
    ) -> memoryview:
        with contextlib.suppress(BrokenPipeError):
            view = view[os.write(pipe.fileno(), view[:_PIECE]) :]
            if view:
                return view
        selector.unregister(pipe)
        pipe.close()
        return view

    def _read(self, selector: selectors.BaseSelector, key: selectors.SelectorKey) -> None:
        piece = os.read(key.fd, _PIECE)
        if not piece:
            selector.unregister(key.fileobj)
        elif key.fileobj is self.child.stderr:
            self.notes += piece[: _STDERR_BYTES - len(self.notes)]
        else:
            self.output += piece
            if len(self.output) > self.limits.max_output_bytes:
                raise ChildFailed("output_too_large")

    def _end(self) -> None:
        """Whatever happened: no process of the group, no descriptor and no zombie stays."""
        _kill(self.child)
        for pipe in (self.child.stdin, self.child.stdout, self.child.stderr):
            if pipe is not None:
                pipe.close()
        self.child.wait()


def _kill(child: subprocess.Popen[bytes]) -> None:
    # The group outlives its leader only until the leader is reaped, so the id is still ours.
    if child.returncode is None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
