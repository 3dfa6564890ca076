"""Keys of services end what they ran themselves; junk ends nothing."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.models import (
    BudgetPeriod,
    Hold,
    LedgerTxn,
    UsageEvent,
)
from billing.services import holds, verification
from billing.types import BillingMode, HoldState
from ideplatform.kit import ids, redis
from tests.billing.calls import SIMULATOR, publish, usd
from tests.billing.funds import a_budget, a_reservation
from tests.billing.reporting import House, by_key, everything


class TestAService:
    """Keys of services may end what they ran themselves."""

    @pytest.fixture
    def key(self, house):
        return by_key(house.team, house.owner, ["usage:report"], kind="service")

    def a_hold(self, house, **facts: Any):
        return a_reservation(
            house.team,
            "0.01",
            provider_id=house.card.pk,
            **({"billing_mode": BillingMode.BYOK} | facts),
        )

    def told(self, house, held, **facts: Any):
        named = {"request_id": str(held.request_id), "hold_id": str(held.hold_id)}
        return house.body(**(named | facts))

    def test_settles_a_hold_of_its_organization(self, house, key):
        budget = a_budget(house.team, "10", counts_byok=True)
        held = self.a_hold(house)
        holds.reserve(held)
        moved = LedgerTxn.objects.count()
        first = house.post(self.told(house, held), key)
        again = house.post(self.told(house, held), key)
        assert (first.status_code, again.status_code) == (201, 200), first.content
        assert Hold.objects.get(pk=held.hold_id).state == HoldState.SETTLED
        period = BudgetPeriod.objects.get(budget=budget)
        assert (period.spent, period.held) == (usd("0.0014"), 0)
        assert UsageEvent.objects.get().hold_id == held.hold_id
        assert LedgerTxn.objects.count() == moved
        assert verification.breaches() == []

    def test_never_one_that_the_platform_pays_for(self, house, key):
        held = self.a_hold(house, billing_mode=BillingMode.PLATFORM)
        holds.reserve(held)
        before = everything()
        answer = house.post(self.told(house, held), key)
        assert answer.json()["code"] == "platform_usage_is_metered_by_server"
        assert everything() == before

    def test_nor_one_of_another_organization(self, house, key):
        other = House()
        held = self.a_hold(other)
        holds.reserve(held)
        before = everything()
        assert house.post(self.told(other, held), key).status_code == 404
        assert house.post(self.told(house, held, hold_id=str(ids.new())), key).status_code == 404
        assert everything() == before

    def test_nor_by_another_request(self, house, key):
        held = self.a_hold(house)
        holds.reserve(held)
        before = everything()
        for change in ({"request_id": str(ids.new())}, {"attempt": 2}):
            assert house.post(self.told(house, held) | change, key).status_code == 409
        assert everything() == before

    def test_a_person_settles_none(self, house):
        held = self.a_hold(house)
        holds.reserve(held)
        before = everything()
        for web in (house.web, by_key(house.team, house.owner, ["usage:report"])):
            assert house.post(self.told(house, held), web).status_code == 403
        assert everything() == before


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4)
    ),
    max_leaves=8,
)


_WRONG = st.one_of(
    _JSON,
    st.fixed_dictionaries({"events": st.lists(_JSON, max_size=4)}),
    st.tuples(
        st.sampled_from(
            [
                "request_id", "attempt", "provider_id", "workspace_id", "tokens_input",
                "tokens_output", "tokens_cache_read", "tokens_reasoning", "status",
                "occurred_at", "raw_usage", "hold_id", "cost", "billed_cost", "customer_id",
            ]
        ),
        _JSON.filter(lambda junk: not isinstance(junk, dict)),
    ),
)  # fmt: skip


@pytest.mark.django_db
def test_no_junk_is_recorded_or_breaks_anything():
    """Whatever is sent is refused with 4xx, and neither usage nor the ledger moves."""
    publish(SIMULATOR)
    house = House()
    before = everything()

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(junk=_WRONG)
    def sends(junk):
        redis.client("cache").flushdb()
        body = house.body() | {junk[0]: junk[1]} if isinstance(junk, tuple) else junk
        with transaction.atomic():
            answer = house.post(body)
            after = everything()
            transaction.set_rollback(True)
        results = answer.json().get("results", [])
        statuses = [one["status"] for one in results] or [answer.status_code]
        is_refused = all(400 <= status < 500 for status in statuses)
        assert is_refused != _is_valid(junk), (body, answer.content)
        assert (after == before) is is_refused

    sends()
    assert LedgerTxn.objects.filter(kind="usage").count() == 0
    assert verification.breaches() == []


def _is_valid(junk: object) -> bool:
    """Junk in one field that happens to be a value of it."""
    if not isinstance(junk, tuple):
        return False
    name, value = junk
    fits = {
        "attempt": type(value) is int and 1 <= value <= 1_000,
        "status": type(value) is int and 0 <= value <= 599,
        "tokens_cache_read": type(value) is int and 0 <= value <= 1_000,
        "tokens_reasoning": type(value) is int and 0 <= value <= 200,
        "tokens_output": type(value) is int and 0 <= value <= 10_000_000,
        "tokens_input": type(value) is int and 0 <= value <= 10_000_000,
        "workspace_id": value is None,
        "raw_usage": value is None,
    }
    return fits.get(name, False)
