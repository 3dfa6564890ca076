"""CSV over HTTP: sent while it is read, in the server's own kind of stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Any, Final

from django.core.handlers.asgi import ASGIRequest
from django.http import StreamingHttpResponse
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from billing import sheets
from billing.selectors.usage import Row
from ideplatform.kit.db import run_db

MEDIA_TYPE: Final = "text/csv"


class CSVRenderer(BaseRenderer):
    """Lets a client ask for `text/csv` (or `?format=csv`); the view streams the lines itself."""

    media_type, format, charset = MEDIA_TYPE, "csv", "utf-8"

    def render(
        self,
        data: Any,
        accepted_media_type: str | None = None,
        renderer_context: Mapping[str, Any] | None = None,
    ) -> bytes:
        raise NotImplementedError("CSV is streamed by the view")


def lines(chunks: Iterator[list[Row]]) -> Iterator[bytes]:
    """The header, then each chunk's lines."""
    yield sheets.text([sheets.USAGE_COLUMNS])
    for chunk in chunks:
        yield sheets.text(chunk)


def streamed(request: Request, pieces: Iterator[bytes], filename: str) -> StreamingHttpResponse:
    """A download. Django would gather a stream of the other kind in memory first."""
    is_async = isinstance(request._request, ASGIRequest)  # noqa: SLF001  (DRF's way to Django's)
    return StreamingHttpResponse(
        _hops(pieces) if is_async else pieces,
        content_type=f"{MEDIA_TYPE}; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{filename}"'},
    )


async def _hops(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Each piece is read on the database pool; nothing is held between them."""
    while piece := await run_db(next, pieces, b""):
        yield piece
