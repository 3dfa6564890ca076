"""What the console's pages share: who is at the desk, read-only lists, problems in words."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from uuid import UUID

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from unfold.admin import ModelAdmin

from accounts.models import User
from accounts.services.authentication import SESSION_ID
from accounts.types import Actor
from billing.services import operators
from billing.types import Right
from ideplatform.kit import peers
from ideplatform.kit.admin import ReadOnly
from ideplatform.kit.errors import Forbidden, NotFound, PlatformError

ROWS: Final = 25
View = Callable[..., HttpResponse]


class Desk(ReadOnly, ModelAdmin):  # type: ignore[misc]  # the theme's class has no types
    """A list that operators with one right may see, 25 rows at a time."""

    right = Right.VIEW
    list_per_page = list_max_show_all = ROWS
    show_full_result_count = False

    def has_view_permission(self, request: HttpRequest, obj: object = None) -> bool:
        return may(request, self.right)

    def has_module_permission(self, request: HttpRequest) -> bool:
        return may(request, self.right)

    def page(
        self, request: HttpRequest, template: str, title: str, context: Mapping[str, Any]
    ) -> TemplateResponse:
        """One of the console's own pages, in the frame of the site."""
        frame = self.admin_site.each_context(request)
        own = {"title": title, "opts": self.opts} | dict(context)
        return TemplateResponse(request, f"admin/console/{template}.html", frame | own)

    def guarded(self, view: View) -> View:
        """For staff only, with refusals in the form that pages have."""

        def judged(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
            with as_pages():
                return view(request, *args, **kwargs)

        guarded: View = self.admin_site.admin_view(judged)
        return guarded


def may(request: HttpRequest, right: Right) -> bool:
    """Whether the person at the desk has a right; only for what is shown to them."""
    return isinstance(request.user, User) and operators.has(request.user, right)


def actor(request: HttpRequest) -> Actor:
    """The person at the desk. `BrowserSession` has verified their session for this request."""
    user, meta = request.user, request.META
    if not isinstance(user, User) or SESSION_ID not in request.session:
        raise PermissionDenied
    return Actor(
        user_id=user.pk,
        session_id=UUID(request.session[SESSION_ID]),
        is_staff=user.is_staff,
        is_superuser=user.is_superuser,
        ip=peers.ip(meta.get("REMOTE_ADDR", ""), meta.get("HTTP_X_FORWARDED_FOR", "")),
    )


@contextmanager
def as_pages() -> Iterator[None]:
    """Refusals become Django's pages: 403 and 404."""
    try:
        yield
    except Forbidden:
        raise PermissionDenied from None
    except NotFound:
        raise Http404 from None


def tell(request: HttpRequest, problem: PlatformError) -> None:
    """Say what was refused, and each fault of it."""
    messages.error(request, problem.detail)
    for fault in problem.errors:
        if fault.detail and fault.detail != problem.detail:
            messages.error(request, f"{fault.pointer}: {fault.detail}")
