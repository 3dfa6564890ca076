"""Fixtures of the whole suite: real PostgreSQL, real Redis, a real web server, a real provider."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import uvicorn
from django.db import connection, connections
from django.test.utils import setup_databases, teardown_databases

from accounts.services import feed
from ideplatform.kit import redis
from tests import databases
from tests.waiting import eventually

pytest_plugins = ["tests.fakes.doors"]


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Two suites may use one server at once: the database carries the process id."""
    connections.settings["default"]["TEST"]["NAME"] = databases.own()


@pytest.fixture(scope="session")
def django_db_setup(
    django_test_environment: None, django_db_blocker, django_db_modify_db_settings: None
) -> Iterator[None]:
    """The migrated test database, whichever tests run.

    The plugin's own version makes one only for tests that ask for `db`, not for `committed_db`.
    """
    # A migration may take longer than the platform's longest transaction (5 s).
    options = connections.settings["default"]["OPTIONS"]
    usual = options["options"]
    options["options"] = usual + " -c transaction_timeout=0 -c statement_timeout=0"
    with django_db_blocker.unblock():
        made = setup_databases(verbosity=0, interactive=False)
        options["options"] = usual
        connection.close()
        connection.close_pool()  # type: ignore[attr-defined]  # of the PostgreSQL backend
    yield
    with django_db_blocker.unblock():
        databases.end_readers(databases.own())
        teardown_databases(made, verbosity=0)


@pytest.fixture(autouse=True)
def _clean_redis() -> None:
    redis.client("cache").flushdb()


@pytest.fixture(autouse=True)
def _database_manners(request: pytest.FixtureRequest, _django_db_marker: None) -> Iterator[None]:
    """What every test with a database needs, begun after its database and ended before it.

    A test inside one transaction may outlive the platform's longest one (5 s). The access feed's
    thread reads whatever database is in place, so none outlives its test.
    """
    for fixture in {"db", "committed_db"} & set(request.fixturenames):
        request.getfixturevalue(fixture)
    if connection.in_atomic_block:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL transaction_timeout = 0")
    yield
    feed.stop()


@pytest.fixture
def committed_db(django_db_setup: None, django_db_blocker) -> Iterator[str]:
    """An own database whose commits are real: for threads, sockets and on_commit hooks."""
    with django_db_blocker.unblock(), databases.clone() as name:
        yield name


@dataclass(frozen=True, slots=True)
class LiveWeb:
    """A running web process of the platform."""

    url: str
    ws_url: str


class _Server(uvicorn.Server):
    def install_signal_handlers(self) -> None:
        """The test process keeps its own."""


@pytest.fixture
def live_web(committed_db: str) -> Iterator[LiveWeb]:
    """The real ASGI application behind a real server on a free port, in a thread."""
    from ideplatform.asgi import application

    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    config = uvicorn.Config(application, log_config=None, lifespan="off", ws="websockets-sansio")
    server = _Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    eventually(lambda: server.started)
    yield LiveWeb(url=f"http://127.0.0.1:{port}", ws_url=f"ws://127.0.0.1:{port}")
    server.should_exit = True
    thread.join(10)
    listener.close()
    assert not thread.is_alive(), "the web server did not stop"
