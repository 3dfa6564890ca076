"""What a run does from its opening to its end, in one process."""

from __future__ import annotations

import asyncio

from agents import frames
from agents.models import Message, RunStep
from agents.models import Run as RunRow
from agents.types import RunState
from billing.models import UsageEvent
from ideplatform.kit.db import run_db
from tests.agents.builders import a_run, followed, seqs, text_of


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
