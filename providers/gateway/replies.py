"""Whole answers: JSON bodies and errors in the caller's dialect."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from providers.gateway.dialects import errors
from providers.gateway.request import Request
from providers.types import DialectName

JSON: Final = b"application/json"


async def json(
    request: Request,
    body: bytes,
    *,
    status: int = 200,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Answer with a JSON body."""
    head = [
        (b"content-type", JSON),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"x-request-id", str(request.request_id).encode()),
        *headers,
    ]
    await request.send({"type": "http.response.start", "status": status, "headers": head})
    sent = b"" if request.method == "HEAD" else body
    await request.send({"type": "http.response.body", "body": sent, "more_body": False})


async def problem(
    request: Request,
    dialect: DialectName,
    error: Exception,
    *,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Answer with an error in the dialect's envelope; an unread body ends the connection."""
    render = errors.anthropic if dialect is DialectName.MESSAGES else errors.openai
    body = render(error, request_id=str(request.request_id))
    told = [(name.encode(), value.encode()) for name, value in errors.headers(error).items()]
    if not request.is_read:
        told.append((b"connection", b"close"))
    status = errors.status(error, dialect)
    await json(request, body, status=status, headers=[*told, *headers])


def header(name: str, value: str) -> tuple[bytes, bytes]:
    """A header of ours; what cannot stand in one becomes a question mark."""
    plain = "".join(c if " " <= c < "\x7f" else "?" for c in value[:500])
    return name.encode(), plain.encode()
