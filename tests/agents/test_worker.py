"""What a worker makes of leases that a renewal did not return."""

from __future__ import annotations

import pytest

from agents.models import RunLease
from agents.services import leases
from agents.session import Handle, StopReason
from agents.worker import Worker
from ideplatform.kit.db import run_db
from tests.agents.builders import a_run


async def a_taken_run(worker):
    """A run that the worker owns, and whose lease has just gone."""
    run = await run_db(a_run)
    taken = await run_db(leases.take, run_id=run.id, owner=worker.owner)
    assert taken is not None
    handle = Handle(run_id=run.id, fence=taken.run.fence, task=None)
    worker._handles[run.id] = handle
    await run_db(RunLease.objects.filter(run_id=run.id).delete)
    return handle


@pytest.mark.parametrize(("is_ending", "reason"), [(False, StopReason.LOST), (True, None)])
async def test_a_run_without_a_lease_is_stopped_unless_it_writes_its_end(
    committed_db, is_ending, reason
):
    worker = Worker()
    handle = await a_taken_run(worker)
    handle.is_ending = is_ending
    await worker._renew()
    assert handle.reason == reason
