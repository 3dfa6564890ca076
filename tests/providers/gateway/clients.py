"""Gateway clients: raw HTTP where bytes matter, the official SDKs where behaviour does."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any
from urllib.parse import urlsplit

import anthropic
import openai

from accounts.models import ApiKey, Organization, User
from accounts.services import api_keys, sessions
from accounts.types import Actor, Scope
from billing.models import Hold, UsageEvent
from tests.factories import a_user
from tests.fakes.simulator import SimulatorHandle
from tests.waiting import eventually

LONG = " ".join(f"word{n}" for n in range(40))


@dataclass(frozen=True)
class Reply:
    """A whole answer; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def events(self) -> list[dict[str, Any]]:
        """The JSON of each event, `[DONE]` left out."""
        lines = [line[5:].strip() for line in self.body.splitlines() if line.startswith(b"data:")]
        return [json.loads(line) for line in lines if line != b"[DONE]"]


@dataclass
class Door:
    """A person's way to the gateway, and what came of it."""

    url: str
    vendor: SimulatorHandle
    user: User
    organization: Organization
    key_row: ApiKey
    key: str
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def openai(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=self.key, max_retries=0)

    @property
    def anthropic(self) -> anthropic.Anthropic:
        return anthropic.Anthropic(base_url=self.url, api_key=self.key, max_retries=0)

    def send(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One request with the person's key; a `bytes` body goes as it is."""
        with self.opened(method, path, body, headers=headers) as response:
            told = {name.lower(): value for name, value in response.getheaders()}
            return Reply(response.status, told, response.read())

    @contextmanager
    def opened(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """The same with the answer still to be read; leaving ends the connection."""
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
        sent = {"Authorization": f"Bearer {self.key}"} if headers is None else dict(headers)
        payload = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        try:
            connection.request(method, path, payload, sent)
            yield connection.getresponse()
        finally:
            connection.close()

    def leave(self, method: str, path: str, body: object) -> None:
        """Ask, and go away as soon as the vendor has begun to answer."""
        address = urlsplit(self.url)
        connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
        known = len(self.vendor.ledger())
        headers = {"Authorization": f"Bearer {self.key}"}
        connection.request(method, path, json.dumps(body).encode(), headers)
        eventually(lambda: len(self.vendor.ledger()) > known)
        connection.close()

    def events(self) -> list[UsageEvent]:
        """What was billed, in the order of the calls."""
        return list(UsageEvent.objects.filter(user=self.user).order_by("occurred_at", "attempt"))

    def holds(self) -> set[str]:
        """The states of the money reserved so far."""
        rows = Hold.objects.filter(customer_id=self.organization.pk)
        return {str(state) for state in rows.values_list("state", flat=True)}

    def token(self) -> str:
        """An access token of the person, as a signed-in client has it."""
        return sessions.sign_in(user=self.user, ip="127.0.0.1", user_agent="test").access

    def another_key(self, *scopes: Scope, **cut: Any) -> str:
        """A further key of the person."""
        return _a_key(self.user, self.organization, scopes, **cut)[1]


def a_door(url: str, vendor: SimulatorHandle) -> Door:
    user = a_user()
    organization = Organization.objects.get(personal_user=user)
    row, key = _a_key(user, organization, (Scope.GATEWAY_CALL,))
    return Door(url=url, vendor=vendor, user=user, organization=organization, key_row=row, key=key)


def _a_key(
    user: User, organization: Organization, scopes: tuple[Scope, ...], **cut: Any
) -> tuple[ApiKey, str]:
    actor = Actor(user_id=user.pk, session_id=sessions.begin(user=user).pk)
    row, secret = api_keys.create(
        actor=actor, organization_id=organization.pk, name="client", scopes=scopes, **cut
    )
    return row, secret.reveal()


def a_chat(
    prompt: str = "hello there", *, model: str = "sim-echo", **values: Any
) -> dict[str, Any]:
    """A chat request."""
    return {"model": model, "messages": [{"role": "user", "content": prompt}]} | values


def a_message(
    prompt: str = "hello there", *, model: str = "sim-echo", **values: Any
) -> dict[str, Any]:
    """A request of the messages dialect."""
    return a_chat(prompt, model=model, max_tokens=1_000) | values


def price_of(event: UsageEvent) -> Decimal:
    """What sim-echo costs, by the simulator's price list."""
    return event.tokens_input * Decimal("0.000001") + event.tokens_output * Decimal("0.000002")
