"""The process clock: aware UTC, with an offset that fault tests set.

Leases, holds and tokens are judged by the database clock; this one stamps and displays.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta

_OFFSET = timedelta(seconds=float(os.environ.get("CLOCK_OFFSET_S", "0")))


def now() -> datetime:
    """The current time, aware, in UTC, moved by `CLOCK_OFFSET_S` seconds (fault tests)."""
    return datetime.now(UTC) + _OFFSET


def rfc3339(moment: datetime) -> str:
    """`2026-01-31T12:00:00.123456Z`."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
