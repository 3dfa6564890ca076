"""Who owns a run: one at a time, by the database's clock, fenced."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db.models import F
from django.db.models.functions import Now

from agents import frames
from agents.errors import StaleLease
from agents.journal import entries, store
from agents.models import Run as RunRow
from agents.models import RunEvent, RunLease
from agents.services import leases, runs
from agents.types import RunState
from ideplatform.outbox.models import Fact
from tests.agents.builders import a_desk, a_run

pytestmark = pytest.mark.django_db


def expire(run, *, seconds=1):
    RunLease.objects.filter(run_id=run.id).update(expires_at=Now() - timedelta(seconds=seconds))


def facts():
    return list(Fact.objects.order_by("id").values_list("topic", "key"))


def test_a_queued_run_is_taken_once():
    run = a_run()
    taken = leases.take(run_id=run.id, owner="first")
    assert taken is not None
    assert (taken.run.state, taken.run.fence, taken.former_fence) == (RunState.RUNNING, 1, 0)
    assert leases.take(run_id=run.id, owner="second") is None
    lease = RunLease.objects.get(run_id=run.id)
    assert (lease.owner, lease.fence) == ("first", 1)


def test_renewing_keeps_what_is_ours_and_no_more():
    mine, lost, theirs = a_run(), a_run(), a_run()
    for run, owner in ((mine, "me"), (lost, "me"), (theirs, "they")):
        leases.take(run_id=run.id, owner=owner)
    expire(lost)
    before = RunLease.objects.get(run_id=mine.id).expires_at
    fences = {mine.id: 1, lost.id: 1, theirs.id: 1}
    assert leases.renew(owner="me", fences=fences) == {mine.id}
    assert RunLease.objects.get(run_id=mine.id).expires_at > before
    assert leases.renew(owner="me", fences={mine.id: 2}) == set()


def test_an_expired_lease_is_reaped_told_and_counted_as_an_attempt():
    run = a_run()
    leases.take(run_id=run.id, owner="gone")
    Fact.objects.all().delete()
    assert leases.reap() == 0
    expire(run)
    assert leases.reap() == 1
    row = RunRow.objects.get(pk=run.id)
    assert (row.state, row.attempt) == (RunState.QUEUED, 2)
    assert facts() == [("run.opened", str(run.id))]
    taken = leases.take(run_id=run.id, owner="next")
    assert taken is not None
    assert taken.run.fence == 2


def test_a_queued_run_whose_message_was_lost_is_told_again_without_counting():
    run = a_run()
    Fact.objects.all().delete()
    expire(run, seconds=5)
    assert leases.reap() == 0
    expire(run, seconds=11)
    assert leases.reap() == 1
    assert RunRow.objects.get(pk=run.id).attempt == 1
    assert facts() == [("run.opened", str(run.id))]
    assert leases.reap() == 0


def test_a_released_run_is_taken_at_once_and_counts_no_attempt():
    run = a_run()
    leases.take(run_id=run.id, owner="leaving")
    Fact.objects.all().delete()
    assert leases.release(run_id=run.id, fence=1)
    assert facts() == [("run.opened", str(run.id))]
    taken = leases.take(run_id=run.id, owner="next")
    assert taken is not None
    assert (taken.run.fence, taken.run.attempt) == (2, 1)
    assert not leases.release(run_id=run.id, fence=1)
    assert RunRow.objects.get(pk=run.id).state == RunState.RUNNING


def a_batch(run, *, fence, first, count=1):
    made = [
        entries.made(
            frames.RunChanged(state=f"s{seq}"), run_id=run.id, seq=seq, fence=fence, step_id=None
        )
        for seq in range(first, first + count)
    ]
    return store.Batch(run_id=run.id, fence=fence, entries=made)


def seqs(run):
    return list(
        RunEvent.objects.filter(run_id=run.id).order_by("seq").values_list("seq", flat=True)
    )


def test_only_the_owner_of_the_fence_appends_and_only_the_next_numbers():
    run, other = a_run(), a_run()
    leases.take(run_id=run.id, owner="a")
    leases.take(run_id=other.id, owner="a")
    both = [a_batch(run, fence=1, first=2, count=3), a_batch(other, fence=1, first=2)]
    assert store.append(both) == set()
    assert store.append([a_batch(run, fence=0, first=5)]) == {run.id}
    assert store.append([a_batch(run, fence=1, first=7)]) == {run.id}
    assert (seqs(run), seqs(other)) == ([1, 2, 3, 4], [1, 2])
    assert RunRow.objects.get(pk=run.id).last_seq == 4


def test_a_batch_whose_commit_was_not_heard_of_is_appended_once():
    run = a_run()
    leases.take(run_id=run.id, owner="a")
    assert store.append([a_batch(run, fence=1, first=2, count=2)]) == set()
    assert store.append([a_batch(run, fence=1, first=2, count=2)]) == set()
    assert store.append([a_batch(run, fence=1, first=2, count=4)]) == set()
    assert seqs(run) == [1, 2, 3, 4, 5]


def test_an_ended_run_takes_no_more_events_and_ends_once():
    run = a_run()
    leases.take(run_id=run.id, owner="a")
    runs.end(run_id=run.id, fence=1, state=RunState.COMPLETED, messages=())
    assert store.append([a_batch(run, fence=1, first=3)]) == {run.id}
    with pytest.raises(StaleLease):
        runs.end(run_id=run.id, fence=1, state=RunState.FAILED, messages=())
    assert list(RunEvent.objects.filter(run_id=run.id).values_list("type", flat=True)) == [
        "run",
        "complete",
    ]
    assert not RunLease.objects.filter(run_id=run.id).exists()


def test_a_queued_run_is_cancelled_at_once_and_nobody_takes_it():
    desk = a_desk()
    run = a_run(desk)
    cancelled = runs.cancel(actor=desk.actor, run_id=run.id)
    assert (cancelled.state, cancelled.last_seq) == (RunState.CANCELLED, 2)
    assert leases.take(run_id=run.id, owner="late") is None
    assert runs.cancel(actor=desk.actor, run_id=run.id) == cancelled


def test_the_reaper_leaves_ended_runs_alone():
    desk = a_desk()
    run = a_run(desk)
    leases.take(run_id=run.id, owner="a")
    runs.end(run_id=run.id, fence=1, state=RunState.COMPLETED, messages=())
    RunLease.objects.create(run_id=run.id, expires_at=Now() - timedelta(hours=1))
    assert leases.reap() == 0
    assert RunRow.objects.filter(pk=run.id, state="completed", attempt=F("attempt")).exists()
