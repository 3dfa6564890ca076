"""Fixtures of the whole suite: real PostgreSQL, real Redis, a real web server, a real provider."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
import uvicorn
from django.conf import settings

from accounts.services import feed
from ideplatform.kit import redis
from tests import databases
from tests.waiting import eventually


@pytest.fixture(scope="session")
def django_db_modify_db_settings(django_db_modify_db_settings_parallel_suffix: None) -> None:
    """Two suites may use one server at once: the database carries the process id."""
    settings.DATABASES["default"]["TEST"]["NAME"] = f"test_ide_{os.getpid()}"


@pytest.fixture(autouse=True)
def _clean_redis() -> None:
    redis.client("cache").flushdb()


@pytest.fixture(autouse=True)
def _quiet_feed() -> Iterator[None]:
    """The access feed's thread reads whatever database is in place: none outlives its test."""
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
