"""A test's database is left by everybody when the test leaves it."""

from __future__ import annotations

from billing.services import batching
from ideplatform.kit.db import run_db
from tests import databases
from tests.billing.funds import a_customer, a_reservation
from tests.billing.waiting import asked


async def test_a_lane_follows_to_the_next_database(committed_db):
    team = await run_db(a_customer, paid="2")
    await batching.reserve(asked(await run_db(a_reservation, team, "1")))
    with databases.clone():
        call = await run_db(a_reservation, await run_db(a_customer, paid="2"), "1")
        assert (await batching.reserve(asked(call))).hold_id == call.hold_id
