"""Five planted secrets, used in earnest, stand nowhere afterwards: not in an answer that has no
business with them, nor in logs, the database, Redis, queued tasks, metrics or reprs.
"""

from __future__ import annotations

import base64
import http.client
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
import structlog
from django.conf import settings
from django.db import connection
from prometheus_client import generate_latest

from accounts.models import ApiKey, RefreshSession, SecretRecord, User
from accounts.services import sessions
from accounts.services.authentication import Credential, Source
from agents import worker
from ideplatform import subscriptions
from ideplatform.celery import AGENT_TASKS, QUEUES, app
from ideplatform.kit import redis
from ideplatform.kit.crypto import Secret
from ideplatform.outbox import relay
from providers.models import Provider
from providers.services.providers import Draft
from providers.types import ProviderType
from tests.conftest import LiveWeb
from tests.fakes.simulator import SimulatorHandle
from tests.providers.builders import base_url
from tests.waiting import eventually

PASSWORD = "planted-password-7f3a91c2"
VENDOR_KEY = "sk-planted-vendor-key-5d20be84"
REPORT_KEY = "sk-admin-planted-5e1f7c2a9b"
BROKEN = (
    ("login", "refresh_sessions"),
    ("create_api_key", "api_keys"),
    ("create_provider", "secrets"),
)


@pytest.fixture
def committed_db(paid_door: SimulatorHandle) -> SimulatorHandle:
    """Calls cost something here."""
    return paid_door


class Recorder(logging.Handler):
    """Everything that is logged at any level, as it would be written."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        written = [handler.format(record) for handler in logging.getLogger().handlers[:1]]
        self.lines += [*written, record.getMessage()]


@pytest.fixture
def log() -> Iterator[Recorder]:
    root, recorder = logging.getLogger(), Recorder()
    level = root.level
    root.addHandler(recorder)
    root.setLevel(logging.DEBUG)
    yield recorder
    root.removeHandler(recorder)
    root.setLevel(level)


@dataclass
class Client:
    """Raw HTTP: every byte of every answer, heads included, is kept."""

    address: str
    answers: list[bytes] = field(default_factory=list)

    def call(self, method: str, path: str, body: object = None, **headers: str) -> Any:
        parts = urlsplit(self.address)
        wire = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=30)
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None:
            sent["Content-Type"] = "application/json"
        wire.request(method, "/api/v1" + path, json.dumps(body) if body is not None else None, sent)
        answer = wire.getresponse()
        content = answer.read()
        self.answers.append(f"{answer.status} {answer.getheaders()} ".encode() + content)
        wire.close()
        is_json = "json" in (answer.getheader("content-type") or "")
        return json.loads(content) if is_json else content


@dataclass
class Planted:
    """The secrets, each with the answers that rightly showed it."""

    client: Client
    shown: dict[str, set[int]] = field(default_factory=dict)

    def shown_now(self, *values: str) -> None:
        """The last answer is the one place where these may stand."""
        for value in values:
            self.shown.setdefault(value, set()).add(len(self.client.answers) - 1)


@pytest.fixture
def executing(committed_db: SimulatorHandle) -> Iterator[None]:
    """Runs are executed in this process."""
    relay.configure(subscriptions.LISTENERS, send=_send)
    yield
    subscriptions.wire()
    worker.stop()


def _send(task: str, arguments: list[object]) -> None:
    if task == subscriptions.EXECUTE_RUN:
        subscriptions.run_here(task, arguments)
    else:
        app.send_task(task, args=arguments)


def test_planted_secrets_are_nowhere(
    executing: None, live_web: LiveWeb, simulator: SimulatorHandle, log: Recorder
):
    client = Client(live_web.url)
    planted = _plant(client)
    found = {
        "logs": _hits("\n".join(log.lines), planted.shown),
        "metrics": _hits(generate_latest().decode(), planted.shown),
        "database": _hits(_dump(), planted.shown),
        "redis": _hits(_redis(), planted.shown),
        "simulator": _hits(json.dumps(simulator.requests()), planted.shown),
        "reprs": _hits(_reprs(planted), planted.shown),
    }
    assert found == {place: [] for place in found}
    for secret, places in planted.shown.items():
        hits = {n for n, answer in enumerate(client.answers) if secret.encode() in answer}
        assert hits == places, f"{secret[:12]}... also in {hits - places}"
    assert simulator.ledger()  # the vendor's key was really used
    assert "request.failed" in "\n".join(log.lines)


def _plant(client: Client) -> Planted:
    planted = Planted(client)
    planted.shown |= {PASSWORD: set(), VENDOR_KEY: set(), REPORT_KEY: set()}
    person = {"email": "planted@example.com", "password": PASSWORD}
    pair = client.call("POST", "/auth/register", person | {"full_name": "Planted"})
    planted.shown_now(pair["access"], pair["refresh"])
    pair = client.call("POST", "/auth/login", person)
    planted.shown_now(pair["access"], pair["refresh"])
    pair = client.call("POST", "/auth/refresh", {"refresh": pair["refresh"]})
    planted.shown_now(pair["access"], pair["refresh"])
    bearer = {"Authorization": f"Bearer {pair['access']}"}
    key = client.call("POST", "/auth/api-keys", _a_key(), **bearer)["key"]
    planted.shown_now(key)
    ticket = client.call("POST", "/auth/ws-ticket", {"path": "/api/v1/ws/agents"}, **bearer)
    planted.shown_now(ticket["ticket"])
    _use(client, bearer, key)
    _misuse(client, bearer, key, pair, person)
    _break(client, bearer, person)
    return planted


def _a_key() -> dict[str, object]:
    scopes = ["workspaces:read", "workspaces:write", "agents:run", "providers:write"]
    return {"name": "planted", "scopes": scopes}


def _an_account(key: str = VENDOR_KEY) -> dict[str, object]:
    return {
        "name": "Planted",
        "type": "openai_compatible",
        "config": {"base_url": base_url("openai_compatible")},
        "api_key": key,
        "report_api_key": REPORT_KEY,
        "models": ["sim-echo"],
    }


def _use(client: Client, bearer: dict[str, str], key: str) -> None:
    """Every secret does what it is for, one run through queue and worker included."""
    workspace = client.call("POST", "/workspaces", {"name": "Planted"}, x_api_key=key)
    provider = client.call("POST", "/providers", _an_account(), **bearer)
    asked = {"generate": True, "model": "sim-echo"}
    report = client.call("POST", f"/providers/{provider['id']}/test", asked, **bearer)
    assert report["ok"], report
    assert client.call("POST", "/providers/test", _an_account(), **bearer)["ok"]
    request = {
        "prompt": "hello",
        "workspace_id": workspace["id"],
        "provider_id": provider["id"],
        "model": "sim-echo",
        "wait_s": 20,
    }
    outcome = client.call("POST", "/agents/universal/invoke", request, **bearer)
    assert outcome["state"] == "completed", outcome
    subscriptions.wire()  # from here on runs are queued for other processes
    client.call("POST", "/agents/universal/invoke", request | {"wait_s": 0}, **bearer)
    relay.ring()
    eventually(lambda: redis.client("broker").llen(AGENT_TASKS))
    for path in ("/providers", "/auth/api-keys", "/auth/sessions", "/auth/me", "/workspaces"):
        client.call("GET", path, **bearer)


def _misuse(
    client: Client,
    bearer: dict[str, str],
    key: str,
    pair: dict[str, str],
    person: dict[str, str],
) -> None:
    """Secrets in wrong places: refused, and not repeated in the refusal."""
    client.call("POST", "/auth/login", person | {"surprise": PASSWORD})
    client.call("POST", "/auth/login", {"email": PASSWORD, "password": [PASSWORD]})
    client.call("POST", "/auth/refresh", {"refresh": [pair["refresh"]]})
    client.call("POST", "/auth/refresh", {"refresh": pair["refresh"] + "x"})
    client.call("POST", "/providers", _an_account() | {"type": VENDOR_KEY}, **bearer)
    client.call("POST", "/providers", _an_account(VENDOR_KEY + "\n"), **bearer)
    client.call("GET", "/workspaces", Authorization=f"Basic {PASSWORD}")
    client.call("GET", "/workspaces", Authorization=f"Bearer {key[:-1]}0")
    client.call("GET", f"/workspaces?token={key}")
    client.call("GET", f"/workspaces?access_token={pair['access']}")


def _break(client: Client, bearer: dict[str, str], person: dict[str, str]) -> None:
    """Requests with secrets fail inside us: their tables are gone for a moment."""
    bodies: dict[str, tuple[str, object]] = {
        "login": ("/auth/login", person),
        "create_api_key": ("/auth/api-keys", _a_key()),
        "create_provider": ("/providers", _an_account() | {"slug": "broken"}),
    }
    for name, table in BROKEN:
        path, body = bodies[name]
        with _without(table):
            client.call("POST", path, body, **bearer)
        assert client.answers[-1].startswith(b"500"), (name, client.answers[-1])


@contextmanager
def _without(table: str) -> Iterator[None]:
    """The table has another name for a while."""
    with connection.cursor() as cursor:
        cursor.execute(f'ALTER TABLE "{table}" RENAME TO "{table}_gone"')
        yield
        cursor.execute(f'ALTER TABLE "{table}_gone" RENAME TO "{table}"')


def _forms(secret: str) -> list[str]:
    """As text, in hexadecimal as bytea is dumped, and in base64 wherever it might begin."""
    raw = secret.encode()
    shifted = [base64.b64encode(raw[offset:])[: len(raw) - 8].decode() for offset in range(3)]
    return [secret, raw.hex(), *shifted]


def _hits(text: str, secrets: dict[str, set[int]]) -> list[str]:
    lines = text.split("\n")
    return [
        f"{secret[:12]}... in {line[:200]}"
        for secret in secrets
        for form in _forms(secret)
        for line in lines
        if form in line
    ]


def _dump() -> str:
    """Every row of every table as text."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname FROM pg_class WHERE relkind IN ('r', 'p', 'm')"
            " AND relnamespace = 'public'::regnamespace"
        )
        tables = [name for (name,) in cursor.fetchall()]
        rows = []
        for table in tables:
            cursor.execute(f'SELECT to_jsonb(t)::text FROM "{table}" t')
            rows += [text for (text,) in cursor.fetchall()]
    assert len(rows) > 100
    return "\n".join(rows)


def _redis() -> str:
    """Every key with its value, the broker's queues included."""
    found: list[str] = []
    for role in ("cache", "bus", "tail", "broker"):
        store = redis.client(role)
        for key in store.scan_iter(count=1_000):
            found += [_text(key), _text(store.dump(key) or b""), _value(store, key)]
    payloads = [p for queue in QUEUES for p in redis.client("broker").lrange(queue, 0, -1)]
    bodies = [base64.b64decode(json.loads(payload)["body"]) for payload in payloads]
    assert bodies
    return "\n".join([*found, *map(_text, bodies)])


def _value(store: Any, key: bytes) -> str:
    """The value by its kind: a dump may be compressed."""
    kind = store.type(key).decode()
    readers = {
        "string": lambda: store.get(key),
        "list": lambda: store.lrange(key, 0, -1),
        "set": lambda: store.smembers(key),
        "hash": lambda: store.hgetall(key),
        "zset": lambda: store.zrange(key, 0, -1, withscores=True),
        "stream": lambda: store.xrange(key),
    }
    return repr(readers[kind]())


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "backslashreplace")


def _reprs(planted: Planted) -> str:
    """What a debugger, or a log line that names an object, would show."""
    user = User.objects.get(email="planted@example.com")
    access = next(secret for secret in planted.shown if secret.count(".") == 2)
    draft = Draft(name="x", type=ProviderType.OPENAI, config={}, api_key=Secret(VENDOR_KEY))
    pair = sessions.sign_in(user=user, ip="", user_agent="")
    planted.shown[pair.refresh] = planted.shown[pair.access] = set()
    objects = [
        user,
        pair,
        draft,
        Secret(PASSWORD),
        Credential(source=Source.TOKEN, text=access),
        settings.ENV,
        *ApiKey.objects.all(),
        *RefreshSession.objects.all(),
        *SecretRecord.objects.all(),
        *Provider.objects.all(),
    ]
    shown = [f"{one!r} {one!s} {one}" for one in objects]
    assert structlog.is_configured()
    return "\n".join([*shown, *(repr(vars(one)) for one in objects if hasattr(one, "__dict__"))])
