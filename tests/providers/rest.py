"""Requests of a signed-in person to the routes of providers."""

from __future__ import annotations

import json
from typing import Any

from django.test import Client

from accounts.models import User
from accounts.services import sessions


class Caller:
    """Sends REST requests with a person's access token."""

    def __init__(self, user: User) -> None:
        pair = sessions.sign_in(user=user, ip="", user_agent="test")
        self._headers = {"Authorization": f"Bearer {pair.access}"}
        self._client = Client(raise_request_exception=False)

    def send(self, method: str, path: str = "", body: Any = None, **headers: str) -> Any:
        """The response; underscores of header names become hyphens."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        return self._client.generic(
            method,
            f"/api/v1/providers{path}",
            b"" if body is None else json.dumps(body),
            content_type="application/json",
            headers={**self._headers, **sent},
        )
