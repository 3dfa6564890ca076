"""Query strings of the agents' routes; each raises InvalidInput with a pointer."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from rest_framework.request import Request

from ideplatform.kit.serializers import wrong


def text(request: Request, name: str, *, one_of: Sequence[str] = ()) -> str:
    """A parameter, "" when absent."""
    value = str(request.query_params.get(name, ""))
    if value and one_of and value not in one_of:
        raise wrong(f"/{name}", f"one of {', '.join(one_of)}")
    return value


def identifier(request: Request, name: str) -> UUID | None:
    """An id, None when absent."""
    value = text(request, name)
    try:
        return UUID(value) if value else None
    except ValueError:
        raise wrong(f"/{name}", "a UUID") from None


def number(request: Request, name: str, *, default: int, most: int) -> int:
    """A whole number from 1 to `most`."""
    value = text(request, name)
    if not value:
        return default
    if not (value.isascii() and value.isdigit() and len(value) < 10 and 1 <= int(value) <= most):
        raise wrong(f"/{name}", f"a whole number from 1 to {most}")
    return int(value)
