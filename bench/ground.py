"""What a benchmark stands on: migrated databases, people, processes of the platform."""

from __future__ import annotations

import itertools
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit
from uuid import UUID

import psycopg
from django.core.management import call_command
from django.db import connections, transaction
from psycopg import sql

import bench.environment
from accounts.models import User
from accounts.services import registration, sessions
from accounts.types import Actor
from bench.harness import ROOT
from ideplatform.management import preparation
from workspaces.services import workspaces
from workspaces.services.workspaces import Changes

READY_S = 60
STOP_S = 15
TEMPLATE = "bench_template"
_logs = itertools.count(1)
SERVE = (sys.executable, str(ROOT / "manage.py"), "serve")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody signed in, with a workspace of their own."""

    user_id: UUID
    organization_id: UUID
    workspace_id: UUID
    token: str

    @property
    def actor(self) -> Actor:
        return Actor(user_id=self.user_id)

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


def database(name: str) -> str:
    """The URL of a database of the benchmark's own server."""
    return urlunsplit(urlsplit(bench.environment.STORES.database_url)._replace(path=f"/{name}"))


def redis_database(number: int) -> str:
    """The URL of one of the numbered databases of the benchmark's own Redis."""
    return urlunsplit(urlsplit(bench.environment.STORES.redis_url)._replace(path=f"/{number}"))


def prepare(name: str = TEMPLATE) -> None:
    """Make a migrated database in which calls can be made, and point this process at it."""
    with psycopg.connect(database("postgres"), autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    use(name)
    call_command("migrate", verbosity=0, interactive=False)
    preparation.prepare()


def use(name: str) -> None:
    """Point this process at a database."""
    connection = connections["default"]
    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]  # of the PostgreSQL backend
    connections.settings["default"]["NAME"] = connection.settings_dict["NAME"] = name


@contextmanager
def clone(name: str, *, template: str = TEMPLATE) -> Iterator[str]:
    """The URL of a copy of a database that nobody uses; the copy is dropped afterwards."""
    copy, original = sql.Identifier(name), sql.Identifier(template)
    with psycopg.connect(database("postgres"), autocommit=True) as server:
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [template]
        )
        server.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(copy, original))
        try:
            yield database(name)
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(copy))


def people(count: int, *, first: int = 0) -> list[Person]:
    """Signed-in people, each with a workspace; numbered from `first`."""
    return [_person(number) for number in range(first, first + count)]


@transaction.atomic
def _person(number: int) -> Person:
    user = User(email=f"person{number}@bench.example", full_name=f"Person {number}")
    user.set_unusable_password()
    registration.create(user)
    actor = Actor(user_id=user.pk)
    workspace = workspaces.create(
        actor=actor, organization_id=None, changes=Changes(name=f"Project {number}")
    )
    pair = sessions.sign_in(user=user, ip="127.0.0.1", user_agent="bench")
    return Person(
        user_id=user.pk,
        organization_id=workspace.organization_id,
        workspace_id=workspace.pk,
        token=pair.access,
    )


@contextmanager
def process(
    *command: str,
    log: str,
    environment: Mapping[str, str],
    pass_fds: tuple[int, ...] = (),
    may_end: bool = False,
) -> Iterator[int]:
    """A process of the measured system, on the system's core; its pid. Killed at the end."""
    path = Path(tempfile.gettempdir()) / f"bench-{os.getpid()}-{next(_logs)}-{log}.log"
    with path.open("w+", encoding="utf-8") as output:
        started = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, "LOG_LEVEL": "info", **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=pass_fds,
        )
        bench.environment.CORES.pin_system(started.pid)
        try:
            yield started.pid
            if started.poll() is not None and not may_end:
                raise AssertionError(f"{log} ended early")
        except BaseException:
            print(f"--- the end of {log}:\n{path.read_text('utf-8')[-3_000:]}", file=sys.stderr)
            raise
        finally:
            started.kill()
            started.wait(STOP_S)
            path.unlink()


@contextmanager
def web(
    environment: Mapping[str, str],
    *,
    command: tuple[str, ...] = SERVE,
    may_end: bool = False,
) -> Iterator[tuple[int, str]]:
    """A web process as in production: its pid and its URL, once it is ready."""
    with socket.create_server(("127.0.0.1", 0), backlog=2_048) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        number = listener.fileno()
        words = (*command, "--fd", str(number))
        with process(
            *words, log="web", environment=environment, pass_fds=(number,), may_end=may_end
        ) as pid:
            until_ready(url)
            yield pid, url


def until_ready(url: str) -> None:
    """Return when `/ready` answers 200; raises AssertionError after a minute."""
    deadline = time.monotonic() + READY_S
    while not _is_ready(url):
        if time.monotonic() > deadline:
            raise AssertionError(f"{url} was not ready within {READY_S} s")
        time.sleep(0.02)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(url + "/ready", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


@contextmanager
def far_end() -> Iterator[str]:
    """The URL of `bench.far_end`, on the driver's core: where `EGRESS_ALLOW` lets calls go."""
    port = str(bench.environment.PROVIDER_PORT)
    words = [sys.executable, "-m", "bench.far_end", port]
    with subprocess.Popen(
        words, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as server:
        assert server.stdout is not None
        if server.stdout.readline().strip() != port:
            raise AssertionError("the far end did not start; the reason stands above")
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            server.kill()
