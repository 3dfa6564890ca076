"""A whole platform of its own, raised by `manage.py up`, whose processes can be killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psycopg
import redis

ROOT = Path(__file__).resolve().parents[2]
START_S = 90
STOP_S = 45
# The suite's own environment must not leak: this platform starts its own stores.
KEPT = ("PATH", "HOME", "LANG", "VIRTUAL_ENV", "TMPDIR")


@dataclass(slots=True)
class Platform:
    """The running platform: its address, its demo user, its processes."""

    url: str
    data_dir: Path
    process: subprocess.Popen[str]

    @property
    def environment(self) -> dict[str, str]:
        """The addresses that `up` published for commands beside it."""
        lines = (self.data_dir / "up.env").read_text(encoding="utf-8").splitlines()
        pairs = (line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
        return {name: value.strip("'\"") for name, value in pairs}

    @property
    def user(self) -> dict[str, str]:
        """E-mail and password of the demo team's first user."""
        known = json.loads((self.data_dir / "demo.json").read_text(encoding="utf-8"))
        first: dict[str, str] = known["users"][0]
        return first

    def pids(self) -> dict[str, int]:
        """The living children by name."""
        rows: list[dict[str, Any]] = json.loads((self.data_dir / "children.json").read_text())
        return {row["name"]: row["pid"] for row in rows}

    def kill(self, name: str) -> bool:
        """`kill -9` of one child; False when it is between two lives."""
        try:
            os.kill(self.pids()[name], signal.SIGKILL)
        except (KeyError, ProcessLookupError):
            return False
        return True

    def flush_redis(self) -> bool:
        """`FLUSHALL`; False when Redis is between two lives."""
        try:
            redis.Redis.from_url(self.environment["REDIS_URL"]).flushall()
        except redis.RedisError:
            return False
        return True

    def command(self, *words: str) -> str:
        """What a command of `manage.py` beside the platform prints; raises when it fails."""
        env = {name: os.environ[name] for name in KEPT if name in os.environ}
        env["DATA_DIR"] = str(self.data_dir)  # where commands find addresses and keys
        done = subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=ROOT,
            env=env,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query, asked of the platform's database directly."""
        with psycopg.connect(self.environment["DATABASE_OWNER_URL"]) as connection:
            return connection.execute(query.encode(), values).fetchall()


@contextmanager
def running_platform(data_dir: Path, *flags: str, **environment: str) -> Iterator[Platform]:
    """Start a platform on a free port; everything has ended at the end."""
    port = _free_port()
    env = {name: os.environ[name] for name in KEPT if name in os.environ} | environment
    log = (data_dir / "up.log").open("w+", encoding="utf-8")
    process = subprocess.Popen(
        [
            *(sys.executable, "manage.py", "up", "--data-dir", str(data_dir / "data")),
            *("--port", str(port), "--max-deaths", "1000", "--longest-restart-s", "1"),
            *flags,
        ],
        cwd=ROOT,
        env=env,
        stdout=log,
        stderr=subprocess.STDOUT,
        text=True,
    )
    platform = Platform(f"http://127.0.0.1:{port}", data_dir / "data", process)
    try:
        _until_serving(process, port, data_dir / "up.log")
        yield platform
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_S)
        finally:
            process.kill()
            log.close()


def _until_serving(process: subprocess.Popen[str], port: int, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while "  try:" not in log.read_text(encoding="utf-8"):
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"the platform did not start:\n{log.read_text()[-3000:]}")
        time.sleep(0.1)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def simulator_get(platform: Platform, path: str) -> Any:
    """An answer of the simulated provider's own control endpoints."""
    url = platform.environment["SIMULATED_PROVIDER_URL"] + path
    async with aiohttp.ClientSession() as http, http.get(url) as answer:
        return await answer.json()
