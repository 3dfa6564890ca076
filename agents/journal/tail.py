"""The live tail in Redis: `run:{id}`, a stream whose ids are `<fence>-<seq>`.

Ids say which owner wrote what, so a second delivery is refused and a stale owner is visible. The
tail is an accelerator: everything in it is in PostgreSQL at most 250 ms later.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast
from uuid import UUID

import redis.asyncio
from redis.asyncio.client import Pipeline

from agents.journal import entries
from agents.journal.entries import Entry
from ideplatform.kit.redis import tail_key

LENGTH = 5_000
KEPT_S = 3_600
CHUNK = 500
FIELD = b"f"
BELL = "runs:bell"
"""One channel for all workers: `c<run>` a command waits, `w<run>` a web process follows."""


def watchers_key(run_id: UUID) -> str:
    """The set of web processes that follow a run."""
    return f"watch:{run_id}"


def live_channel(hub_id: bytes) -> bytes:
    """The channel on which one web process receives its runs' entries."""
    return b"live:" + hub_id


def add(pipeline: Pipeline, run_id: UUID, fresh: Iterable[Entry]) -> None:
    """Queue the entries onto the pipeline."""
    key = tail_key(run_id)
    for entry in fresh:
        pipeline.xadd(
            key,
            {FIELD: entry.wire()},
            id=f"{entry.fence}-{entry.seq}",
            maxlen=LENGTH,
            approximate=True,
        )


async def read(client: redis.asyncio.Redis, run_id: UUID, *, fence: int, after: int) -> list[Entry]:
    """What the owner of `fence` wrote after a cursor, as far as it is contiguous.

    Raises redis errors: the caller decides what the tail's absence means.
    """
    found: list[Entry] = []
    while chunk := await client.xrange(
        tail_key(run_id), min=f"{fence}-{after + 1}", max=str(fence), count=CHUNK
    ):
        for _, fields in chunk:
            entry = entries.read(cast("bytes", (fields or {})[FIELD]))
            if entry.seq != after + 1:
                return found
            found.append(entry)
            after = entry.seq
        if len(chunk) < CHUNK:
            break
    return found
