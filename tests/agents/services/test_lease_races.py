"""Many workers, one run: real threads on real commits."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from django.db import connections

from agents.errors import RunAlreadyActive
from agents.models import Conversation, Message
from agents.models import Run as RunRow
from agents.services import leases
from ideplatform.kit.errors import PlatformError
from tests.agents.builders import a_desk, a_run


def test_eight_workers_at_once_make_one_owner(committed_db):
    run = a_run()

    def take(number):
        try:
            return leases.take(run_id=run.id, owner=f"worker {number}")
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(take, range(8)))
    assert sum(answer is not None for answer in answers) == 1
    assert RunRow.objects.get(pk=run.id).fence == 1


def at_once(calls):
    """What eight threads get from a call; errors are answers."""

    def answer(_):
        try:
            return calls()
        except PlatformError as error:
            return type(error)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(answer, range(8)))


def test_one_request_sent_eight_times_at_once_is_one_run(committed_db):
    desk = a_desk()
    answers = at_once(lambda: a_run(desk, request_id="same").id)
    assert len(set(answers)) == 1
    assert RunRow.objects.count() == Conversation.objects.count() == Message.objects.count() == 1


def test_one_conversation_has_one_active_run_whoever_asks_at_once(committed_db):
    desk = a_desk()
    first = a_run(desk)
    RunRow.objects.filter(pk=first.id).update(state="cancelled", ended_at=first.created_at)
    answers = at_once(lambda: a_run(desk, conversation_id=first.conversation_id).id)
    assert answers.count(RunAlreadyActive) == 7
    assert RunRow.objects.filter(state="queued").count() == 1
    assert Message.objects.count() == 2
