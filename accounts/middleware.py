"""A Django session (admin, workbench) lives and dies with a row of `refresh_sessions`.

So one revocation ends the cookie and the tokens of the same sign-in alike.
"""

from __future__ import annotations

from collections.abc import Callable

from django.conf import settings
from django.contrib.auth import SESSION_KEY, logout
from django.http import HttpRequest, HttpResponse

from accounts.models import User
from accounts.services import authentication, sessions
from accounts.services.authentication import SESSION_ID
from accounts.types import SessionKind
from ideplatform.kit import peers
from ideplatform.kit.errors import Unauthenticated


class BrowserSession:
    """Stands after Django's AuthenticationMiddleware."""

    sync_capable, async_capable = True, False

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if settings.SESSION_COOKIE_NAME in request.COOKIES and SESSION_KEY in request.session:
            _bind(request)
        return self.get_response(request)


def _bind(request: HttpRequest) -> None:
    """Give a fresh sign-in its row; end a session whose row was revoked or has expired."""
    meta = request.META
    ip = peers.ip(meta.get("REMOTE_ADDR", ""), meta.get("HTTP_X_FORWARDED_FOR", ""))
    if SESSION_ID not in request.session:
        _begin(request, ip)
        return
    try:
        authentication.of_browser(request.session.session_key or "", ip=ip)
    except Unauthenticated:
        logout(request)


def _begin(request: HttpRequest, ip: str) -> None:
    if isinstance(request.user, User):
        agent = request.headers.get("User-Agent", "")
        row = sessions.begin(user=request.user, kind=SessionKind.BROWSER, ip=ip, user_agent=agent)
        request.session[SESSION_ID] = str(row.pk)
        request.session.save()  # what follows in this request reads it from the store
