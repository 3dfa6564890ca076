"""Children live until they are told to end, in order, whatever happens to their supervisor."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.waiting import eventually

SLEEP = "import time; print('alive', flush=True); time.sleep(600)"
OBSTINATE = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print('alive', flush=True)
time.sleep(600)
"""
WITH_GRANDCHILD = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])
open(os.path.join(os.environ['DIR'], 'grandchild'), 'w').write(str(child.pid))
print('alive', flush=True)
time.sleep(600)
"""
NOTES_ITS_END = """
import os, signal, sys, time
def end(*_):
    with open(os.path.join(os.environ['DIR'], 'ends'), 'a') as ends:
        ends.write(os.environ['NAME'] + ' ')
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print('alive', flush=True)
time.sleep(600)
"""


class Platform:
    """A supervisor process and what it says."""

    def __init__(self, data_dir: Path, programs: list[tuple[str, str, int]]) -> None:
        self.data_dir = data_dir
        self.said = data_dir.parent / f"said-{time.monotonic_ns()}"
        with self.said.open("wb") as said:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "tests.embedded.small_platform", str(data_dir)),
                    json.dumps([(name, textwrap.dedent(code), at) for name, code, at in programs]),
                ],
                stdout=said,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self.said.read_text()

    def says(self, text: str, *, times: int = 1) -> None:
        eventually(lambda: self.text.count(text) >= times, within_s=10)

    def pid_of(self, name: str) -> int:
        """The pid of the living child ``name``, from the register on disk."""
        return eventually(lambda: self._pids().get(name, 0), within_s=10)

    def _pids(self) -> dict[str, int]:
        with contextlib.suppress(OSError, ValueError):
            rows = json.loads((self.data_dir / "children.json").read_text())
            return {row["name"]: row["pid"] for row in rows}
        return {}

    def end(self, sign: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(sign)
        return self.process.wait(20)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[object]:
    started: list[Platform] = []

    def make(*programs: tuple[str, str, int], until: str = "up") -> Platform:
        platform = Platform(tmp_path / "data", list(programs))
        started.append(platform)
        platform.says(until)
        return platform

    yield make
    for platform in started:
        platform.process.kill()
        platform.process.wait()


def gone(*pids: int) -> bool:
    return not any(
        psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
        for pid in pids
    )


def test_a_killed_child_is_started_again(start):
    platform = start(("one", SLEEP, 0), until="alive")
    first = platform.pid_of("one")
    os.kill(first, signal.SIGKILL)
    platform.says("alive", times=2)
    assert platform.pid_of("one") != first
    assert "one ended with SIGKILL; restart in 0.05 s" in platform.text
    assert platform.end() == 0


def test_pauses_between_restarts_double_up_to_their_limit(start):
    platform = start(("one", "import time; time.sleep(0.05)", 0), until="given up")
    assert platform.process.wait(10) == 1
    delays = [line.rpartition("in ")[2] for line in platform.text.splitlines() if "restart" in line]
    assert delays == ["0.05 s", "0.1 s", "0.2 s", "0.2 s"]


def test_five_deaths_end_everything_and_show_the_last_fifty_lines(start):
    program = "import sys\nfor n in range(60): print('line', n)\nsys.exit(7)"
    platform = start(("bad", program, 0), ("good", SLEEP, 0), until="alive")
    good = platform.pid_of("good")
    platform.says("given up")
    assert platform.process.wait(10) == 1
    assert "bad died 5 times in 60 s and is given up; its last 50 lines:" in platform.text
    shown = platform.text.partition("its last 50 lines:\n")[2].splitlines()
    assert shown[:50] == [f"bad  | line {number}" for number in range(10, 60)]
    assert gone(good)


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_children_in_their_order(start, sign):
    platform = start(
        ("last", NOTES_ITS_END, 2), ("first", NOTES_ITS_END, 0), ("middle", NOTES_ITS_END, 1)
    )
    platform.says("alive", times=3)
    pids = [platform.pid_of(name) for name in ("first", "middle", "last")]
    assert platform.end(sign) == 0
    assert (platform.data_dir / "ends").read_text() == "first middle last "
    assert gone(*pids)


def test_a_child_that_does_not_listen_is_killed_with_its_own_children(start):
    platform = start(("deaf", OBSTINATE, 0), ("parent", WITH_GRANDCHILD, 0))
    platform.says("alive", times=2)
    grandchild = int((platform.data_dir / "grandchild").read_text())
    pids = [platform.pid_of("deaf"), platform.pid_of("parent"), grandchild]
    assert platform.end() == 0
    assert "deaf did not end in 1 s and is killed" in platform.text
    assert eventually(lambda: gone(*pids))


def test_a_second_signal_kills_at_once(start):
    platform = start(("a", OBSTINATE, 0), ("b", OBSTINATE, 1), ("c", OBSTINATE, 2))
    platform.says("alive", times=3)
    pids = [platform.pid_of(name) for name in "abc"]
    began = time.monotonic()
    platform.process.send_signal(signal.SIGINT)
    platform.says("stopping")
    platform.process.send_signal(signal.SIGINT)
    assert platform.process.wait(5) == 0
    assert time.monotonic() - began < 1
    assert gone(*pids)


def test_the_kernel_ends_the_children_of_a_killed_supervisor(start):
    platform = start(("one", OBSTINATE, 0), ("two", SLEEP, 0))
    pids = [platform.pid_of("one"), platform.pid_of("two")]
    platform.end(signal.SIGKILL)
    assert eventually(lambda: gone(*pids))


def test_the_next_start_ends_what_the_kernel_did_not(start):
    platform = start(("parent", WITH_GRANDCHILD, 0))
    platform.says("alive")
    grandchild = int((platform.data_dir / "grandchild").read_text())
    platform.end(signal.SIGKILL)
    eventually(lambda: gone(platform.process.pid))
    assert not gone(grandchild)  # it did not ask the kernel for a death signal
    again = start(("other", SLEEP, 0))
    assert "ended stale parent" in again.text
    assert gone(grandchild)
    assert again.end() == 0


def test_a_process_that_only_has_the_old_number_is_spared(start, tmp_path):
    bystander = subprocess.Popen([sys.executable, "-c", SLEEP], start_new_session=True)
    entry = {"name": "one", "pid": bystander.pid, "mark": "boot:1", "stop_signal": 15}
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "children.json").write_text(json.dumps([entry]))
    platform = start(("one", SLEEP, 0))
    assert "stale" not in platform.text
    assert bystander.poll() is None
    assert platform.end() == 0
    bystander.kill()
    bystander.wait()


def test_a_second_start_on_the_directory_is_refused_and_names_the_first(start):
    first = start(("one", SLEEP, 0))
    child = first.pid_of("one")
    second = Platform(first.data_dir, [("one", SLEEP, 0)])
    assert second.process.wait(10) != 0
    assert f"already running: pid {first.process.pid}, http://127.0.0.1:1" in second.text
    assert first.pid_of("one") == child
    assert not gone(child)
    assert first.end() == 0


def test_the_lock_of_a_killed_supervisor_is_free(start):
    start(("one", SLEEP, 0)).end(signal.SIGKILL)
    assert start(("one", SLEEP, 0)).end() == 0


def test_lines_go_to_the_terminal_and_to_files(start):
    program = "print('a word'); print('x' * 200_000); print('end'); import time; time.sleep(600)"
    platform = start(
        ("talker", f"import sys; sys.stdout.reconfigure(line_buffering=True); {program}", 0)
    )
    platform.says("talker | end")
    assert "talker | a word\n" in platform.text
    log = (platform.data_dir / "logs" / "talker.log").read_text().splitlines()
    assert log[0] == "a word"
    assert "".join(log[1:-1]) == "x" * 200_000
    assert log[-1] == "end"
    assert platform.end() == 0
