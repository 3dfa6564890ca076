"""What the admin pages of every app share: the site, and reading without writing."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from csp.decorators import csp_update
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from unfold.sites import UnfoldAdminSite

View = Callable[..., HttpResponseBase]
# The theme's scripts (Alpine) compile expressions; no other page of the platform allows that.
_allow_eval = csp_update({"script-src": ["'unsafe-eval'"]})


class Console(UnfoldAdminSite):  # type: ignore[misc]  # the theme has no types
    """The operators' site, in the look of django-unfold."""

    site_title = site_header = "IDE Mundial"
    index_title = "Console"

    def admin_view(self, view: View, cacheable: bool = False) -> View:
        judged: View = super().admin_view(view, cacheable)
        return _allow_eval(judged)

    def login(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponseBase:
        frame: View = functools.partial(super().login, extra_context=extra_context)
        return _allow_eval(frame)(request)


class ReadOnly:
    """No adding, changing or deleting: changes go through the API, which audits them."""

    def has_add_permission(self, *_: object) -> bool:
        return False

    def has_change_permission(self, *_: object) -> bool:
        return False

    def has_delete_permission(self, *_: object) -> bool:
        return False
