"""Walk (a): the IDE asks an agent and sees tokens; through real processes, to a real file."""

from __future__ import annotations

import asyncio
from decimal import Decimal

from agents.models import Message, RunLease, RunStep
from agents.models import Run as RunRow
from billing.models import UsageEvent
from ideplatform.kit.db import run_db
from tests.agents.builders import a_desk
from tests.agents.clients import an_access_token, bearer, dialled
from tests.providers.builders import a_provider
from tests.walks.processes import a_web, an_agents_worker
from workspaces.services import files
from workspaces.types import NEW_FILE, Origin

BEFORE = "def add(a, b):\n    return a + b\n"
PROMPT = "@coder please rename add to plus in src/sums.py"
WITHIN_S = 40


def _a_project():
    a_provider("openai_compatible")
    desk = a_desk()
    files.write_text(
        actor=desk.actor,
        workspace_id=desk.workspace.pk,
        path="src/sums.py",
        text=BEFORE,
        base_version=NEW_FILE,
        origin=Origin.REST,
    )
    return desk, an_access_token(desk.user)


def _the_file(desk):
    return files.read_text(actor=desk.actor, workspace_id=desk.workspace.pk, path="src/sums.py")


async def _asked(ws_url, desk, token):
    async with dialled(ws_url, **bearer(token)) as client:
        await client.send(type="start", workspace_id=str(desk.workspace.pk), prompt=PROMPT)
        started = await client.next("started")
        return started, await asyncio.wait_for(client.until("complete", "error"), WITHIN_S)


async def test_the_coder_changes_a_file_and_the_client_sees_every_step(paid_door):
    desk, token = await run_db(_a_project)
    with a_web() as web, an_agents_worker() as worker:
        started, frames = await _asked(web.ws_url, desk, token)
        metrics = await asyncio.to_thread(worker.metrics)
        assert worker.terminate() == 0
    assert started["agent_id"] == "coder"
    assert [f["seq"] for f in frames] == list(range(1, len(frames) + 1))
    assert [f["type"] for f in frames if f["type"] in {"run", "plan"}] == ["run", "run", "plan"]
    calls = [f["tool"] for f in frames if f["type"] == "tool_call"]
    assert calls == ["read_file", "write_file"]
    results = [f for f in frames if f["type"] == "tool_result"]
    assert [r["is_error"] for r in results] == [False, False]
    assert results[0]["parts"] == [{"type": "text", "text": BEFORE}]
    assert frames[-1]["metadata"]["outcome"] == "completed"

    found = await run_db(_the_file, desk)
    assert found.text == BEFORE.replace("add", "plus")
    assert (found.version.version, found.version.origin) == (2, "agent")
    assert str(found.version.run_id) == started["run_id"]

    run = await run_db(RunRow.objects.get, pk=started["run_id"])
    assert (run.state, run.agent_id, run.last_seq) == ("completed", "coder", len(frames))
    steps = await run_db(lambda: list(RunStep.objects.order_by("node_path")))
    assert [(s.node_path, s.state) for s in steps] == [
        ("1", "ok"),
        ("1/1", "ok"),
        ("2", "ok"),
        ("2/1", "ok"),
        ("3", "ok"),
    ]
    assert not await run_db(RunLease.objects.exists)
    roles = await run_db(
        lambda: list(Message.objects.order_by("no").values_list("role", flat=True))
    )
    assert roles == ["user", "assistant", "tool", "assistant", "tool", "assistant"]

    events = await run_db(lambda: list(UsageEvent.objects.all()))
    assert [row["outcome"] for row in paid_door.ledger()] == ["complete"] * 3
    assert sorted((e.tokens_input, e.tokens_output) for e in events) == sorted(
        (row["tokens"]["input"], row["tokens"]["output"]) for row in paid_door.ledger()
    )
    cost = sum((event.estimated_cost for event in events), Decimal(0))
    assert Decimal(frames[-1]["metadata"]["cost"]) == cost
    assert 'agent_requests_total{agent="coder",status="completed"} 1.0' in metrics
