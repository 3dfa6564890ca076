"""A test's database is left by everybody when the test leaves it."""

from __future__ import annotations

import asyncio

from billing.models import Hold
from billing.services import batching
from tests import databases
from tests.billing.funds import a_customer, a_reservation
from tests.billing.waiting import asked


def test_a_lane_follows_to_the_next_database(committed_db):
    with databases.clone() as other:
        databases._use(committed_db)
        first = a_reservation(a_customer(paid="2"), "1")
        asyncio.run(batching.reserve(asked(first)))
        databases._use(other)
        second = a_reservation(a_customer(paid="2"), "1")
        assert asyncio.run(batching.reserve(asked(second))).hold_id == second.hold_id
        assert list(Hold.objects.values_list("pk", flat=True)) == [second.hold_id]
