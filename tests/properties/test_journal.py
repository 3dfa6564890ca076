"""Whatever happens to owners, Redis and sockets, each client has each event once and in order."""

from __future__ import annotations

import asyncio
import functools
from contextlib import aclosing
from datetime import timedelta

import pytest
from django.db.models.functions import Now
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from agents import frames, journal
from agents.journal import Entry, Writer, following, hub
from agents.models import RunEvent, RunLease
from agents.services import leases, runs
from agents.types import RunState
from ideplatform.kit import redis
from ideplatform.kit.db import run_db
from tests.agents.builders import a_run
from tests.agents.conftest import committed_db
from tests.waiting import eventually_async

__all__ = ["committed_db"]
CLIENTS = 2
END_S = 5

OPERATIONS = st.lists(
    st.sampled_from(
        ["append", "append", "append", "send", "store", "kill", "flush redis", "drop", "look"]
    ),
    max_size=25,
)


class Client:
    """Follows a run over any number of connections, and keeps what a client would keep."""

    task: asyncio.Task[None]

    def __init__(self, run_id):
        self.run_id = run_id
        self.seen: list[Entry] = []
        self.rewinds = 0

    def dial(self):
        self.task = asyncio.create_task(self._read())

    async def drop(self):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    async def _read(self):
        after, fence = (self.seen[-1].seq, self.seen[-1].fence) if self.seen else (0, None)
        async with aclosing(journal.follow(self.run_id, after=after, fence=fence)) as items:
            async for item in items:
                if isinstance(item, frames.Rewind):
                    self.rewinds += 1
                    self.seen = [entry for entry in self.seen if entry.seq <= item.to_seq]
                else:
                    assert isinstance(item, Entry)
                    assert item.seq == len(self.seen) + 1
                    self.seen.append(item)


class Owner:
    """A worker that sends and stores only when told to."""

    def __init__(self, run_id):
        self.run_id = run_id
        self.number = 0

    async def take(self):
        taken = await run_db(leases.take, run_id=self.run_id, owner="test")
        assert taken is not None
        self.fence = taken.run.fence
        self.writer = Writer()
        self.log = self.writer.open(self.run_id, fence=self.fence, last_seq=taken.run.last_seq)
        storing = asyncio.create_task(self._store_soon())
        await self.writer.salvage(self.log, former_fence=taken.former_fence)
        storing.cancel()
        self.append()

    async def _store_soon(self):
        while True:
            await asyncio.sleep(0)
            await self.writer._store_all()

    def append(self):
        self.number += 1
        self.log.append([frames.RunChanged(state=f"{self.fence}.{self.number}")])
        metadata = frames.DeltaMetadata(tokens=1, model="m")
        self.log.append([frames.Delta(content=f"<{self.number}>", metadata=metadata)])

    async def die(self):
        await self.writer._redis.aclose()
        await run_db(_expire, self.run_id)
        await run_db(leases.reap)
        await self.take()

    async def end(self):
        await self.writer._store_all()
        entry = await run_db(
            runs.end, run_id=self.run_id, fence=self.fence, state=RunState.COMPLETED, messages=()
        )
        await self.writer.publish(self.log, entry)
        await self.writer._redis.aclose()


def _expire(run_id):
    RunLease.objects.filter(run_id=run_id).update(expires_at=Now() - timedelta(seconds=1))


def _stored(run_id):
    rows = RunEvent.objects.filter(run_id=run_id).order_by("seq")
    return [(row.seq, row.fence, row.type) for row in rows]


async def play(operations):
    run = await run_db(a_run)
    owner, clients = Owner(run.id), [Client(run.id) for _ in range(CLIENTS)]
    await owner.take()
    for client in clients:
        client.dial()
    for number, operation in enumerate(operations):
        await perform(operation, owner, clients[number % CLIENTS])
    await owner.end()
    await asyncio.wait_for(asyncio.gather(*(client.task for client in clients)), END_S)
    stored = await run_db(_stored, run.id)
    assert [row[0] for row in stored] == list(range(1, len(stored) + 1))
    for client in clients:
        assert [(e.seq, e.fence, e.type) for e in client.seen] == stored
        assert [e.event() for e in client.seen] == await run_db(_events, run.id)
    await hub.here().close()


async def perform(operation, owner, client):
    match operation:
        case "append":
            owner.append()
        case "send":
            await owner.writer._send()
        case "store":
            await owner.writer._store_all()
        case "kill":
            await owner.die()
        case "flush redis":
            await run_db(redis.client("tail").flushdb)
        case "drop":
            await client.drop()
            client.dial()
        case "look":
            await asyncio.sleep(0.02)


async def _has_all(client, owner):
    return len(client.seen) == owner.log.seq


def _events(run_id):
    return [entry.event() for entry in journal.store.read(run_id, start=1).entries]


def check(operations):
    asyncio.run(play(operations))


QUIETLY = settings(deadline=None, suppress_health_check=list(HealthCheck))

LOST = ["append", "append", "send", "look", "flush redis", "kill"]
"""Two clients saw what neither PostgreSQL nor Redis kept."""


@settings(QUIETLY, max_examples=40)
@given(OPERATIONS)
@example([*LOST, "look"])
@example([*LOST, "append", "append", "append", "store", "look"])
@example([*LOST, "append", "append", "append", "store", "drop", "drop", "look"])
@example([*LOST, *LOST, "append", "append", "append", "append", "store", "send", "look"])
def test_any_interleaving_gives_every_client_the_journal(committed_db, operations):
    check(operations)


async def test_a_slow_database_takes_nothing_back_from_clients(committed_db):
    """The owner lives and has sent what PostgreSQL lacks: whoever dials again keeps it."""
    run = await run_db(a_run)
    owner, client = Owner(run.id), Client(run.id)
    await owner.take()
    await owner.writer._send()
    client.dial()
    await eventually_async(functools.partial(_has_all, client, owner))
    await client.drop()
    seen = list(client.seen)
    client.dial()
    await asyncio.sleep(following.PATIENCE_S + 0.5)
    assert (client.seen, client.rewinds) == (seen, 0)
    await owner.end()
    await asyncio.wait_for(client.task, END_S)
    assert [(e.seq, e.fence, e.type) for e in client.seen] == await run_db(_stored, run.id)
    await hub.here().close()


@pytest.mark.scale
@pytest.mark.timeout(3_600)
@settings(QUIETLY, max_examples=1_000)
@given(OPERATIONS)
def test_a_thousand_interleavings(committed_db, operations):
    check(operations)
