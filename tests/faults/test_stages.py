"""A worker killed at each named stage of a run: the run ends, each call is metered once."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from agents.models import Run, RunEvent
from billing.models import Hold, UsageEvent
from billing.services import holds, verification
from ideplatform.kit.db import run_db
from tests.agents.builders import Desk, a_desk
from tests.agents.clients import an_access_token
from tests.fakes.simulator import SimulatorHandle
from tests.faults.readers import Reader
from tests.providers.builders import a_provider
from tests.walks.processes import Process, a_web, an_agents_worker

pytestmark = [pytest.mark.faults, pytest.mark.timeout(120)]

TOKENS = 60
PROMPT = f"[[sim:tokens={TOKENS} delay=20]] tell a story"
QUICK = {"RUN_LEASE_S": "2", "RUN_HEARTBEAT_S": "0.5", "RUN_REAP_S": "0.3"}
ASKED_TWICE = {"first_token", "mid_stream"}
"""Killed before, the vendor never heard of it; killed later, the whole answer is in the journal."""


def _customer() -> tuple[Desk, str]:
    a_provider("openai_compatible")
    desk = a_desk()
    return desk, an_access_token(desk.user)


async def _killed_then_finished(web: Process, stage: str) -> Reader:
    """One worker dies at the stage under a streaming client, another one finishes."""
    desk, token = await run_db(_customer)
    reader = Reader(web.url, token, str(desk.workspace.pk), PROMPT)
    with an_agents_worker(FAILPOINT=f"{stage}:kill", **QUICK) as doomed:
        reading = asyncio.create_task(reader.read(within_s=60))
        await asyncio.to_thread(doomed.process.wait, 40)
        assert doomed.process.returncode == -9
    with an_agents_worker(**QUICK):
        await reading
    return reader


def _swept_events() -> list[UsageEvent]:
    """The usage events once the leases of the dead calls have ended."""
    Hold.objects.exclude(state="settled").update(expires_at="2020-01-01T00:00Z")
    holds.sweep()
    assert not Hold.objects.exclude(state="settled").exists()
    return list(UsageEvent.objects.all())


def _check_metering(events: list[UsageEvent], simulator: SimulatorHandle) -> None:
    """One event for each call the vendor served; whatever is exact equals the vendor's own row."""
    served = Counter(row["request_id"] for row in simulator.ledger())
    metered = Counter(str(event.request_id) for event in events)
    assert served <= metered
    told = {(row["tokens"]["input"], row["tokens"]["output"]) for row in simulator.ledger()}
    exact = [e for e in events if e.accuracy == "exact"]
    assert {(e.tokens_input, e.tokens_output) for e in exact} <= told
    if len(served) == 1:
        assert [e for e in events if e.outcome == "ok"] == exact
        assert len(exact) == 1
    recovered = [e for e in events if e.outcome == "crash_recovered"]
    assert all(e.accuracy == "estimated" for e in recovered)


@pytest.mark.parametrize("stage", ["mid_stream", "before_settle"])
async def test_a_run_survives_its_worker(paid_door, stage):
    await _survives(paid_door, stage)


@pytest.mark.scale
@pytest.mark.parametrize(
    "stage", ["dequeued", "reserved", "called", "first_token", "in_settlement", "after_settle"]
)
async def test_a_run_survives_its_worker_at_every_other_stage(paid_door, stage):
    await _survives(paid_door, stage)


async def _survives(simulator: SimulatorHandle, stage: str) -> None:
    with a_web() as web:
        reader = await _killed_then_finished(web, stage)
    assert reader.end is not None
    assert reader.end["type"] == "complete"
    assert len(reader.text.split()) == TOKENS
    journal = await run_db(
        lambda: list(RunEvent.objects.order_by("seq").values_list("seq", "type"))
    )
    assert [(frame["seq"], frame["type"]) for frame in reader.frames] == journal
    assert await run_db(lambda: Run.objects.get().state) == "completed"
    _check_metering(await run_db(_swept_events), simulator)
    assert len(simulator.ledger()) == (2 if stage in ASKED_TWICE else 1)
    assert await run_db(verification.breaches) == []
