"""Sums of usage by hour and day, kept up with the events: what summaries read instead of rows.

Everything that transactions before the watermark wrote is folded, everything else is not: the
watermark is a transaction's number below which none is running any more, and moves in the
transaction that folds. Answers add the rows after it, so they are exact at any moment.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Final

import structlog
from django.db import connection, transaction

from billing.selectors import sums
from billing.services.retries import retried
from ideplatform.kit.db import allow_long_transaction
from ideplatform.observability import metrics

log = structlog.get_logger(__name__)

BATCH: Final = 50_000
_BATCH_LIMIT_S: Final = 120
SUMS: Final = sums.SUMS


@dataclass(frozen=True, slots=True, kw_only=True)
class Folded:
    """What one batch did; `is_last` when nothing that is finished was left."""

    rows: int
    is_last: bool


def fold(*, batch: int = BATCH) -> int:
    """Fold all finished rows, at most about `batch` of them per transaction; how many there were.

    A transaction's rows are folded together, however many. One folder works at a time; another
    one leaves at once with 0, for the first will come by again. Idempotent: the watermark and the
    sums move together.
    """
    rows = 0
    while True:
        folded = retried(functools.partial(_fold, batch))
        rows += folded.rows
        if folded.is_last:
            break
    if rows:
        log.info("rollups.folded", rows=rows)
    measure()
    return rows


def rebuild(*, batch: int = BATCH) -> int:
    """Make all sums anew from the rows. Answers stay exact meanwhile: they read the rows."""
    with transaction.atomic(), connection.cursor() as cursor:
        allow_long_transaction(seconds=_BATCH_LIMIT_S)
        cursor.execute("SELECT 1 FROM billing_rollup_watermark FOR NO KEY UPDATE")
        _forget()
    log.warning("rollups.forgotten")
    return fold(batch=batch)


def measure() -> None:
    """Set the gauge of how long the oldest row has waited for its sums, in seconds."""
    with connection.cursor() as cursor:
        cursor.execute(_LAG)
        (lag_s,) = cursor.fetchone() or (0,)
    metrics.rollup_lag_seconds.set(int(lag_s))


@transaction.atomic
def _fold(batch: int) -> Folded:
    allow_long_transaction(seconds=_BATCH_LIMIT_S)
    with connection.cursor() as cursor:
        cursor.execute(_WATERMARK)
        row = cursor.fetchone()
        if row is None:
            return Folded(rows=0, is_last=True)  # another folder is at work
        after, before, is_foreign = row
        if is_foreign:
            _forget()
            return Folded(rows=0, is_last=False)
        cursor.execute(_LAST_OF_BATCH, {"after": after, "before": before, "batch": batch})
        (end,) = cursor.fetchone() or (None,)
        cursor.execute(_FOLD, {"after": after, "before": end or before})
        (rows,) = cursor.fetchone() or (0,)
        if rows:
            cursor.execute(_MOVE, [end or before])
    return Folded(rows=rows, is_last=end is None)


def _forget() -> None:
    """Start over: the sums are of another server's transactions, or are not trusted."""
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM usage_hourly")
        cursor.execute("DELETE FROM usage_daily")
        cursor.execute(_MOVE, ["0"])


# A dump that was restored on a younger server brings a watermark from that server's future: none
# of its own transactions would ever be folded.
_WATERMARK: Final = """
SELECT folded_before::text, pg_snapshot_xmin(pg_current_snapshot())::text,
       folded_before > pg_snapshot_xmax(pg_current_snapshot())
FROM billing_rollup_watermark FOR NO KEY UPDATE SKIP LOCKED
"""
_MOVE: Final = """
UPDATE billing_rollup_watermark SET folded_before = %s::xid8, folded_at = clock_timestamp()
"""
# The number after that of the batch's last row; nothing where fewer rows than a batch wait.
_LAST_OF_BATCH: Final = """
SELECT (commit_xid::text::numeric + 1)::text FROM usage_events
WHERE commit_xid >= %(after)s::xid8 AND commit_xid < %(before)s::xid8
ORDER BY commit_xid OFFSET %(batch)s - 1 LIMIT 1
"""
_NAMES: Final = ", ".join(SUMS)
_ADDED: Final = ", ".join(f"{name} = r.{name} + excluded.{name}" for name in SUMS)
_TOTALS: Final = ", ".join(f"sum({name})" for name in SUMS)
# One pass over the rows for all dimensions: the grouping set says which one a sum is of.
_FOLD: Final = f"""
WITH fresh AS MATERIALIZED (
    SELECT customer_id, date_trunc('hour', occurred_at, 'UTC') AS hour,
        (occurred_at AT TIME ZONE 'UTC')::date AS day, model,
        coalesce(workspace_id::text, '') AS workspace, coalesce(user_id::text, '') AS person,
        agent_id AS agent, coalesce(api_key_id::text, '') AS api_key,
        provider_id::text AS provider, {_NAMES}
    FROM usage_effective
    WHERE commit_xid >= %(after)s::xid8 AND commit_xid < %(before)s::xid8
), hourly AS (
    INSERT INTO usage_hourly AS r (customer_id, hour, {_NAMES})
    SELECT customer_id, hour, {_TOTALS} FROM fresh GROUP BY customer_id, hour
    ORDER BY customer_id, hour
    ON CONFLICT (customer_id, hour) DO UPDATE SET {_ADDED}
), daily AS (
    INSERT INTO usage_daily AS r (customer_id, dimension, day, key, {_NAMES})
    SELECT customer_id,
        CASE GROUPING(model, workspace, person, agent, api_key, provider)
            WHEN 31 THEN 'model' WHEN 47 THEN 'workspace' WHEN 55 THEN 'user'
            WHEN 59 THEN 'agent' WHEN 61 THEN 'api_key' WHEN 62 THEN 'provider'
            ELSE 'workspace_model' END AS dimension,
        day,
        CASE GROUPING(model, workspace, person, agent, api_key, provider)
            WHEN 31 THEN model WHEN 47 THEN workspace WHEN 55 THEN person
            WHEN 59 THEN agent WHEN 61 THEN api_key WHEN 62 THEN provider
            ELSE workspace || '/' || model END AS key,
        {_TOTALS}
    FROM fresh GROUP BY GROUPING SETS (
        (customer_id, day, model), (customer_id, day, workspace), (customer_id, day, person),
        (customer_id, day, agent), (customer_id, day, api_key), (customer_id, day, provider),
        (customer_id, day, workspace, model))
    ORDER BY 1, 2, 3, 4
    ON CONFLICT (customer_id, dimension, day, key) DO UPDATE SET {_ADDED}
)
SELECT count(*) FROM fresh
"""  # noqa: S608 - our own column names
_LAG: Final = """
SELECT coalesce(greatest(extract(epoch FROM clock_timestamp() - min(waiting.created_at)), 0), 0)
FROM (
    SELECT created_at FROM usage_events
    WHERE commit_xid >= (SELECT folded_before FROM billing_rollup_watermark)
    UNION ALL
    SELECT created_at FROM billing_usage_corrections
    WHERE commit_xid >= (SELECT folded_before FROM billing_rollup_watermark)
) AS waiting
"""
