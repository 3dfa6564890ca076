"""Where a browser may be sent next: paths of this origin, and nothing else."""

from __future__ import annotations

from urllib.parse import urlencode

from django.http import HttpRequest
from django.utils.http import url_has_allowed_host_and_scheme

HOME = "/billing/"
SIGN_IN = "/account/login"


def safe(target: str) -> str:
    """The path (with its query) that was asked for, or home for anything that leaves our origin."""
    is_path = target.startswith("/") and url_has_allowed_host_and_scheme(target, allowed_hosts=None)
    return target if is_path else HOME


def sign_in(request: HttpRequest) -> str:
    """The sign-in page that leads back to where a reader was; a write is not repeated."""
    is_read = request.method in ("GET", "HEAD")
    return f"{SIGN_IN}?{urlencode({'next': request.get_full_path() if is_read else HOME})}"
