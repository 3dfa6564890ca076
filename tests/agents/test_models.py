"""What the database itself refuses."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, connection, transaction
from django.utils import timezone

from agents.models import Message, RunEvent, SeedConversation
from agents.models import Run as RunRow
from agents.services import leases, runs
from agents.types import RunState
from tests.agents.builders import a_run

pytestmark = pytest.mark.django_db


def refused(statement, *values):
    with connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")  # TRUNCATE refuses what still waits
        with pytest.raises(IntegrityError), transaction.atomic():
            cursor.execute(statement, values)


def test_messages_and_events_are_append_only():
    run = a_run()
    for table in ("agent_messages", "run_events"):
        refused(f"UPDATE {table} SET run_id = NULL")
        refused(f"DELETE FROM {table}")
        refused(f"TRUNCATE {table} CASCADE")
    assert Message.objects.filter(run_id=run.id).count() == 1
    assert RunEvent.objects.filter(run_id=run.id).count() == 1


def test_a_deleted_workspace_takes_its_conversations_along():
    run = a_run()
    row = RunRow.objects.get(pk=run.id)
    row.workspace.deleted_at = timezone.now()
    row.workspace.save()
    row.workspace.delete()
    assert not RunRow.objects.exists()
    assert not Message.objects.exists()
    assert not RunEvent.objects.exists()


def test_a_terminal_state_never_changes_and_numbers_never_fall():
    run = a_run()
    leases.take(run_id=run.id, owner="a")
    refused("UPDATE runs SET last_seq = 0")
    refused("UPDATE runs SET fence = 0")
    runs.end(run_id=run.id, fence=1, state=RunState.COMPLETED, messages=())
    refused("UPDATE runs SET state = 'running', ended_at = NULL")
    refused("UPDATE runs SET state = 'failed'")
    refused(
        "INSERT INTO run_events (run_id, seq, fence, type, payload, at)"
        " VALUES (%s, 99, 1, 'error', '{}', now())",
        run.id,
    )


def test_an_event_is_at_most_64_kib():
    run = a_run()
    refused(
        "INSERT INTO run_events (run_id, seq, fence, type, payload, at)"
        " VALUES (%s, 2, 0, 'delta', to_json(repeat('x', 70000)), now())",
        run.id,
    )


def test_the_seed_s_conversations_are_a_view():
    run = a_run(prompt="hello")
    seen = SeedConversation.objects.get(pk=run.conversation_id)
    assert (seen.agent_id, seen.user_id) == ("universal", run.actor_id)
    assert seen.messages == [
        {"no": 1, "role": "user", "parts": [{"type": "text", "text": "hello"}]}
    ]
