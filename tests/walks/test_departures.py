"""Processes that leave in order: nobody loses a token, and everybody is told."""

from __future__ import annotations

import asyncio

import pytest

from agents.models import Run as RunRow
from agents.models import RunLease
from ideplatform.kit.db import run_db
from tests.agents.builders import a_desk
from tests.agents.clients import an_access_token, bearer, dialled
from tests.providers.builders import a_provider
from tests.walks.processes import a_web, an_agents_worker

pytestmark = [pytest.mark.faults, pytest.mark.timeout(240)]
WITHIN_S = 60


def a_desk_with_a_provider():
    a_provider("openai_compatible")
    desk = a_desk()
    return desk, an_access_token(desk.user)


async def started(client, desk, **start):
    await client.send(type="start", workspace_id=str(desk.workspace.pk), **start)
    return (await client.next("started"))["run_id"]


async def test_a_web_process_that_leaves_tells_its_clients_where_to_go_on(paid_door):
    desk, token = await run_db(a_desk_with_a_provider)
    with an_agents_worker(), a_web() as leaving, a_web() as staying:
        async with dialled(leaving.ws_url, **bearer(token)) as client:
            run_id = await started(client, desk, prompt="[[sim:tokens=300 delay=20]]")
            seen = await client.until("delta")
            leaving.process.terminate()
            seen += await client.until("draining")
            farewell = seen.pop()
            assert farewell["runs"] == [{"run_id": run_id, "after": seen[-1]["seq"]}]
            assert await client.closed() == 1012
        async with dialled(staying.ws_url, **bearer(token)) as client:
            await client.send(type="subscribe", run_id=run_id, after=seen[-1]["seq"])
            seen += await asyncio.wait_for(client.until("complete"), WITHIN_S)
    assert [f["seq"] for f in seen] == list(range(1, len(seen) + 1))


async def test_a_worker_that_leaves_hands_its_run_over_at_the_next_step(paid_door):
    desk, token = await run_db(a_desk_with_a_provider)
    prompt = "[[sim:delay=150]] add a function greet to hello.py"
    with a_web() as web, an_agents_worker() as one, an_agents_worker() as other:
        async with dialled(web.ws_url, **bearer(token)) as client:
            run_id = await started(client, desk, prompt=prompt, agent_id="coder")
            seen = await client.until("tool_arguments")
            owner = (await run_db(RunLease.objects.get, run_id=run_id)).owner
            (leaving,) = (w for w in (one, other) if f":{w.process.pid}:" in owner)
            leaving.process.terminate()
            seen += await asyncio.wait_for(client.until("complete", "error"), WITHIN_S)
            assert await asyncio.to_thread(leaving.process.wait, WITHIN_S) == 0
    assert [f["seq"] for f in seen] == list(range(1, len(seen) + 1))
    states = [(f["state"], f["reason"]) for f in seen if f["type"] == "run"]
    assert states == [("queued", ""), ("running", ""), ("running", "resumed")]
    assert seen[-1]["metadata"]["outcome"] == "completed"
    assert [f for f in seen if f["type"] == "attempt"] == []
    row = await run_db(RunRow.objects.get, pk=run_id)
    assert (row.fence, row.attempt) == (2, 1)
    calls = paid_door.ledger()
    assert [call["outcome"] for call in calls] == ["complete"] * len(calls)
