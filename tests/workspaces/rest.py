"""Requests of a signed-in person, as a client sends them."""

from __future__ import annotations

import json
from typing import Any

from django.test import Client

from accounts.models import User
from accounts.services import sessions
from workspaces.models import Workspace


class Caller:
    """Sends REST requests with a person's access token."""

    def __init__(self, user: User, workspace: Workspace | None = None) -> None:
        pair = sessions.sign_in(user=user, ip="", user_agent="test")
        self._headers = {"Authorization": f"Bearer {pair.access}"}
        self._base = "/api/v1/workspaces"
        if workspace is not None:
            self._base += f"/{workspace.pk}"
        self._client = Client(raise_request_exception=False)

    def send(
        self,
        method: str,
        path: str = "",
        body: Any = None,
        *,
        content_type: str = "application/json",
        **headers: str,
    ) -> Any:
        """The response; underscores of header names become hyphens, dicts become JSON."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body)
        return self._client.generic(
            method,
            self._base + path,
            data,
            content_type=content_type,
            headers={**self._headers, **sent},
        )
