"""How long `manage.py up` takes to be ready, and what its web process weighs, against stock Django.

The floor is the least that serves the same stack: PostgreSQL and Redis of the same wheels, then a
Django with the same third-party apps and not one of ours behind uvicorn. Both sides start on data
that exists, as every start but the first does.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.harness import ROOT, Pair, Report, rss_bytes
from ideplatform.embedded import processes
from ideplatform.embedded.postgres import PostgresPart
from ideplatform.embedded.redis import RedisPart

ROUNDS = 5
MEMORY_TARGET = 2.5
READY_S = 60
STOP_S = 45
MIB = 1024 * 1024
KEPT = ("PATH", "HOME", "LANG", "VIRTUAL_ENV", "TMPDIR")
"""Nothing else of the caller's environment reaches the measured processes."""

Measured = tuple[float, float]
"""Seconds until the first answer, and MiB of the web process."""


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in KEPT if name in os.environ}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _until_served(url: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + READY_S
    while not _is_served(url):
        if process.poll() is not None or time.monotonic() > deadline:
            raise AssertionError(f"{url} did not come within {READY_S} s")
        time.sleep(0.01)


def _is_served(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def _running(words: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            words, cwd=ROOT, env=environment, stdout=output, stderr=output, text=True
        )
        try:
            yield process
        except AssertionError:
            output.seek(0)
            print(output.read()[-3_000:], file=sys.stderr)
            raise
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(STOP_S)


def _up(data_dir: Path) -> Measured:
    port = _free_port()
    words = [sys.executable, "manage.py", "up", "--data-dir", str(data_dir), "--port", str(port)]
    began = time.monotonic()
    with _running(words, _environment()) as process:
        _until_served(f"http://127.0.0.1:{port}/ready", process)
        took_s = time.monotonic() - began
        children = json.loads((data_dir / "children.json").read_text("utf-8"))
        web = next(row["pid"] for row in children if row["name"] == "web")
        return took_s, rss_bytes([web]) / MIB


def _stock(data_dir: Path) -> Measured:
    port = _free_port()
    began = time.monotonic()
    with ExitStack() as stack:
        parts = (PostgresPart(data_dir), RedisPart(data_dir))
        for part in parts:
            part.prepare()
            stack.callback(_end, _started(part))
        for part in parts:
            part.wait_ready()
            part.provision()
        environment = _environment() | {"DATABASE_URL": parts[0].url}
        words = [sys.executable, "-m", "bench.stock", str(port)]
        with _running(words, environment) as process:
            _until_served(f"http://127.0.0.1:{port}/", process)
            return time.monotonic() - began, rss_bytes([process.pid]) / MIB


def _started(part: PostgresPart | RedisPart) -> subprocess.Popen[bytes]:
    spec = part.spec()
    server: subprocess.Popen[bytes] = subprocess.Popen(
        list(spec.argv),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **processes.popen_options(spec),
    )
    return server


def _end(server: subprocess.Popen[bytes]) -> None:
    server.send_signal(signal.SIGINT)
    server.wait(STOP_S)


def main() -> None:
    report = Report("startup")
    with tempfile.TemporaryDirectory(prefix="bench-up-") as one, ExitStack() as stack:
        ours, floor = Path(one) / "ours", Path(one) / "floor"
        floor.mkdir()
        for data_dir in (ours, floor):
            stack.callback(PostgresPart(data_dir, port=1).destroy)
        _up(ours), _stock(floor)  # the first start makes the data
        rounds = [(_stock(floor), _up(ours)) for _ in range(ROUNDS)]
    waits: list[Pair] = [(stock[0], up[0]) for stock, up in rounds]
    sizes: list[Pair] = [(stock[1], up[1]) for stock, up in rounds]
    report.add("ready / stock Django and stores", waits, unit="s")
    report.add(
        "web process / stock Django", sizes, unit="MiB", bound="at most", target=MEMORY_TARGET
    )
    report.finish()


if __name__ == "__main__":
    main()
