"""The door of Django's own sign-in form (the admin): the same check, the same limits."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from accounts.errors import BadCredentials
from accounts.models import User
from accounts.services import login
from ideplatform.kit import crypto, peers
from ideplatform.kit.errors import TooManyRequests


class ThrottledBackend(ModelBackend):
    """Checks a password as `POST /api/v1/auth/login` does; None lets Django say "wrong"."""

    def authenticate(
        self,
        request: HttpRequest | None,
        username: str | None = None,
        password: str | None = None,
        **_: Any,
    ) -> User | None:
        if request is None or not username or not password:
            return None
        meta = request.META
        ip = peers.ip(meta.get("REMOTE_ADDR", ""), meta.get("HTTP_X_FORWARDED_FOR", ""))
        try:
            return login.prove(email=username, password=crypto.Secret(password), ip=ip)
        except BadCredentials:
            return None
        except TooManyRequests:
            raise PermissionDenied from None
