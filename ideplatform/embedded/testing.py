"""Throw-away stores for tests and benchmarks: the same engines as everywhere, fsync if asked.

A guardian process owns the servers and waits for the end of its standard input. Whatever
becomes of the test run, also a kill -9, that pipe closes, and the guardian stops the
servers and removes their files. If the guardian itself is killed, the kernel ends them.
"""

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, cast

from ideplatform.embedded import processes
from ideplatform.embedded.errors import PartFailed
from ideplatform.embedded.postgres import PostgresPart
from ideplatform.embedded.redis import RedisPart

PROJECT_ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Where the stores listen. ``database_url`` is the superuser's: tests make databases."""

    database_url: str
    owner_url: str
    redis_url: str
    data_dir: str


@contextlib.contextmanager
def running_stores(*, is_durable: bool = False) -> Iterator[Stores]:
    """A PostgreSQL 18 and a Redis of their own, gone without trace at the end.

    Durable ones write as in production; what they have is thrown away all the same.
    """
    flags = ["--durable"] if is_durable else []
    guardian = subprocess.Popen(
        [sys.executable, "-m", "ideplatform.embedded.testing", *flags],
        cwd=PROJECT_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,  # a Ctrl-C for the test run must not reach the stores first
    )
    lifeline, answer = cast("IO[str]", guardian.stdin), cast("IO[str]", guardian.stdout)
    try:
        line = answer.readline()
        if not line:
            raise PartFailed("the stores for the tests did not start; the reason stands above")
        yield Stores(**json.loads(line))
    finally:
        lifeline.close()
        answer.close()
        guardian.wait(timeout=60)


def guard(*, is_durable: bool) -> None:
    """Run both stores until standard input ends; the guardian's whole life."""
    for sign in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(sign, lambda *_: sys.exit(0))
    data_dir = Path(tempfile.mkdtemp(prefix="ide-stores-"))
    postgres = PostgresPart(data_dir, durable=is_durable)
    redis = RedisPart(data_dir, durable=is_durable)
    servers: list[subprocess.Popen[bytes]] = []
    try:
        for part in (postgres, redis):
            part.prepare()
            servers.append(_start(part, data_dir))
        for part in (postgres, redis):
            part.wait_ready()
            part.provision()
        stores = Stores(
            database_url=postgres.superuser_url,
            owner_url=postgres.owner_url,
            redis_url=redis.url,
            data_dir=str(data_dir),
        )
        sys.stdout.write(json.dumps(asdict(stores)) + "\n")
        sys.stdout.flush()
        sys.stdin.read()
    finally:
        _stop(servers)
        postgres.destroy()
        shutil.rmtree(data_dir, ignore_errors=True)


def _start(part: PostgresPart | RedisPart, data_dir: Path) -> subprocess.Popen[bytes]:
    spec = part.spec()
    with (data_dir / f"{part.name}.log").open("wb") as log:
        server: subprocess.Popen[bytes] = subprocess.Popen(
            list(spec.argv),
            stdout=log,
            stderr=subprocess.STDOUT,
            **processes.popen_options(spec),
        )
    return server


def _stop(servers: list[subprocess.Popen[bytes]]) -> None:
    """The data is thrown away, so nobody waits for a tidy end."""
    for server in servers:
        server.send_signal(signal.SIGQUIT if server is servers[0] else signal.SIGKILL)
    for server in servers:
        try:
            server.wait(timeout=5)
        except subprocess.TimeoutExpired:
            processes.kill_group(server.pid, signal.SIGKILL)
            server.wait()


if __name__ == "__main__":
    guard(is_durable="--durable" in sys.argv[1:])
