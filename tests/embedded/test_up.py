"""`manage.py up`: one command, the whole platform; afterwards nothing."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ideplatform.embedded import ports
from ideplatform.embedded.postgres import PostgresPart
from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
START_S, STOP_S = 90, 35
KEPT = ("PATH", "HOME", "LANG", "VIRTUAL_ENV", "TMPDIR")  # nothing of the suite's environment
CHILDREN = {"postgres", "redis", "simulator", "web", "agents", "worker", "beat"}


class Up:
    """One `manage.py up` on a directory."""

    def __init__(self, data_dir: Path, *flags: str, port: int | None = None) -> None:
        self.data_dir = data_dir
        self.port = port or ports.free_port()
        self._log = data_dir.parent / f"up-{time.monotonic_ns()}.log"
        arguments = ["--data-dir", str(data_dir), "--port", str(self.port), *flags]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "manage.py", "up", *arguments],
                cwd=ROOT,
                env={name: os.environ[name] for name in KEPT if name in os.environ},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self._log.read_text(errors="replace")

    def serves(self) -> None:
        eventually(
            lambda: "  try:" in self.text or self.process.poll() is not None, within_s=START_S
        )
        assert "  try:" in self.text, self.text[-3000:]
        eventually(lambda: set(self.pids()) >= CHILDREN, within_s=START_S)

    def pids(self) -> dict[str, int]:
        with contextlib.suppress(OSError, ValueError):
            rows = json.loads((self.data_dir / "children.json").read_text())
            return {row["name"]: row["pid"] for row in rows}
        return {}

    def family(self) -> list[psutil.Process]:
        """The supervisor and everything below it."""
        supervisor = psutil.Process(self.process.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def get(self, path: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()

    def status(self, path: str) -> int:
        try:
            return self.get(path)[0]
        except OSError:
            return 0

    def end(self, sign: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(sign)
        return self.process.wait(STOP_S)


@contextlib.contextmanager
def up(data_dir: Path, *flags: str, port: int | None = None) -> Iterator[Up]:
    running = Up(data_dir, *flags, port=port)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("up") / "data"
    yield path
    PostgresPart(path, port=1).destroy()


def gone(processes: list[psutil.Process]) -> bool:
    return not any(
        process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes
    )


def test_a_taken_port_is_named_and_nothing_is_started(tmp_path: Path):
    with (
        socket.create_server(("127.0.0.1", ports.free_port())) as taken,
        up(tmp_path / "data", port=taken.getsockname()[1]) as refused,
    ):
        assert refused.process.wait(20) == 1
        assert f"port {refused.port} on 127.0.0.1 is already in use" in refused.text
        assert refused.pids() == {}
        assert not (tmp_path / "data" / "postgres.env").exists()


def test_data_without_keys_is_refused(tmp_path: Path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "postgres.env").touch()
    with up(data) as refused:
        assert refused.process.wait(20) == 1
        assert "VAULT_MASTER_KEYS" in refused.text
        assert "Traceback" not in refused.text
        assert not (data / "secrets.env").exists()


@pytest.mark.timeout(300)
def test_a_platform_rises_alone_leaves_nothing_and_rises_again(directory: Path):
    with up(directory) as first:
        first.serves()
        assert re.search(rf"at http://127.0.0.1:{first.port} \(ready in [\d.]+ s", first.text)
        assert "demo sign-in: " in first.text
        assert f"dashboard: http://127.0.0.1:{first.port}/billing/" in first.text
        assert first.get("/health") == (200, b'{"status":"ok"}')
        assert first.get("/ready") == (200, b'{"status":"ready"}')
        _a_second_start_is_refused(first)
        secrets = (directory / "secrets.env").read_text()
        family = first.family()
        assert first.end(signal.SIGINT) == 0
    assert gone(family)
    assert not (directory / "up.env").exists()
    with up(directory, "--json-logs") as again:
        again.serves()
        assert "password:" not in again.text
        assert all(isinstance(json.loads(line), dict) for line in again.text.splitlines())
        assert (directory / "secrets.env").read_text() == secrets
        _another_directory_runs_beside(again)
        assert again.end() == 0


def _a_second_start_is_refused(first: Up) -> None:
    with up(first.data_dir) as second:
        assert second.process.wait(20) == 3
        assert f"already running: pid {first.process.pid}" in second.text
        assert f"http://127.0.0.1:{first.port}" in second.text
    assert first.status("/ready") == 200


def _another_directory_runs_beside(running: Up) -> None:
    flags = ("--no-seed", "--no-simulate", "--ephemeral")
    with up(running.data_dir.with_name("other"), *flags) as other:
        eventually(lambda: "  try:" in other.text, within_s=START_S)
        assert (other.status("/ready"), running.status("/ready")) == (200, 200)
        assert other.end() == 0
    assert running.status("/ready") == 200


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_every_killed_child_comes_back(directory: Path):
    with up(directory) as running:
        running.serves()
        for name in sorted(CHILDREN):
            before = running.pids()[name]
            os.kill(before, signal.SIGKILL)
            eventually(lambda: running.pids().get(name, before) != before, within_s=30)  # noqa: B023
            eventually(lambda: running.status("/ready") == 200, within_s=30)
        assert running.end() == 0


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_the_platform_recovers_from_a_killed_supervisor(directory: Path):
    with up(directory) as killed:
        killed.serves()
        family = killed.family()
        killed.end(signal.SIGKILL)
        assert eventually(lambda: gone(family), within_s=20)
        with up(directory, port=killed.port) as again:
            again.serves()
            assert again.get("/ready")[0] == 200
            assert again.end() == 0


@pytest.mark.faults
@pytest.mark.timeout(300)
def test_readiness_follows_the_database_and_only_reports_redis(directory: Path):
    with up(directory, "--max-deaths", "100") as running:
        running.serves()
        pids = running.pids()
        os.kill(pids["redis"], signal.SIGSTOP)
        eventually(lambda: running.get("/ready")[1] == b'{"status":"ready","degraded":["redis"]}')
        os.kill(pids["redis"], signal.SIGCONT)
        eventually(lambda: running.get("/ready") == (200, b'{"status":"ready"}'))
        os.kill(pids["postgres"], signal.SIGKILL)
        eventually(lambda: running.status("/ready") == 503)
        assert running.get("/health") == (200, b'{"status":"ok"}')
        eventually(lambda: running.status("/ready") == 200, within_s=15)
        assert running.end() == 0
