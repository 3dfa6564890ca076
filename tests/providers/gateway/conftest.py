"""A web process in this one, a vendor, and a person with a key and credit."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest
import uvicorn

from tests.conftest import LiveWeb, _Server
from tests.fakes.simulator import SimulatorHandle
from tests.providers.gateway.clients import Door, a_door
from tests.waiting import eventually


@pytest.fixture(scope="module")
def web(priced_database: str) -> Iterator[LiveWeb]:
    """The real ASGI application behind a real server, one for all tests of a module."""
    from ideplatform.asgi import application

    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    config = uvicorn.Config(application, log_config=None, lifespan="on", ws="websockets-sansio")
    server = _Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    eventually(lambda: server.started)
    yield LiveWeb(url=f"http://127.0.0.1:{port}", ws_url=f"ws://127.0.0.1:{port}")
    server.should_exit = True
    thread.join(10)
    listener.close()
    assert not thread.is_alive(), "the web server did not stop"


@pytest.fixture
def door(web: LiveWeb, paid_door: SimulatorHandle, django_db_blocker: Any) -> Iterator[Door]:
    """A person's way in: the gateway's address, a key, and the vendor behind it."""
    with django_db_blocker.unblock():
        yield a_door(web.url, paid_door)
