"""A child gives its result or ends within its limits, and leaves nothing behind."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from ideplatform.kit import children
from ideplatform.kit.children import ChildFailed
from tests.waiting import eventually

TARGETS = "tests.kit.child_targets:"
ROOT = Path(__file__).resolve().parents[2]


def _command_line(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:  # a zombie is one too
        return []


def _children_alive() -> list[psutil.Process]:
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if any("child_main" in part for part in _command_line(process))
    ]


@pytest.fixture(autouse=True)
def _nothing_stays():
    pipes = _pipes()
    yield
    eventually(lambda: not _children_alive())
    eventually(lambda: _pipes() <= pipes)


def _pipes() -> int:
    """How many pipes this process has open; its other threads come and go with sockets."""
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):
            found += descriptor.readlink().name.startswith("pipe:")
    return found


def _kind(target: str, body: bytes = b"", **limits: Any) -> str:
    with pytest.raises(ChildFailed) as failed:
        children.run(TARGETS + target, body, **limits)
    return failed.value.kind


@pytest.mark.parametrize("body", [b"", b"x", os.urandom(3_000_000)])
def test_bytes_go_in_and_come_out(body):
    assert children.run(TARGETS + "echo", body) == body


def test_a_child_has_its_limits_and_nothing_of_ours():
    seen = json.loads(children.run(TARGETS + "environment", b"", memory_mb=300, cpu_s=1.5))
    assert seen["variables"] in ([], ["LC_CTYPE"])
    assert set(seen["interfaces"]) <= {"lo"}
    assert seen["limits"] == {
        "AS": [300 * 1024 * 1024] * 2,
        "CPU": [2, 3],
        "NOFILE": [64, 64],
        "FSIZE": [0, 0],
        "CORE": [0, 0],
    }
    assert (seen["cwd"], seen["isolated"], seen["leader"]) == ("/", 1, True)


def test_too_much_cpu_time():
    started = time.monotonic()
    assert _kind("spin", cpu_s=1, wall_s=20) == "timed_out"
    assert time.monotonic() - started < 10


def test_too_much_wall_time(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    started = time.monotonic()
    assert _kind("wait", str(fifo).encode(), wall_s=0.5) == "timed_out"
    assert time.monotonic() - started < 3


def test_too_much_memory():
    assert _kind("grow", memory_mb=128) == "too_much_memory"


def test_too_large_a_result():
    assert len(children.run(TARGETS + "pour", b"", max_output_bytes=5_000_001)) == 5_000_001
    assert _kind("pour", max_output_bytes=5_000_000) == "output_too_large"


@pytest.mark.parametrize("target", ["fail", "panic", "crash", "not_bytes", "absent"])
def test_a_crash_is_told_without_its_text(target):
    with pytest.raises(ChildFailed) as failed:
        children.run(TARGETS + target, b"")
    assert failed.value.kind == "crashed"
    assert "secret" not in f"{failed.value} {failed.value.extra}"


def test_a_child_that_reads_nothing_does_not_block_its_feeder():
    assert _kind("absent", b"x" * 5_000_000) == "crashed"


@pytest.mark.parametrize(
    "attempt", ["socket", "resolve", "popen", "system", "fork", "exec", "spawn"]
)
def test_a_child_neither_connects_nor_starts_processes(attempt):
    answer = children.run(TARGETS + "closed", attempt.encode())
    assert answer == b"a child neither connects nor starts processes"


def test_a_child_writes_no_file(tmp_path):
    target = tmp_path / "file"
    answer = children.run(TARGETS + "write_file", str(target).encode())
    assert answer == str(errno.EFBIG).encode()
    assert target.read_bytes() == b""


def _grants_namespaces() -> bool:
    return (
        subprocess.run(["unshare", "-rn", "true"], capture_output=True, check=False).returncode == 0
    )


def test_the_network_is_gone_below_python_too_where_the_kernel_allows():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1]).encode()
        answer = int(children.run(TARGETS + "connect_raw", port))
    expected = {True: {errno.ENETUNREACH}, False: {0, errno.EPERM}}[_grants_namespaces()]
    assert answer in expected


def test_beyond_the_parallel_bound_a_call_waits_and_then_gives_up(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    ended: list[str] = []

    def hold() -> None:
        ended.append(_kind("wait", str(fifo).encode(), wall_s=1.5))

    threads = [threading.Thread(target=hold) for _ in range(children.MAX_PARALLEL)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(_children_alive()) == children.MAX_PARALLEL)
    with pytest.raises(children.ChildrenBusy):
        children.run(TARGETS + "echo", b"", wall_s=0.2)
    for thread in threads:
        thread.join(10)
    assert ended == ["timed_out"] * children.MAX_PARALLEL
    assert children.run(TARGETS + "echo", b"free again") == b"free again"


def _opened_by_reader(fifo: Path) -> int:
    """A descriptor for writing, once someone reads: so the function itself runs by then."""
    try:
        return os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return 0


def test_a_child_does_not_outlive_its_parent(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    program = (
        "from ideplatform.kit import children\n"
        f"children.run('{TARGETS}wait', {str(fifo).encode()!r}, wall_s=60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], cwd=ROOT)
    writer = eventually(lambda: _opened_by_reader(fifo), within_s=10)
    orphans = _children_alive()
    assert len(orphans) == 1
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    eventually(lambda: not orphans[0].is_running())
    os.close(writer)
