"""``manage.py up``: the whole platform on one machine, in order, under one supervisor."""

import asyncio
import json
import os
import shlex
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from urllib.parse import urlsplit

import psycopg

from ideplatform.embedded import (
    demo_team,
    environment,
    jobs,
    platform_parts,
    ports,
    schema_mark,
    secret_values,
)
from ideplatform.embedded.children import GaveUp, RestartPolicy
from ideplatform.embedded.demo_team import SignIn
from ideplatform.embedded.errors import EmbeddedError, PartFailed
from ideplatform.embedded.lock import DirectoryLock
from ideplatform.embedded.options import DEFAULT_DATA_DIR, Options
from ideplatform.embedded.output import Console, Output
from ideplatform.embedded.postgres import PostgresPart
from ideplatform.embedded.processes import ChildSpec
from ideplatform.embedded.redis import RedisPart
from ideplatform.embedded.register import Register
from ideplatform.embedded.supervisor import StopRequested, Supervisor

Store = PostgresPart | RedisPart

MIGRATION_LOCK = 0x1DE_0001  # of all advisory locks in the database, the one of migrations
# A migration may rewrite a large table; only its wait for a lock stays short.
PATIENT = {"DB_STATEMENT_TIMEOUT_MS": "3600000", "DB_TRANSACTION_TIMEOUT_MS": "3600000"}
READY_S = 60
READY_POLL_S = 0.05


def main(options: Options) -> int:
    """Run the platform until it is asked to end; the exit status of ``manage.py up``.

    0 after a signal, 1 when it cannot start or a process is given up, 3 when another
    supervisor holds the data directory.
    """
    console = Console()
    if options.ephemeral:
        options = replace(options, data_dir=Path(tempfile.mkdtemp(prefix="ide-ephemeral-")))
    options = replace(options, data_dir=options.data_dir.resolve())
    try:
        with DirectoryLock(options.data_dir) as lock:
            return asyncio.run(Up(options, console, lock).run())
    except EmbeddedError as error:
        console.offer(f"manage.py up: {error}")
        return error.exit_code
    except OSError as error:  # a directory that cannot be written, a full disk
        console.offer(f"manage.py up: {error}")
        return 1
    finally:
        if options.ephemeral:
            PostgresPart(options.data_dir, port=1).destroy()
            shutil.rmtree(options.data_dir, ignore_errors=True)
        console.close()


class Up:
    """One run of ``manage.py up``; its methods are the steps, in the order of ``_rise``."""

    def __init__(self, options: Options, console: Console, lock: DirectoryLock) -> None:
        self.options = options
        self.data_dir = options.data_dir
        self._lock = lock
        self._secrets = secret_values.ensure(self.data_dir, os.environ)
        self.output = Output(self.data_dir / "logs", console, as_json=options.json_logs)
        self._register = Register(self.data_dir / "children.json")
        self._ports = ports.PortBook(self.data_dir / "ports.json")
        self.supervisor = Supervisor(
            output=self.output,
            register=self._register,
            policy=RestartPolicy(
                max_deaths=options.max_deaths, longest_delay_s=options.longest_restart_s
            ),
        )
        self._born = time.monotonic()

    async def run(self) -> int:
        """Rise, stay, fall; the exit status."""
        self.supervisor.listen_for_signals()
        for name in await asyncio.to_thread(self._register.end_stale):
            self.output.say(f"ended {name}, left behind by a supervisor that was killed")
        listener = ports.listen(self.options.host, self.options.port)
        self._lock.announce(self.options.url)
        try:
            await self.supervisor.guard(asyncio.create_task(self._rise(listener)))
            await self.supervisor.until_ended()
        except StopRequested:
            return 0
        except GaveUp as error:
            return error.exit_code
        finally:
            listener.close()
            await self.supervisor.shut_down()
            environment.withdraw(self.data_dir)
            self.output.say("stopped")
        return 0

    async def _rise(self, listener: socket.socket) -> None:
        database_url, owner_url, redis_url = await self._start_stores()
        env = environment.for_children(
            self.options,
            inherited=os.environ,
            secrets=self._secrets,
            database_url=database_url,
            redis_url=redis_url,
            simulator_port=self._ports.port("simulator") if self.options.simulate else None,
        )
        environment.publish(self.data_dir, env, owner_url=owner_url)
        if self.options.simulate:
            await self.supervisor.start([platform_parts.simulator(env, self._ports)])
        web = platform_parts.web(self.options, env, self._ports, fd=listener.fileno())
        made = await self._prepare_database_and_start(web, env, owner_url)
        await self._until_ready()
        self._welcome(made or [])
        await self.supervisor.start(platform_parts.workers(self.options, env, self._ports))
        if made is None:
            await self._fill(env)

    async def _prepare_database_and_start(
        self, web: list[ChildSpec], env: dict[str, str], owner_url: str
    ) -> list[SignIn] | None:
        """Migrate, fill, start web; the demo users it made.

        Where an earlier start has done the first two, web starts at once and the answer is None:
        what a newer release would fill in can wait until everybody is served.
        """
        database = demo_team.name_of(os.environ.get("DATABASE_URL"))
        mark = schema_mark.current(platform_parts.PROJECT_ROOT, database)
        known = demo_team.known(self.data_dir, database)
        is_seeded = known is not None or not self.options.seed
        if schema_mark.is_known(self.data_dir, mark) and is_seeded:
            await asyncio.gather(self._migrate(env, owner_url), self.supervisor.start(web))
            return None
        await self._migrate(env, owner_url)
        schema_mark.remember(self.data_dir, mark)
        fill = self._fill(env) if is_seeded else self._seed(env, database)
        made, _ = await asyncio.gather(fill, self.supervisor.start(web))
        return made

    async def _start_stores(self) -> tuple[str, str, str]:
        """Start the stores that no variable names; answer application, owner and Redis URL."""
        database_url, redis_url = os.environ.get("DATABASE_URL"), os.environ.get("REDIS_URL")
        owner_url = os.environ.get("DATABASE_OWNER_URL") or database_url
        postgres = (
            None if database_url else PostgresPart(self.data_dir, self._ports.port("postgres"))
        )
        redis = None if redis_url else RedisPart(self.data_dir, self._ports.port("redis"))
        stores: Sequence[Store] = [part for part in (postgres, redis) if part is not None]
        for part in stores:
            if part.notice:
                self.output.say(part.notice)
        await self.supervisor.start([part.spec() for part in stores])
        await asyncio.gather(*(asyncio.to_thread(_make_usable, part) for part in stores))
        return (
            database_url or (postgres.url if postgres else ""),
            owner_url or (postgres.owner_url if postgres else ""),
            redis_url or (redis.url if redis else ""),
        )

    async def _migrate(self, env: dict[str, str], owner_url: str) -> None:
        """Apply migrations as the owner of the tables, one platform at a time.

        The lock lives in a transaction: a session-level one would not survive PgBouncer.
        """
        arguments = ("migrate", "--noinput", "--verbosity", "0")
        env = {**env, **PATIENT, "DATABASE_URL": owner_url}
        spec = platform_parts.job("migrate", arguments, env)
        try:
            connection = await psycopg.AsyncConnection.connect(owner_url, connect_timeout=10)
        except psycopg.OperationalError as error:
            place = urlsplit(owner_url)
            raise PartFailed(f"no database answers at {place.hostname}:{place.port}") from error
        async with connection:
            await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            await connection.execute("SELECT pg_advisory_xact_lock(%s)", [MIGRATION_LOCK])
            await jobs.run(spec, self.output.stream("migrate"))

    async def _fill(self, env: dict[str, str]) -> list[SignIn]:
        """Prices, models, aliases and the platform's accounts; nobody who could sign in."""
        await jobs.run(
            platform_parts.job("prepare", ("prepare",), env), self.output.stream("prepare")
        )
        return []

    async def _seed(self, env: dict[str, str], database: str) -> list[SignIn]:
        """Make the demo team; its users."""
        spec = platform_parts.job("seed", ("seed_demo", "--json"), env)
        answer = await jobs.run(spec, self.output.stream("seed"))
        return demo_team.remember(self.data_dir, database, answer)

    async def _until_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while not await _is_ready(self.options):
            if time.monotonic() > deadline:
                raise PartFailed(
                    f"web was not ready within {READY_S} s; see {self.output.directory}"
                )
            await asyncio.sleep(READY_POLL_S)

    def _welcome(self, made: list[SignIn]) -> None:
        """The address, the demo sign-in, where to look, three commands to try."""
        url, took_s = self.options.url, time.monotonic() - self._born
        say = self.output.say
        say(f"IDE Mundial serves at {url} (ready in {took_s:.1f} s, Ctrl-C ends it)")
        for user in made:
            say(f"  demo sign-in: {user.email}  password: {user.password}  (shown this once)")
        say(f"  chat: {url}/  dashboard: {url}/billing/  operators' console: {url}/admin/")
        login = json.dumps(asdict(made[0]) if made else {"email": "...", "password": "..."})
        elsewhere = self.data_dir != Path(DEFAULT_DATA_DIR).resolve()
        prefix = f"DATA_DIR={shlex.quote(str(self.data_dir))} " if elsewhere else ""
        say("  try:")
        say(f"    {prefix}{_shown(sys.executable)} manage.py demo")
        say(
            f"    curl -s {url}/api/v1/auth/login -H 'content-type: application/json' "
            f"-d {shlex.quote(login)}"
        )
        say(f"    curl -s {url}/ready")


def _make_usable(part: Store) -> None:
    part.wait_ready()
    part.provision()


async def _is_ready(options: Options) -> bool:
    """Whether ``GET /ready`` answers 200 within a second."""
    place = urlsplit(options.url)
    request = f"GET /ready HTTP/1.1\r\nHost: {place.netloc}\r\nConnection: close\r\n\r\n"
    writer = None
    try:
        async with asyncio.timeout(1):
            reader, writer = await asyncio.open_connection(place.hostname, place.port)
            writer.write(request.encode("ascii"))
            return b" 200 " in await reader.readline()
    except (OSError, TimeoutError):
        return False
    finally:
        if writer is not None:
            writer.close()


def _shown(path: str) -> str:
    """``path`` as a person in this directory would type it."""
    here = Path.cwd()
    return str(Path(path).relative_to(here)) if Path(path).is_relative_to(here) else path
