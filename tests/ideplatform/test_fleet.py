"""What beat shows of the whole fleet: who is at work, and how long the queues are."""

from __future__ import annotations

from datetime import timedelta

import pytest
import time_machine
from django.db.models.functions import Now

from accounts.models import ApiKey, RefreshSession
from accounts.services import api_keys
from accounts.types import KeyKind
from agents.models import Run, RunLease
from ideplatform import fleet
from ideplatform.celery import AGENT_TASKS, DEFAULT, EMBEDDINGS, app
from ideplatform.kit import clock
from ideplatform.observability import metrics
from tests.accounts.rest import signed_in
from tests.agents.builders import a_desk, a_run


def _people() -> tuple[float, float]:
    fleet.measure_people()
    return metrics.active_users._value.get(), metrics.active_workspaces._value.get()


def _queue(name: str) -> tuple[float, float]:
    fleet.measure_queues()
    age = metrics.celery_oldest_message_age_seconds.labels(queue=name)
    return metrics.celery_queue_depth.labels(queue=name)._value.get(), age._value.get()


@pytest.mark.django_db
def test_nobody_is_at_work_on_a_fresh_platform():
    assert _people() == (0, 0)


@pytest.mark.django_db
def test_a_person_counts_once_and_for_five_minutes():
    user, _ = signed_in()
    signed_in(user)
    assert _people() == (1, 0)
    RefreshSession.objects.update(last_seen_at=Now() - timedelta(minutes=6))
    assert _people() == (0, 0)


@pytest.mark.django_db
def test_a_program_at_work_counts_as_the_person_whose_key_it_has():
    user, _ = signed_in()
    RefreshSession.objects.update(last_seen_at=Now() - timedelta(minutes=6))
    key = ApiKey.objects.create(
        user=user,
        organization=user.personal_organization,
        kind=KeyKind.PERSONAL,
        name="editor",
        secret_hmac=b"x" * 32,
        pepper_version=1,
        last4="abcd",
        scopes=[],
    )
    assert _people() == (0, 0)
    api_keys.seen(key)
    assert _people() == (1, 0)


@pytest.mark.django_db
def test_a_workspace_counts_while_a_run_of_it_runs_and_five_minutes_from_its_start():
    desk = a_desk()
    begun = a_run(desk)
    assert _people() == (0, 1)
    with time_machine.travel(clock.now() + timedelta(minutes=6)):
        assert _people() == (0, 1)
        RunLease.objects.filter(run_id=begun.id).delete()
        assert _people() == (0, 0)
    assert Run.objects.count() == 1


def test_an_empty_queue_has_neither_length_nor_age():
    assert [_queue(name) for name in (AGENT_TASKS, EMBEDDINGS, DEFAULT)] == [(0, 0)] * 3


def test_a_queue_is_as_old_as_its_oldest_message():
    with time_machine.travel(clock.now() - timedelta(seconds=40), tick=False):
        app.send_task("nobody.listens", queue=DEFAULT)
    app.send_task("nobody.listens", queue=DEFAULT)
    depth, age_s = _queue(DEFAULT)
    assert depth == 2
    assert 40 <= age_s < 50
    assert _queue(AGENT_TASKS) == (0, 0)
