"""What every page shares: who reads it, what it declares, and how its failures look.

A page is for people: an API key is refused. Whoever has no session is led to the sign-in page;
every other failure is a page of its own, or the part of one that htmx asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any, ClassVar

import structlog
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render
from django.utils.cache import patch_vary_headers
from django.views.generic import View

from accounts.services import access, authentication
from accounts.types import Actor, Permission
from accounts.web import addresses
from ideplatform.kit import accounting, peers, problems, rest, throttle
from ideplatform.kit.errors import MethodNotAllowed, PlatformError, Unauthenticated
from ideplatform.kit.throttle import Limit

log = structlog.get_logger(__name__)


class Page(View):
    """One page. Each method names its permission, or `public` says why everybody may read it."""

    permissions: ClassVar[Mapping[str, Permission]] = {}
    public: ClassVar[str] = ""
    limits: ClassVar[Mapping[str, Limit]] = {}
    actor: Actor

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        try:
            self._admit(request)
            with ExitStack() as stack:
                self.begin(request, stack)
                response = super().dispatch(request, *args, **kwargs)
        except Exception as failed:  # noqa: BLE001 - a failure of a page is a page
            response = self._failed(request, failed)
        patch_vary_headers(response, ["Cookie", "HX-Request-Type"])
        response.headers["Cache-Control"] = "no-store"
        return response

    def begin(self, request: HttpRequest, stack: ExitStack) -> None:
        """What an app reads before each of its pages, and keeps until the page is done."""

    def http_method_not_allowed(
        self, request: HttpRequest, *args: Any, **kwargs: Any
    ) -> HttpResponse:
        raise MethodNotAllowed

    def shown(
        self, template: str, context: Mapping[str, Any], *, status: int = 200
    ) -> HttpResponse:
        """The rendered page."""
        return render(self.request, template, dict(context), status=status)

    def _admit(self, request: HttpRequest) -> None:
        method = "GET" if request.method == "HEAD" else str(request.method)
        accounting.enter(f"{method} {_route_of(request)}")
        if self.public:
            _refuse_in_url(request)
            return
        self.actor = actor_of(request)
        permission = self.permissions.get(method)
        if permission is None:
            raise MethodNotAllowed
        access.require_session(self.actor, permission)
        if permission == Permission.SELF:
            access.authorise_self(self.actor)
        self._count(method)

    def _count(self, method: str) -> None:
        limits = [throttle.READ if method == "GET" else throttle.WRITE]
        limits += [self.limits[method]] if method in self.limits else []
        throttle.take(*(throttle.of_user(limit, self.actor.user_id) for limit in limits))

    def _failed(self, request: HttpRequest, failed: Exception) -> HttpResponse:
        error = rest.platform_error(failed)
        if error is None:
            log.error("page.failed", exc_info=failed, route=_route_of(request))
        if isinstance(error, Unauthenticated) and not is_partial(request):
            return HttpResponseRedirect(addresses.sign_in(request), status=303)
        return problem_page(request, error)


def problem_page(request: HttpRequest, error: PlatformError | None) -> HttpResponse:
    """A failure as people see it; None is an unexpected one, of which only the id is told."""
    request_id = str(request.META.get("request_id", ""))
    problem = (
        problems.internal(request_id=request_id)
        if error is None
        else problems.of(error, request_id=request_id)
    )
    template = "account/_problem.html" if is_partial(request) else "account/problem.html"
    context = {"problem": problem, "sign_in": addresses.SIGN_IN}
    response = render(request, template, context, status=int(str(problem["status"])))
    if error is not None and error.retry_after_s is not None:
        response["Retry-After"] = str(error.retry_after_s)
    return response


def is_partial(request: HttpRequest) -> bool:
    """Whether htmx asks for the part of a page that changes (it asks for whole ones too)."""
    return request.headers.get("HX-Request-Type") == "partial"


def actor_of(request: HttpRequest) -> Actor:
    """Who reads; raises Unauthenticated and its kinds."""
    query = request.META.get("QUERY_STRING", "")
    return authentication.authenticate(request.headers, ip=ip_of(request), query=query)


def _refuse_in_url(request: HttpRequest) -> None:
    authentication.refuse_in_url(request.META.get("QUERY_STRING", ""), ip=ip_of(request))


def ip_of(request: HttpRequest) -> str:
    """The client's address, behind the proxies that are trusted."""
    meta = request.META
    return peers.ip(meta.get("REMOTE_ADDR", ""), meta.get("HTTP_X_FORWARDED_FOR", ""))


def _route_of(request: HttpRequest) -> str:
    match = request.resolver_match
    return match.route if match is not None else ""
