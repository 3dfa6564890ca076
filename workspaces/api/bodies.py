"""Raw bodies, in and out: read and written piece by piece, never as one text."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponse, StreamingHttpResponse
from django.utils.http import content_disposition_header
from rest_framework.negotiation import DefaultContentNegotiation
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from ideplatform.kit.db import run_db

PIECE_BYTES = 1024 * 1024
OCTETS = "application/octet-stream"
PLAIN = "text/plain"


class AnyAccept(DefaultContentNegotiation):
    """For answers that are files: whatever a client says it accepts, it asked for this file."""

    def get_accept_list(self, request: Request) -> list[str]:
        return ["*/*"]


class TextRenderer(BaseRenderer):
    """Takes part in negotiation; the view answers with the bytes itself."""

    media_type, format, charset = PLAIN, "text", "utf-8"


class OctetRenderer(BaseRenderer):
    """Takes part in negotiation; the view answers with the bytes itself."""

    media_type, format, charset = OCTETS, "octets", None


def is_json(request: Request) -> bool:
    """Whether the body says it is JSON."""
    return str(request.content_type or "").partition(";")[0].strip().lower() == "application/json"


def pieces(request: Request) -> Iterator[bytes]:
    """The raw body in pieces of at most 1 MiB, with or without a stated length.

    Django's own request is read: DRF takes a body without a length for an empty one.
    """
    raw = request._request  # noqa: SLF001  (DRF's own way to Django's request)
    while piece := raw.read(PIECE_BYTES):
        yield piece


def read_at_most(request: Request, limit: int) -> bytes:
    """The raw body, or its first `limit` + 1 bytes: the caller tells too much from enough."""
    found = bytearray()
    for piece in pieces(request):
        found += piece
        if len(found) > limit:
            break
    return bytes(found[: limit + 1])


def raw(content: bytes, *, is_text: bool) -> HttpResponse:
    """The bytes themselves, of a type that no browser runs."""
    return HttpResponse(content, content_type=f"{PLAIN}; charset=utf-8" if is_text else OCTETS)


def attachment(
    request: Request, content: Iterator[bytes], *, filename: str, content_type: str = OCTETS
) -> StreamingHttpResponse:
    """A download that is produced while it is sent."""
    is_async = isinstance(request._request, ASGIRequest)  # noqa: SLF001  (as above)
    response = StreamingHttpResponse(
        _hops(content) if is_async else content, content_type=content_type
    )
    disposition = content_disposition_header(as_attachment=True, filename=filename)
    response["Content-Disposition"] = str(disposition)
    return response


async def _hops(content: Iterator[bytes]) -> AsyncIterator[bytes]:
    """One hop to a database thread per piece; nothing is held between them."""
    while (piece := await run_db(next, content, None)) is not None:
        yield piece
