"""The events of stored responses in PostgreSQL: appended under a lease, read after a cursor.

Sync; use `run_db`. One statement appends to many responses, each decided alone: whoever does not
hold a response's lease token, or does not continue its last number, changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from uuid import UUID

import msgspec
import zstandard
from django.db import connection, transaction

from providers.services import response_events
from providers.services.response_events import Event

LEASE_S: Final = 15
CHUNK_ROWS: Final = 500

# The rows are locked in id order, so that two batches that meet cannot deadlock.
_APPEND: Final = """
WITH batch AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(tokens)s::uuid[], %(firsts)s::bigint[],
        %(lasts)s::bigint[], %(states)s::text[], %(answers)s::bytea[], %(item_ids)s::jsonb[])
        AS b (id, token, first, last, state, answer, item_ids)
), owned AS MATERIALIZED (
    SELECT r.id, b.last, b.state, b.answer, b.item_ids
    FROM stored_responses r JOIN batch b ON b.id = r.id
    WHERE r.lease_token = b.token AND r.last_sequence = b.first - 1 AND r.ended_at IS NULL
    ORDER BY r.id FOR NO KEY UPDATE OF r
), moved AS (
    UPDATE stored_responses r SET last_sequence = o.last,
        lease_until = clock_timestamp() + make_interval(secs => %(lease_s)s),
        state = coalesce(o.state, 'in_progress'),
        answer = coalesce(o.answer, r.answer),
        item_ids = CASE WHEN o.state IS NULL THEN r.item_ids
            ELSE ARRAY(SELECT jsonb_array_elements_text(o.item_ids))::varchar[] END,
        ended_at = CASE WHEN o.state IS NULL THEN NULL ELSE clock_timestamp() END
    FROM owned o WHERE r.id = o.id RETURNING r.id
), written AS (
    INSERT INTO response_events (response_id, sequence_number, data)
    SELECT e.id, e.number, e.data
    FROM unnest(%(event_ids)s::uuid[], %(numbers)s::bigint[], %(datas)s::bytea[])
        AS e (id, number, data)
    JOIN moved ON moved.id = e.id
)
SELECT id FROM moved
"""
_STANDS: Final = "SELECT id, lease_token, last_sequence FROM stored_responses WHERE id = ANY(%s)"
_CANCELLED: Final = """
SELECT id FROM stored_responses WHERE id = ANY(%s) AND cancel_requested_at IS NOT NULL
"""
_HEAD: Final = """
SELECT last_sequence, ended_at IS NOT NULL, lost_at IS NOT NULL, lease_until < clock_timestamp()
FROM stored_responses WHERE id = %s
"""
_DONE: Final = """
SELECT data FROM response_events
WHERE response_id = %s AND substring(data FROM 1 FOR %s) = %s ORDER BY sequence_number
"""
_READ: Final = """
SELECT sequence_number, data FROM response_events
WHERE response_id = %s AND sequence_number > %s ORDER BY sequence_number LIMIT %s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """New events of one response, from number `first` on; none renews the lease alone."""

    response_id: UUID
    token: UUID
    first: int
    events: Sequence[Event]

    @property
    def last(self) -> int:
        return self.first + len(self.events) - 1


class Head(NamedTuple):
    """How far a response has come. `is_lost`: its process died amid the answer."""

    last_sequence: int
    is_over: bool
    is_lost: bool
    is_abandoned: bool


class Stretch(NamedTuple):
    """Some stored events after a cursor, and the head when they were read; None: no response."""

    events: list[tuple[int, bytes]]
    head: Head | None


def append(batches: Sequence[Batch]) -> set[UUID]:
    """Append, and end what has its last event; returns the responses that are not ours (any more).

    What a lost answer of the database left in doubt is recognised by the number that stands there:
    only the holder of a token writes under it.
    """
    ordered = sorted(batches, key=lambda batch: batch.response_id)
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(_APPEND, _arguments(ordered))
        moved = {row[0] for row in cursor.fetchall()}
    missing = [batch for batch in ordered if batch.response_id not in moved]
    return _settle_doubts(missing) if missing else set()


def cancelled(response_ids: Sequence[UUID]) -> set[UUID]:
    """Those that somebody wants to end."""
    with connection.cursor() as cursor:
        cursor.execute(_CANCELLED, [list(response_ids)])
        return {row[0] for row in cursor.fetchall()}


def read(response_id: UUID, *, after: int, limit: int = CHUNK_ROWS) -> Stretch:
    """Up to `limit` events after a number. The head is read first: events may be newer."""
    with connection.cursor() as cursor:
        cursor.execute(_HEAD, [response_id])
        head = cursor.fetchone()
        cursor.execute(_READ, [response_id, after, limit])
        events = [(number, bytes(data)) for number, data in cursor.fetchall()]
    return Stretch(events, Head(*head) if head else None)


def finished_items(response_id: UUID) -> list[bytes]:
    """The events that told a whole output item."""
    begin = response_events.ITEM_DONE
    with connection.cursor() as cursor:
        cursor.execute(_DONE, [response_id, len(begin), begin])
        return [bytes(row[0]) for row in cursor.fetchall()]


def packed(data: bytes) -> bytes:
    """As it is stored in a row."""
    return zstandard.ZstdCompressor(level=3).compress(data)


def unpacked(data: bytes | memoryview) -> bytes:
    """What `packed` was given."""
    return zstandard.ZstdDecompressor().decompress(bytes(data))


def _settle_doubts(batches: Sequence[Batch]) -> set[UUID]:
    with connection.cursor() as cursor:
        cursor.execute(_STANDS, [[batch.response_id for batch in batches]])
        stands = {row[0]: (row[1], row[2]) for row in cursor.fetchall()}
    refused: set[UUID] = set()
    rest: list[Batch] = []
    for batch in batches:
        token, last = stands.get(batch.response_id, (None, -1))
        if token != batch.token or last < batch.first:
            refused.add(batch.response_id)
        elif last < batch.last:
            lacking = batch.events[last + 1 - batch.first :]
            rest.append(
                Batch(
                    response_id=batch.response_id,
                    token=batch.token,
                    first=last + 1,
                    events=lacking,
                )
            )
    return refused | (append(rest) if rest else set())


def _arguments(batches: Sequence[Batch]) -> dict[str, Any]:
    last = [batch.events[-1].ended if batch.events else None for batch in batches]
    written = [
        (batch.response_id, batch.first + place, event.data)
        for batch in batches
        for place, event in enumerate(batch.events)
    ]
    return {
        "ids": [batch.response_id for batch in batches],
        "tokens": [batch.token for batch in batches],
        "firsts": [batch.first for batch in batches],
        "lasts": [batch.last for batch in batches],
        "states": [None if end is None else end.state.value for end in last],
        "answers": [None if end is None else packed(end.answer) for end in last],
        "item_ids": [
            "[]" if end is None else msgspec.json.encode(end.item_ids).decode() for end in last
        ],
        "event_ids": [row[0] for row in written],
        "numbers": [row[1] for row in written],
        "datas": [row[2] for row in written],
        "lease_s": LEASE_S,
    }
