"""Requests that come again, in any order, and past the end of their leases: one charge each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from uuid import UUID

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.models import Organization
from billing.errors import RequestReused
from billing.models import Hold, LedgerTxn, UsageEvent
from billing.services import holds, usage, verification
from billing.types import Held, HoldState, Reservation, Settlement
from tests.billing.calls import SIMULATOR, publish, tokens
from tests.billing.funds import a_budget, a_customer, a_reservation, money_of, period_of, the_call

PRICE = Decimal("0.000001")
CALLS = 4
_DEEDS = ("reserve", "settle", "settle_otherwise", "void", "expire", "forget")
# One call per number; each deed may come any number of times, in any order.
_STORY = st.lists(
    st.tuples(st.integers(0, CALLS - 1), st.sampled_from(_DEEDS)), min_size=1, max_size=24
)


@pytest.fixture
def team(db) -> Organization:
    publish(SIMULATOR)
    return a_customer(paid="100")


@contextmanager
def _tried() -> Iterator[None]:
    """What happens inside is undone."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


class Desk:
    """Callers that ask again and again, and what they were answered."""

    def __init__(self, team: Organization) -> None:
        self.calls = [a_reservation(team, "1", is_dispatched=False) for _ in range(CALLS)]
        self.holds: dict[int, list[Held]] = defaultdict(list)
        self.charges: dict[int, list[Settlement]] = defaultdict(list)

    def do(self, number: int, deed: str) -> None:
        call = self.calls[number]
        getattr(self, deed)(number, call)

    def reserve(self, number: int, call: Reservation) -> None:
        self.holds[number].append(holds.reserve(call))

    def settle(self, number: int, call: Reservation) -> None:
        self.charges[number].append(usage.settle(self.record(number, call)))

    def settle_otherwise(self, number: int, call: Reservation) -> None:
        """Other tokens under the same name: refused as soon as the first ones count."""
        if number in self.charges:
            with pytest.raises(RequestReused):
                usage.settle(the_call(call, tokens=tokens(input=999)))

    def void(self, number: int, call: Reservation) -> None:
        was = Hold.objects.filter(pk=call.hold_id).values_list("state", flat=True).first()
        assert holds.void_many([call.hold_id]) == (was == HoldState.PENDING)

    def expire(self, number: int, call: Reservation) -> None:
        """Its lease is over, the sweep comes."""
        Hold.objects.filter(pk=call.hold_id).update(expires_at="2020-01-01T00:00Z")
        assert holds.sweep() == 0  # it was never sent

    def forget(self, number: int, call: Reservation) -> None:
        """A month after its end the hold itself is gone."""
        ended = Hold.objects.filter(pk=call.hold_id).exclude(state=HoldState.PENDING)
        ended.update(ended_at="2020-01-01T00:00Z")
        holds.sweep()

    def record(self, number: int, call: Reservation):
        return the_call(call, tokens=tokens(input=1_000 * (number + 1)))


@given(story=_STORY)
@settings(
    max_examples=60,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_every_order_of_repetitions_is_one_charge_and_one_answer(team, story):
    with _tried():
        a_budget(team, "50")
        desk = Desk(team)
        for number, deed in story:
            desk.do(number, deed)
        settled = set(desk.charges)
        for number, charges in desk.charges.items():
            assert len({charge.event_id for charge in charges}) == 1
            assert {charge.billed_usd for charge in charges} == {1_000 * (number + 1) * PRICE}
            assert [charge.already_settled for charge in charges] == [False] + [True] * (
                len(charges) - 1
            )
        spent = sum((1_000 * (number + 1) * PRICE for number in settled), Decimal(0))
        live = Hold.objects.filter(state=HoldState.PENDING).count()
        assert money_of(team) == (100 - spent, 0, live)
        assert LedgerTxn.objects.filter(kind="usage").count() == len(settled)
        assert UsageEvent.objects.count() == len(settled)
        connection.check_constraints()
        assert verification.breaches() == []


@given(order=st.permutations(range(CALLS * 3)))
@settings(
    max_examples=20,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_a_batch_with_repetitions_in_any_order_ends_alike(team, order):
    """Three times each of four calls, past their leases, in one batch."""
    with _tried():
        budget = a_budget(team, "50")
        desk = Desk(team)
        holds.reserve_many(desk.calls)
        Hold.objects.update(expires_at="2020-01-01T00:00Z")
        holds.sweep()
        assert money_of(team) == (100, 0, 0)
        records = [desk.record(number, desk.calls[number]) for number in range(CALLS)] * 3
        answers = usage.settle_many([records[place] for place in order])
        told: dict[UUID, list[Settlement]] = defaultdict(list)
        for answer in answers:
            assert isinstance(answer, Settlement)
            told[answer.request_id].append(answer)
        for number, call in enumerate(desk.calls):
            mine = told[call.request_id]
            assert {one.billed_usd for one in mine} == {1_000 * (number + 1) * PRICE}
            assert sorted(one.already_settled for one in mine) == [False, True, True]
            assert len({one.event_id for one in mine}) == 1
        assert money_of(team) == (100 - 10_000 * PRICE, 0, 0)
        assert period_of(budget) == (10_000 * PRICE, 0)
        connection.check_constraints()
        assert verification.breaches() == []
