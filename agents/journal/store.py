"""The journal in PostgreSQL: fenced appends, and reads after a cursor. Sync; use `run_db`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connection, transaction

from agents import frames
from agents.journal.entries import Entry

CHUNK_ROWS = 500

# The rows are locked in id order, so that two flushes that meet cannot deadlock.
_APPEND = """
WITH batch AS (
    SELECT * FROM unnest(%(runs)s::uuid[], %(fences)s::bigint[], %(firsts)s::bigint[],
        %(lasts)s::bigint[]) AS b (run_id, fence, first, last)
), owned AS MATERIALIZED (
    SELECT r.id, b.last FROM runs r JOIN batch b ON b.run_id = r.id
    WHERE r.fence = b.fence AND r.last_seq = b.first - 1 AND r.ended_at IS NULL
    ORDER BY r.id FOR NO KEY UPDATE OF r
), moved AS (
    UPDATE runs SET last_seq = owned.last FROM owned WHERE runs.id = owned.id RETURNING runs.id
), written AS (
    INSERT INTO run_events (run_id, seq, fence, step_id, type, payload, at)
    SELECT e.run_id, e.seq, e.fence, e.step_id, e.type, e.payload, e.at
    FROM unnest(%(event_runs)s::uuid[], %(seqs)s::bigint[], %(event_fences)s::bigint[],
        %(steps)s::uuid[], %(types)s::text[], %(payloads)s::json[], %(ats)s::timestamptz[])
        AS e (run_id, seq, fence, step_id, type, payload, at)
    JOIN moved ON moved.id = e.run_id
)
SELECT id FROM moved
"""
_INSERT = """
INSERT INTO run_events (run_id, seq, fence, step_id, type, payload, at)
VALUES (%s, %s, %s, %s, %s, %s::json, %s)
"""
_OF_STEP = """
SELECT payload::text FROM run_events WHERE run_id = %s AND step_id = %s ORDER BY seq
"""
_READ = """
SELECT seq, fence, step_id, type, payload::text, at FROM run_events
WHERE run_id = %s AND seq >= %s ORDER BY seq LIMIT %s
"""
_HEAD = "SELECT last_seq, fence, ended_at IS NOT NULL FROM runs WHERE id = %s"
_HEADS = "SELECT id, last_seq, fence FROM runs WHERE id = ANY(%s)"
_SURVIVED = "SELECT min(seq) - 1 FROM run_events WHERE run_id = %s AND fence > %s"


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """New entries of one run, contiguous, appended under `fence`.

    The entries keep their own fence: a new owner also appends what the old one left in Redis.
    """

    run_id: UUID
    fence: int
    entries: Sequence[Entry]

    @property
    def first(self) -> int:
        return self.entries[0].seq

    @property
    def last(self) -> int:
        return self.entries[-1].seq


class Head(NamedTuple):
    """How far a run's journal has come."""

    last_seq: int
    fence: int
    is_over: bool


class Stretch(NamedTuple):
    """Some stored entries from a cursor on, and the head when they were read."""

    entries: list[Entry]
    head: Head | None


def append(batches: Sequence[Batch]) -> set[UUID]:
    """Append to many runs in one statement; returns the runs whose lease has moved.

    What a lost answer left in doubt is recognised: only the owner of a fence appends under it, so
    whatever already stands there beyond a batch's beginning is the batch's own.
    """
    ordered = sorted(batches, key=lambda batch: batch.run_id)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_APPEND, _arguments(ordered))
        moved = {row[0] for row in cursor.fetchall()}
    missing = [batch for batch in ordered if batch.run_id not in moved]
    return _settle_doubts(missing) if missing else set()


def _settle_doubts(batches: Sequence[Batch]) -> set[UUID]:
    """Append what a batch still lacks; returns the runs that belong to another owner now."""
    found = heads([batch.run_id for batch in batches])
    refused: set[UUID] = set()
    rest: list[Batch] = []
    for batch in batches:
        last_seq, fence = found.get(batch.run_id, (0, -1))
        if fence != batch.fence or last_seq < batch.first:
            refused.add(batch.run_id)
        elif last_seq < batch.last:
            lacking = [entry for entry in batch.entries if entry.seq > last_seq]
            rest.append(Batch(run_id=batch.run_id, fence=batch.fence, entries=lacking))
    return refused | (append(rest) if rest else set())


def insert(entry: Entry) -> None:
    """Write one entry inside a transaction that has moved the run's `last_seq` itself."""
    with connection.cursor() as cursor:
        cursor.execute(
            _INSERT,
            [
                entry.run_id,
                entry.seq,
                entry.fence,
                entry.step_id,
                entry.type,
                entry.body.decode(),
                entry.at,
            ],
        )


def events_of_step(run_id: UUID, step_id: UUID) -> list[frames.AnyEvent]:
    """What one attempt of a step journalled."""
    with connection.cursor() as cursor:
        cursor.execute(_OF_STEP, [run_id, step_id])
        return [frames.decode_event(payload) for (payload,) in cursor.fetchall()]


def _arguments(batches: Sequence[Batch]) -> dict[str, Any]:
    entries = [entry for batch in batches for entry in batch.entries]
    return {
        "runs": [batch.run_id for batch in batches],
        "fences": [batch.fence for batch in batches],
        "firsts": [batch.first for batch in batches],
        "lasts": [batch.last for batch in batches],
        "event_runs": [entry.run_id for entry in entries],
        "seqs": [entry.seq for entry in entries],
        "event_fences": [entry.fence for entry in entries],
        "steps": [entry.step_id for entry in entries],
        "types": [entry.type for entry in entries],
        "payloads": [entry.body.decode() for entry in entries],
        "ats": [entry.at for entry in entries],
    }


def read(run_id: UUID, *, start: int, limit: int = CHUNK_ROWS) -> Stretch:
    """Up to `limit` entries with seq >= `start`, and the head; head is None for no such run.

    The head is read first: entries may be newer than it, never older.
    """
    with connection.cursor() as cursor:
        cursor.execute(_HEAD, [run_id])
        head = cursor.fetchone()
        cursor.execute(_READ, [run_id, start, limit])
        entries = [
            Entry(
                run_id=run_id,
                seq=seq,
                fence=fence,
                step_id=step_id,
                type=kind,
                body=payload.encode(),
                at=at,
            )
            for seq, fence, step_id, kind, payload, at in cursor.fetchall()
        ]
    return Stretch(entries, Head(*head) if head else None)


def heads(run_ids: Sequence[UUID]) -> dict[UUID, tuple[int, int]]:
    """last_seq and fence of each run that exists."""
    with connection.cursor() as cursor:
        cursor.execute(_HEADS, [list(run_ids)])
        return {run_id: (last_seq, fence) for run_id, last_seq, fence in cursor.fetchall()}


def survived(run_id: UUID, *, fence: int) -> int | None:
    """The last seq before owners newer than `fence` began to write; None while none has."""
    with connection.cursor() as cursor:
        cursor.execute(_SURVIVED, [run_id, fence])
        row = cursor.fetchone()
    return None if row is None or row[0] is None else int(row[0])
