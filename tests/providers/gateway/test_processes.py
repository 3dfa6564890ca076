"""Real web processes: what one does, another knows; what goes away is lived without."""

from __future__ import annotations

import json
import signal
import socket
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from django.db import connections

from accounts.services import api_keys
from accounts.types import Actor
from billing.services import verification
from tests.fakes import relay
from tests.providers.builders import a_provider
from tests.providers.gateway.clients import Door, a_chat, a_door
from tests.waiting import eventually
from tests.walks.processes import a_web

CHAT = "/v1/chat/completions"
SLOW = a_chat("[[sim:tokens=60 delay=20]]", stream=True)


@pytest.fixture
def vendor(paid_door: Any, django_db_blocker: Any) -> Iterator[Any]:
    with django_db_blocker.unblock():
        yield paid_door


def _text(body: bytes) -> str:
    lines = [line[6:] for line in body.splitlines() if line.startswith(b"data: {")]
    deltas = [c["delta"] for line in lines for c in json.loads(line)["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas)


def test_a_revoked_key_is_known_everywhere_and_a_leaving_process_ends_its_answers(vendor):
    with a_web() as first, a_web() as second:
        a_provider()
        door = a_door(first.url, vendor)
        other = Door(**{**vars(door), "url": second.url})
        assert [one.send("GET", "/v1/models").status for one in (door, other)] == [200, 200]
        with door.opened("POST", CHAT, SLOW) as response:
            begun = response.read(10)
            first.process.send_signal(signal.SIGTERM)
            rest = response.read()
        assert rest.endswith(b"data: [DONE]\n\n")
        assert len(_text(begun + rest).split()) == 60
        assert first.process.wait(30) == -signal.SIGTERM  # uvicorn ends as the signal asks
        (event,) = door.events()
        assert (event.outcome, event.accuracy) == ("ok", "exact")
        began = time.monotonic()
        api_keys.revoke(actor=Actor(user_id=door.user.pk), key_id=door.key_row.pk)
        eventually(lambda: other.send("GET", "/v1/models").status == 401, within_s=1)
        assert time.monotonic() - began < 1
    assert verification.breaches() == []


def test_without_redis_calls_go_on_and_without_postgresql_they_are_refused(vendor):
    options = connections.settings["default"]
    host, port = str(options["HOST"]), int(options["PORT"] or 5432)
    target = f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port)
    with socket.socket() as nobody, relay.before(target) as between:
        nobody.bind(("127.0.0.1", 0))  # bound and not listening: refused
        secret = f":{quote(options['PASSWORD'])}" if options["PASSWORD"] else ""
        away = {
            "DATABASE_URL": f"postgres://{options['USER']}{secret}"
            f"@127.0.0.1:{between.port}/{options['NAME']}",
            "REDIS_URL": f"redis://127.0.0.1:{nobody.getsockname()[1]}/0",
        }
        with a_web(**away) as web:
            a_provider()
            door = a_door(web.url, vendor)
            assert len(_text(door.send("POST", CHAT, SLOW).body).split()) == 60
            assert [event.outcome for event in door.events()] == ["ok"]
            with door.opened("POST", CHAT, SLOW) as response:
                begun = response.read(10)
                between.cut()
                rest = response.read()
            assert rest.endswith(b"data: [DONE]\n\n")
            assert len(_text(begun + rest).split()) == 60
            refused = door.send("POST", CHAT, a_chat())
            assert refused.status == 503, refused.body
            assert "x-should-retry" not in refused.headers
            assert len(vendor.ledger()) == 2
            between.mend()
            eventually(lambda: len(door.events()) == 2, within_s=10)
            assert [event.accuracy for event in door.events()] == ["exact", "exact"]
            assert door.holds() == {"settled"}
    assert verification.breaches() == []
