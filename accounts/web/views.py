"""`/account/`: signing in and out with a browser, language and theme."""

from __future__ import annotations

import contextlib
from http import HTTPStatus
from uuid import UUID

from django.conf import settings
from django.contrib import auth
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect

from accounts.errors import BadCredentials, CsrfFailed
from accounts.models import RefreshSession
from accounts.services import login, profile, sessions
from accounts.services.authentication import SESSION_ID
from accounts.types import Permission
from accounts.web import addresses, appearance
from accounts.web.pages import Page, actor_of, ip_of, problem_page
from ideplatform.kit import crypto
from ideplatform.kit.errors import NotFound, PlatformError, TooManyRequests, Unauthenticated

_LONGEST = 1_024
_SOURCE_LANGUAGE = "en"


class SignIn(Page):
    """The form of e-mail and password; it needs no script."""

    public = "whoever has an account proves it here"

    def get(self, request: HttpRequest) -> HttpResponse:
        target = addresses.safe(request.GET.get("next", ""))
        with contextlib.suppress(Unauthenticated):
            actor_of(request)
            return _to(target)
        return self._form(target)

    def post(self, request: HttpRequest) -> HttpResponse:
        target = addresses.safe(request.POST.get("next", ""))
        email = request.POST.get("email", "")[:_LONGEST].strip()
        password = crypto.Secret(request.POST.get("password", "")[:_LONGEST])
        agent = request.headers.get("User-Agent", "")
        try:
            row = login.sign_in_browser(
                email=email, password=password, ip=ip_of(request), user_agent=agent
            )
        except (BadCredentials, TooManyRequests) as refused:
            return self._form(target, email=email, refused=refused)
        _enter(request, row)
        return _spoken(_to(target), request, row)

    def _form(
        self, target: str, *, email: str = "", refused: PlatformError | None = None
    ) -> HttpResponse:
        status = HTTPStatus.OK if refused is None else refused.status
        context = {"target": target, "email": email, "refused": refused}
        response = self.shown("account/login.html", context, status=status)
        if refused is not None and refused.retry_after_s is not None:
            response["Retry-After"] = str(refused.retry_after_s)
        return response


class SignOut(Page):
    """Ends the session everywhere: its cookie, its tokens, its sockets."""

    permissions = {"POST": Permission.SELF}

    def post(self, request: HttpRequest) -> HttpResponse:
        sessions.log_out(actor=self.actor)
        auth.logout(request)
        return _to(addresses.SIGN_IN)


class Appearance(Page):
    """The language and the theme of this browser; a signed-in person's language goes along."""

    public = "a choice that the browser keeps for itself"

    def post(self, request: HttpRequest) -> HttpResponse:
        response = _to(addresses.safe(request.POST.get("next", "")))
        language, theme = request.POST.get("language"), request.POST.get("theme")
        if language is not None and appearance.speaks(language):
            appearance.set_language(response, language)
            with contextlib.suppress(Unauthenticated):
                profile.update(actor=actor_of(request), changes={"locale": language})
        if theme is not None:
            appearance.set_theme(response, theme)
        return response


def csrf_failed(request: HttpRequest, reason: str = "") -> HttpResponse:  # noqa: ARG001
    """Django's hook for forms that did not come from our own pages."""
    return problem_page(request, CsrfFailed())


def _enter(request: HttpRequest, row: RefreshSession) -> None:
    """Give the browser a new session that names the row; the one before it ends."""
    before = request.session.get(SESSION_ID), request.session.get(auth.SESSION_KEY)
    request.session.flush()
    auth.login(request, row.user, backend=settings.AUTHENTICATION_BACKENDS[0])
    request.session[SESSION_ID] = str(row.pk)
    if all(before):
        with contextlib.suppress(NotFound):
            sessions.revoke(
                user_id=UUID(before[1]), session_id=UUID(before[0]), reason="signed_in_anew"
            )


def _spoken(response: HttpResponse, request: HttpRequest, row: RefreshSession) -> HttpResponse:
    """Who once chose a language in their account meets it in a browser that knows none yet."""
    locale = row.user.locale
    is_chosen = locale != _SOURCE_LANGUAGE and appearance.speaks(locale)
    if is_chosen and settings.LANGUAGE_COOKIE_NAME not in request.COOKIES:
        appearance.set_language(response, locale)
    return response


def _to(target: str) -> HttpResponse:
    return HttpResponseRedirect(target, status=HTTPStatus.SEE_OTHER)
