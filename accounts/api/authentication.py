"""DRF's door: one authentication function, CSRF for the browser session's cookie."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.middleware.csrf import CsrfViewMiddleware
from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from accounts.errors import CsrfFailed
from accounts.services import authentication
from accounts.services.authentication import Credential, Source
from accounts.types import Actor
from ideplatform.kit import peers
from ideplatform.kit.errors import Unauthenticated

_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class PlatformAuthentication(BaseAuthentication):
    """`request.user` is an `Actor`, or None for a request without any credential."""

    def authenticate(self, request: Request) -> tuple[Actor, Credential] | None:
        authentication.refuse_in_url(request.META.get("QUERY_STRING", ""), ip=ip_of(request))
        credential = authentication.credential_of(request.headers)
        if credential is None:
            return None
        if credential.source == Source.COOKIE and request.method not in _SAFE:
            _check_csrf(request._request)  # noqa: SLF001  (DRF's own way to Django's request)
        return authentication.verify(credential, ip=ip_of(request)), credential

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class NoAuthentication(BaseAuthentication):
    """For public views: nobody is signed in, but a credential in the URL is refused here too."""

    def authenticate(self, request: Request) -> None:
        authentication.refuse_in_url(request.META.get("QUERY_STRING", ""), ip=ip_of(request))


def _never(_request: HttpRequest) -> HttpResponse:
    """What the middleware would call next; only its checks are used."""
    raise NotImplementedError


def _check_csrf(request: HttpRequest) -> None:
    check = CsrfViewMiddleware(_never)
    check.process_request(request)
    if check.process_view(request, _never, (), {}) is not None:
        raise CsrfFailed


def actor_of(request: Request) -> Actor:
    """Who sent an authenticated request; raises Unauthenticated for an anonymous one."""
    if not isinstance(request.user, Actor):
        raise Unauthenticated
    return request.user


def ip_of(request: Request) -> str:
    """The client's address, behind the proxies that are trusted."""
    forwarded = request.META.get("HTTP_X_FORWARDED_FOR", "")
    return peers.ip(request.META.get("REMOTE_ADDR", ""), forwarded)
