"""Exports, markups: what people take along, and what they pay beside the vendor's price."""

from __future__ import annotations

from enum import StrEnum


class ExportState(StrEnum):
    """`failed` tells why in its problem; what is done can be read until it expires."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


class MarkupKind(StrEnum):
    """`percent` of the vendor's price; `per_unit` USD a token; `per_request` USD a call."""

    PERCENT = "percent"
    PER_UNIT = "per_unit"
    PER_REQUEST = "per_request"
