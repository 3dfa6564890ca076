"""A platform that executes runs in this process, against the simulated provider."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from agents import worker
from ideplatform import subscriptions
from ideplatform.outbox import relay
from tests.fakes.simulator import SimulatorHandle
from tests.providers.builders import a_provider


@pytest.fixture
def committed_db(paid_door: SimulatorHandle) -> SimulatorHandle:
    """Agents need prices and a vendor: every database of these tests has them."""
    return paid_door


@pytest.fixture
def inline(committed_db: SimulatorHandle) -> Iterator[SimulatorHandle]:
    """Runs are executed by a worker in this process; the vendor is the simulator."""
    a_provider("openai_compatible")
    relay.configure(subscriptions.LISTENERS, send=subscriptions.run_here)
    yield committed_db
    subscriptions.wire()
    worker.stop()
