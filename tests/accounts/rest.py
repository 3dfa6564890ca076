"""A small REST client for tests of accounts."""

from __future__ import annotations

import itertools
from typing import Any

from django.test import Client

from accounts.models import User
from accounts.services import sessions
from tests import factories

PASSWORD = factories.PASSWORD
_addresses = (f"10.{a}.{b}.{c}" for a, b, c in itertools.product(range(256), repeat=3))


def an_ip() -> str:
    """An address that no other test has used."""
    return next(_addresses)


def call(
    method: str,
    path: str,
    body: object = None,
    *,
    ip: str = "192.0.2.1",
    client: Client | None = None,
    **headers: str,
) -> Any:
    """One request to /api/v1; header names use underscores."""
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return (client or Client()).generic(
        method,
        f"/api/v1/{path}",
        b"" if body is None else _json(body),
        content_type="application/json",
        headers=sent,
        REMOTE_ADDR=ip,
    )


def bearer(access: str) -> dict[str, Any]:
    return {"Authorization": f"Bearer {access}"}


def signed_in(user: User | None = None) -> tuple[User, sessions.TokenPair]:
    """A user with a fresh session."""
    user = user or factories.a_user()
    return user, sessions.sign_in(user=user, ip="192.0.2.1", user_agent="tests")


def _json(body: object) -> bytes:
    from ideplatform.kit.renderers import encode

    return body if isinstance(body, bytes) else encode(body)
