"""Folding in tests: transactions of other databases on the same server may hold rows back."""

from __future__ import annotations

from django.db import connection

from billing.services import rollups
from tests.waiting import eventually

_WAITING = """
SELECT count(*) FROM usage_effective
WHERE commit_xid >= (SELECT folded_before FROM billing_rollup_watermark)
"""


def folded(*, batch: int = rollups.BATCH) -> int:
    """Fold until no committed row waits; how many rows that were."""
    rows = 0

    def is_done() -> bool:
        nonlocal rows
        rows += rollups.fold(batch=batch)
        return waiting() == 0

    eventually(is_done, within_s=60)
    return rows


def waiting() -> int:
    """How many rows are not in the sums."""
    with connection.cursor() as cursor:
        cursor.execute(_WAITING)
        (count,) = cursor.fetchone()
    return int(count)
