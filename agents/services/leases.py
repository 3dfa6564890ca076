"""Leases: who owns a run, judged by the database's clock and fenced by a number that only grows.

Lock order everywhere: a run's lease row, then the run.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from django.conf import settings
from django.db import connection, transaction

from agents import selectors
from agents.types import Run
from ideplatform.observability import metrics
from ideplatform.outbox import facts

MAX_ATTEMPTS = 3
REAP_LIMIT = 100
UNTAKEN_S = 10

_TAKE = """
WITH taken AS (
    UPDATE run_leases SET owner = %(owner)s, fence = fence + 1, heartbeat_at = clock_timestamp(),
        expires_at = clock_timestamp() + make_interval(secs => %(lease_s)s)
    WHERE run_id = %(run_id)s AND expires_at <= clock_timestamp()
    RETURNING run_id, fence
)
UPDATE runs SET state = 'running', fence = taken.fence,
    started_at = coalesce(started_at, clock_timestamp())
FROM taken WHERE runs.id = taken.run_id AND runs.state = 'queued'
RETURNING runs.fence
"""
_RENEW = """
UPDATE run_leases SET heartbeat_at = clock_timestamp(),
    expires_at = clock_timestamp() + make_interval(secs => %(lease_s)s)
FROM unnest(%(runs)s::uuid[], %(fences)s::bigint[]) AS b (run_id, fence)
WHERE run_leases.run_id = b.run_id AND run_leases.fence = b.fence
    AND run_leases.owner = %(owner)s AND run_leases.expires_at > clock_timestamp()
RETURNING run_leases.run_id
"""
_RELEASE = """
WITH released AS (
    UPDATE run_leases SET owner = '', expires_at = clock_timestamp()
    WHERE run_id = %(run_id)s AND fence = %(fence)s RETURNING run_id
)
UPDATE runs SET state = 'queued' FROM released
WHERE runs.id = released.run_id AND runs.fence = %(fence)s AND runs.state = 'running'
RETURNING runs.id
"""
# A queued run is told again when nobody has taken it for 10 s: its message was lost.
_REAP = """
WITH due AS (
    SELECT l.run_id, r.state FROM run_leases l JOIN runs r ON r.id = l.run_id
    WHERE l.expires_at < clock_timestamp() AND (
        r.state = 'running' OR (
            r.state = 'queued'
            AND l.expires_at < clock_timestamp() - make_interval(secs => %(untaken_s)s)
        )
    )
    ORDER BY l.expires_at LIMIT %(limit)s FOR UPDATE SKIP LOCKED
), told AS (
    UPDATE run_leases SET owner = '', expires_at = clock_timestamp()
    FROM due WHERE run_leases.run_id = due.run_id
)
UPDATE runs SET state = 'queued', attempt = attempt + (due.state = 'running')::int
FROM due WHERE runs.id = due.run_id RETURNING runs.id, due.state
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """A run that is now ours, and the fence of whoever had it before (0: nobody)."""

    run: Run
    former_fence: int


@transaction.atomic
def take(*, run_id: UUID, owner: str) -> Taken | None:
    """Own a queued run for `RUN_LEASE_S` seconds; None when it is not to be had.

    A second delivery of the same message, late or early, ends here.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _TAKE, {"run_id": run_id, "owner": owner, "lease_s": settings.ENV.run_lease_s}
        )
        row = cursor.fetchone()
    if row is None:
        transaction.set_rollback(True)
        return None
    return Taken(run=selectors.run_by_id(run_id), former_fence=row[0] - 1)


def renew(*, owner: str, fences: Mapping[UUID, int]) -> set[UUID]:
    """Renew all leases of a process in one statement; returns the runs that are still ours.

    An expired lease is not renewed, even when nobody has taken it yet.
    """
    with connection.cursor() as cursor:
        cursor.execute(
            _RENEW,
            {
                "owner": owner,
                "runs": list(fences),
                "fences": list(fences.values()),
                "lease_s": settings.ENV.run_lease_s,
            },
        )
        return {row[0] for row in cursor.fetchall()}


@transaction.atomic
def release(*, run_id: UUID, fence: int) -> bool:
    """Give a run back, so that another worker goes on at once; False when it is no longer ours."""
    with connection.cursor() as cursor:
        cursor.execute(_RELEASE, {"run_id": run_id, "fence": fence})
        released = cursor.fetchone() is not None
    if released:
        _tell([run_id])
    return released


@transaction.atomic
def reap() -> int:
    """Queue again what lost its owner or its message; returns how many runs.

    An owner lost while running counts as an attempt; see `MAX_ATTEMPTS`.
    """
    with connection.cursor() as cursor:
        cursor.execute(_REAP, {"untaken_s": UNTAKEN_S, "limit": REAP_LIMIT})
        rows = cursor.fetchall()
    _tell(run_id for run_id, _ in rows)
    for _, state in rows:
        cause = "expired" if state == "running" else "untaken"
        metrics.lease_recoveries_total.labels(cause=cause).inc()
    return len(rows)


@transaction.atomic
def tell_again(*, run_id: UUID) -> None:
    """Hand on the message of a run that this process may not take any more."""
    _tell([run_id])


def _tell(run_ids: Iterable[UUID]) -> None:
    facts.publish_many("run.opened", [(str(run_id), {"run_id": str(run_id)}) for run_id in run_ids])
