"""A run outlives its owner: given back in order, or lost."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest
from django.db.models.functions import Now

from agents import frames, journal
from agents.journal import Entry
from agents.models import Run as RunRow
from agents.models import RunLease, RunStep
from agents.services import leases
from billing.models import UsageEvent
from ideplatform import subscriptions
from ideplatform.kit.db import run_db
from ideplatform.outbox import relay
from tests.agents.builders import a_run, a_worker, seqs, text_of
from tests.providers.builders import a_provider
from tests.waiting import eventually_async

WORDS = " ".join(f"word{number}" for number in range(40))
SLOW = f"[[sim:delay=25]] {WORDS}"


@pytest.fixture
def workers(committed_db):
    """Two workers; runs are told to whichever the test names."""
    a_provider("openai_compatible")
    relay.configure(subscriptions.LISTENERS, send=lambda _task, _arguments: None)
    with a_worker() as first, a_worker() as second:
        yield first, second
    subscriptions.wire()


class Reader:
    """Follows a run in the background."""

    def __init__(self, run_id):
        self.items = []
        self.task = asyncio.create_task(self._read(run_id))

    async def _read(self, run_id):
        async for item in journal.follow(run_id):
            self.items.append(item)

    async def until(self, kind):
        async def has_come():
            return any(item.type == kind for item in self.items if isinstance(item, Entry))

        await eventually_async(has_come)

    async def done(self):
        await asyncio.wait_for(self.task, 20)
        return self.items


def expire(run_id):
    RunLease.objects.filter(run_id=run_id).update(expires_at=Now() - timedelta(seconds=1))


def steps_of(run):
    rows = RunStep.objects.filter(run_id=run.id).order_by("node_path", "attempt")
    return [(row.node_path, row.attempt, row.state) for row in rows]


async def test_a_drained_worker_gives_its_run_back_and_the_next_goes_on(workers):
    first, second = workers
    run = await run_db(a_run, prompt="[[sim:id=nothing]] short")
    first.drain()
    first.submit(run.id)
    second.submit(run.id)
    items = await Reader(run.id).done()
    assert items[-1].type == "complete"
    row = await run_db(RunRow.objects.get, pk=run.id)
    assert (row.fence, row.attempt) == (1, 1)


async def test_a_lost_owner_is_followed_by_another_that_asks_again(workers):
    first, second = workers
    run = await run_db(a_run, prompt=SLOW)
    reader = Reader(run.id)
    first.submit(run.id)
    await reader.until("delta")
    first.stop()
    await run_db(expire, run.id)
    assert await run_db(leases.reap) == 1
    second.submit(run.id)
    items = await reader.done()
    assert seqs(items) == list(range(1, len(items) + 1))
    attempts = [i.event() for i in items if i.type == "attempt"]
    assert [(a.attempt, a.reason) for a in attempts] == [(2, "owner_lost")]
    assert text_of(items).endswith("word38 word39")
    assert await run_db(steps_of, run) == [("1", 1, "interrupted"), ("1", 2, "ok")]
    events = await run_db(lambda: list(UsageEvent.objects.values_list("outcome", "accuracy")))
    assert sorted(events) == [("client_cancelled", "estimated"), ("ok", "exact")]


async def test_an_owner_whose_lease_moved_stops_and_appends_nothing(workers):
    first, second = workers
    run = await run_db(a_run, prompt=SLOW)
    reader = Reader(run.id)
    first.submit(run.id)
    await reader.until("delta")
    await run_db(expire, run.id)
    await run_db(leases.reap)
    second.submit(run.id)
    items = await reader.done()

    async def is_idle():
        return first.owned() == 0

    await eventually_async(is_idle)
    stored = await run_db(journal.store.read, run.id, start=1)
    assert [e.seq for e in stored.entries] == list(range(1, len(stored.entries) + 1))
    fences = [e.fence for e in stored.entries]
    assert fences == sorted(fences)
    assert [e.type for e in stored.entries if e.is_terminal] == ["complete"]
    assert items[-1].seq == len(stored.entries)


async def test_a_run_that_keeps_losing_its_owner_is_given_up_visibly(workers):
    first, _ = workers
    run = await run_db(a_run)
    await run_db(RunRow.objects.filter(pk=run.id).update, attempt=4)
    first.submit(run.id)
    items = await Reader(run.id).done()
    end = items[-1].event()
    assert isinstance(end, frames.Error)
    assert end.problem["code"] == "run_interrupted"
    row = await run_db(RunRow.objects.get, pk=run.id)
    assert row.error is not None
    assert (row.state, row.error["code"]) == ("interrupted", "run_interrupted")
    assert not await run_db(UsageEvent.objects.exists)


async def test_a_finished_answer_whose_step_was_left_open_is_not_asked_again(workers, paid_door):
    """The stream was complete in the journal; only the step's row was missing."""
    first, second = workers
    run = await run_db(a_run, prompt="rebuild me")
    first.submit(run.id)
    await Reader(run.id).done()
    again = await run_db(a_run, prompt="rebuild me")
    await run_db(_copy_as_cut_before_its_end, run, again)
    second.submit(again.id)
    items = await Reader(again.id).done()
    assert items[-1].type == "complete"
    assert not [item for item in items if item.type == "attempt"]
    assert text_of(items) == "Echo: rebuild me"
    assert await run_db(steps_of, again) == [("1", 1, "ok")]
    assert len(paid_door.ledger()) == 1


def _copy_as_cut_before_its_end(source, target):
    """Give `target` the journal of `source` up to its usage, and the step still running."""
    taken = leases.take(run_id=target.id, owner="lost")
    assert taken is not None
    step_id = _begun(taken.run)
    found = journal.store.read(source.id, start=2).entries
    upto = next(n for n, entry in enumerate(found) if entry.type == "usage") + 1
    copies = [
        Entry(
            run_id=target.id,
            seq=entry.seq,
            fence=1,
            step_id=step_id if entry.step_id else None,
            type=entry.type,
            body=entry.body,
        )
        for entry in found[:upto]
    ]
    assert not journal.store.append(
        [journal.store.Batch(run_id=target.id, fence=1, entries=copies)]
    )
    expire(target.id)
    leases.reap()


def _begun(run):
    from agents.services import steps
    from agents.types import StepKind

    return steps.begin(run=run, fence=1, node_path="1", kind=StepKind.MODEL, attempt=1)
