"""What a run does from its opening to its end, in one process."""

from __future__ import annotations

import asyncio

import pytest

from accounts.models import User
from agents import frames, journal
from agents.journal import Entry
from agents.models import Message, RunStep
from agents.models import Run as RunRow
from agents.types import AgentRequest, Limits, RunState
from billing.models import UsageEvent
from ideplatform import subscriptions
from ideplatform.kit import redis
from ideplatform.kit.db import run_db
from ideplatform.outbox import relay
from tests.agents.builders import a_desk, a_run, a_worker, followed, seqs, text_of


async def test_a_run_streams_its_answer_and_ends_once(inline):
    run = await run_db(a_run, prompt="good morning")
    items = await asyncio.wait_for(followed(run.id), 15)
    assert text_of(items) == "Echo: good morning"
    assert seqs(items) == list(range(1, len(items) + 1))
    assert [item.type for item in items if item.is_terminal] == ["complete"]
    row = await run_db(RunRow.objects.get, pk=run.id)
    assert (row.state, row.last_seq) == (RunState.COMPLETED, len(items))
    (event,) = await run_db(lambda: list(UsageEvent.objects.all()))
    end = items[-1].event()
    assert isinstance(end, frames.Complete)
    assert end.metadata.total_tokens == event.tokens_input + event.tokens_output
    assert end.metadata.cost == f"{event.estimated_cost:f}"
    answer = await run_db(lambda: Message.objects.get(role="assistant"))
    assert answer.parts == [{"type": "text", "text": "Echo: good morning"}]
    assert answer.usage_event_id == event.pk
    (step,) = await run_db(lambda: list(RunStep.objects.all()))
    assert (step.node_path, step.attempt, step.state) == ("1", 1, "ok")


def lowered(**limits):
    return AgentRequest(prompt="", limits=Limits(**limits))


async def test_a_run_that_reaches_a_limit_fails_with_its_reason_and_keeps_what_it_has(inline):
    desk = await run_db(a_desk)
    run = await run_db(
        a_run, desk, agent="coder", prompt="add a comment to a.py", request=lowered(model_calls=1)
    )
    items = await asyncio.wait_for(followed(run.id), 15)
    end = items[-1].event()
    assert isinstance(end, frames.Error)
    assert end.problem["code"] == "run_limit_reached"
    row = await run_db(RunRow.objects.get, pk=run.id)
    assert (row.state, row.spent["model_calls"], row.spent["tool_calls"]) == ("failed", 1, 1)
    roles = await run_db(lambda: [m.role for m in Message.objects.order_by("no")])
    assert roles == ["user", "assistant", "tool"]


async def test_a_run_that_takes_too_long_is_ended(inline):
    run = await run_db(a_run, prompt="[[sim:tokens=1000 delay=20]]", request=lowered(active_s=1))
    items = await asyncio.wait_for(followed(run.id), 15)
    assert items[-1].event().problem["code"] == "run_limit_reached"
    (event,) = await run_db(lambda: list(UsageEvent.objects.all()))
    assert event.outcome == "client_cancelled"


@pytest.mark.parametrize(
    ("directives", "code"),
    [
        ("status=400", "provider_call_refused"),
        ("status=401", "provider_bad_key"),
        ("tokens=20 cut=5", "bad_protocol"),
    ],
)
async def test_a_provider_s_failure_is_a_typed_end(inline, directives, code):
    run = await run_db(a_run, prompt=f"[[sim:{directives}]]")
    items = await asyncio.wait_for(followed(run.id), 15)
    end = items[-1].event()
    assert isinstance(end, frames.Error)
    assert (end.problem["code"], end.error) == (code, end.problem["title"])
    row = await run_db(RunRow.objects.get, pk=run.id)
    assert (row.state, row.error) == ("failed", end.problem)
    assert await run_db(RunStep.objects.filter(state="error").count) == 1


async def test_the_person_s_rights_are_judged_again_when_a_run_begins(committed_db):
    run = await run_db(a_run)
    await run_db(User.objects.filter(pk=run.actor_id).update, is_active=False)
    with a_worker() as worker:
        worker.submit(run.id)
        items = await asyncio.wait_for(followed(run.id), 15)
    assert items[-1].event().problem["code"] == "forbidden"
    assert not await run_db(RunStep.objects.exists)


async def test_without_redis_runs_stream_from_postgresql(inline, settings):
    dead = "redis://127.0.0.1:1/0"
    settings.ENV = settings.ENV.model_copy(
        update={"redis_tail_url": dead, "redis_bus_url": dead, "redis_cache_url": dead}
    )
    with a_worker() as worker:
        relay.configure(subscriptions.LISTENERS, send=lambda _task, _arguments: None)
        run = await run_db(a_run, prompt="[[sim:tokens=30 delay=20]]")
        worker.submit(run.id)
        items = await asyncio.wait_for(followed(run.id), 20)
    assert seqs(items) == list(range(1, len(items) + 1))
    assert items[-1].type == "complete"


async def test_when_redis_forgets_everything_no_reader_loses_anything(inline):
    run = await run_db(a_run, prompt="[[sim:tokens=60 delay=15]]")
    items = []
    async for item in journal.follow(run.id):
        assert isinstance(item, Entry)
        items.append(item)
        if item.type == "delta" and len(items) % 3 == 0:
            await run_db(redis.client("tail").flushdb)
    assert seqs(items) == list(range(1, len(items) + 1))
    again = await followed(run.id)
    assert [item.event() for item in again] == [item.event() for item in items]
