"""Real processes of the platform on the test's own database and Redis."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from django.db import connections

from tests.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]
START_S = 60.0
STOP_S = 30.0
AGENTS_QUEUE = ("-Q", "queue:agent_tasks", "-P", "threads", "-c", "32")


@dataclass(frozen=True, slots=True)
class Process:
    """A running part and the port of its probes."""

    process: subprocess.Popen[bytes]
    metrics_url: str
    url: str = ""

    @property
    def ws_url(self) -> str:
        return self.url.replace("http", "ws", 1)

    def metrics(self) -> str:
        """What Prometheus would scrape."""
        with urllib.request.urlopen(self.metrics_url + "/metrics", timeout=5) as answer:
            return str(answer.read().decode())

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait(STOP_S)

    def terminate(self) -> int:
        """End it in order; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)


@contextmanager
def a_web(**environment: str) -> Iterator[Process]:
    """`manage.py serve`."""
    port = _free_port()
    command = [sys.executable, "manage.py", "serve", "--port", str(port)]
    url = f"http://127.0.0.1:{port}"
    quick = {"DRAIN_GRACE_S": "0", "SOCKET_SPREAD_S": "0", "DRAIN_S": "5"}
    with _running(command, quick | environment, url=url) as part:
        eventually(lambda: _answers(url + "/ready"), within_s=START_S)
        yield part


@contextmanager
def an_agents_worker(**environment: str) -> Iterator[Process]:
    """A Celery worker of the agents' queue."""
    command = [sys.executable, "-m", "celery", "-A", "ideplatform", "worker"]
    name = ("-n", f"agents-{_free_port()}@%h")
    quiet = ("--without-gossip", "--without-mingle", "--loglevel", "ERROR")
    with _running([*command, *AGENTS_QUEUE, *name, *quiet], environment) as part:
        eventually(lambda: _answers(part.metrics_url + "/health"), within_s=START_S)
        yield part


@contextmanager
def _running(
    command: list[str], environment: Mapping[str, str], *, url: str = ""
) -> Iterator[Process]:
    port = _free_port()
    env = {
        **os.environ,
        "METRICS_PORT": str(port),
        "DATABASE_URL": _database_url(),
        **environment,
    }
    process = subprocess.Popen(command, cwd=ROOT, env=env)
    try:
        yield Process(process, metrics_url=f"http://127.0.0.1:{port}", url=url)
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(STOP_S)


def _database_url() -> str:
    """The address of the database that the test uses now."""
    options = connections.settings["default"]
    secret = f":{quote(options['PASSWORD'])}" if options["PASSWORD"] else ""
    host, port = str(options["HOST"]), str(options["PORT"])
    user = quote(str(options["USER"])) + secret
    if host.startswith("/"):
        return f"postgres://{user}@/{options['NAME']}?host={quote(host)}&port={port}"
    return f"postgres://{user}@{host}:{port}/{options['NAME']}"


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            status: int = answer.status
            return status == 200
    except (urllib.error.URLError, OSError):
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
