"""Rows as CSV (pure): RFC 4180 lines that a spreadsheet shows and never runs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Final

from ideplatform.kit import clock, money

USAGE_COLUMNS: Final = (
    "id",
    "request_id",
    "attempt",
    "occurred_at",
    "completed_at",
    "provider_id",
    "provider_type",
    "user_id",
    "workspace_id",
    "api_key_id",
    "agent_id",
    "conversation_id",
    "run_id",
    "operation",
    "model",
    "requested_model",
    "served_model",
    "service_tier",
    "region",
    "provider_request_id",
    "billing_mode",
    "source",
    "accuracy",
    "outcome",
    "status",
    "tokens_input",
    "tokens_output",
    "tokens_cache_read",
    "tokens_cache_write",
    "tokens_reasoning",
    "estimated_cost",
    "billed_cost",
    "saved_by_cache",
    "currency",
    "first_token_ms",
    "duration_ms",
    "streamed",
    "created_at",
)
# What spreadsheets take for a formula when a cell begins with it (OWASP, "CSV injection").
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")


def text(rows: Iterable[Sequence[object]]) -> bytes:
    """Lines of UTF-8 that end in CRLF."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\r\n").writerows([_cell(one) for one in row] for row in rows)
    return buffer.getvalue().encode()


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, Decimal):
        return money.text(value)
    if isinstance(value, datetime):
        return clock.rfc3339(value)
    if isinstance(value, date):
        return value.isoformat()
    shown = str(value)
    return f"'{shown}" if isinstance(value, str) and shown.startswith(_FORMULA) else shown
