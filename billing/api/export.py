"""Usage as CSV: one line per event, sent while it is read."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

from rest_framework.renderers import BaseRenderer

from billing.api.serializers import EVENT_COLUMNS
from billing.models import UsageEvent
from ideplatform.kit import clock, money
from ideplatform.kit.db import run_db

MEDIA_TYPE: Final = "text/csv"
# What spreadsheets take for a formula when a cell begins with it (OWASP, "CSV injection").
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


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


def lines(chunks: Iterator[list[UsageEvent]]) -> Iterator[bytes]:
    """The header, then each chunk's lines."""
    yield _text([EVENT_COLUMNS])
    for chunk in chunks:
        yield _text(_row(event) for event in chunk)


async def lines_async(chunks: Iterator[list[UsageEvent]]) -> AsyncIterator[bytes]:
    """The same for the event loop: each chunk is read on the database pool."""
    pending = lines(chunks)
    while part := await run_db(next, pending, b""):
        yield part


def _row(event: UsageEvent) -> list[str]:
    return [_cell(getattr(event, name)) for name in EVENT_COLUMNS]


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return money.text(value)
    if isinstance(value, datetime):
        return clock.rfc3339(value)
    text = str(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(_FORMULA) else text


def _text(rows: Iterator[Sequence[str]] | Sequence[Sequence[str]]) -> bytes:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerows(rows)
    return buffer.getvalue().encode()
