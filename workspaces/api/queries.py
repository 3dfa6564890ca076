"""Query strings of the file routes."""

from __future__ import annotations

from rest_framework.request import Request

from ideplatform.kit.serializers import wrong
from workspaces.paths import MAX_DEPTH

_MAX_VERSION = 2**31 - 1


def text(request: Request, name: str) -> str:
    return str(request.query_params.get(name, ""))


def required_text(request: Request, name: str) -> str:
    """A parameter that must be there; raises InvalidInput."""
    value = text(request, name)
    if not value:
        raise wrong(f"/{name}", "this parameter is required")
    return value


def flag(request: Request, name: str) -> bool:
    """`1` or `true`, `0` or `false`, absent is false; raises InvalidInput."""
    value = text(request, name).lower()
    if value not in {"", "0", "1", "false", "true"}:
        raise wrong(f"/{name}", "1, true, 0 or false")
    return value in {"1", "true"}


def number(request: Request, name: str, *, most: int) -> int | None:
    """A whole number from 1 to `most`, None when absent; raises InvalidInput."""
    value = text(request, name)
    if not value:
        return None
    if not (value.isascii() and value.isdigit() and len(value) < 11 and 1 <= int(value) <= most):
        raise wrong(f"/{name}", f"a whole number from 1 to {most}")
    return int(value)


def depth(request: Request) -> int:
    return number(request, "depth", most=MAX_DEPTH) or 1


def version(request: Request) -> int | None:
    return number(request, "version", most=_MAX_VERSION)


def target(request: Request) -> dict[str, str]:
    """`path` or `file_id`, exactly one; raises InvalidInput."""
    path, file_id = text(request, "path"), text(request, "file_id")
    if bool(path) == bool(file_id):
        raise wrong("/path", "give either path or file_id")
    return {"path": path, "file_id": file_id}
