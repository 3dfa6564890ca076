"""A call costs what was published when it left, whatever is published before it ends."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from decimal import Decimal

import pytest
from django.db import connections

from accounts.models import Organization
from billing.models import Hold, UsageEvent
from billing.services import holds, usage, verification
from billing.types import Held, Journal, Reservation, Settlement
from ideplatform.kit.db import database_now
from tests.billing.calls import a_list, publish, tokens, usd
from tests.billing.funds import a_customer, a_reservation, money_of, the_call

OLD, NEW = usd("0.000001"), usd("0.0000012")  # USD a token; a larger step needs a word
COUNT = 1_000


@pytest.fixture
def team(committed_db) -> Organization:
    publish(a_list(model_a=f"{OLD:f}"))
    return a_customer(paid="10")


def _change() -> None:
    publish(a_list(model_a=f"{NEW:f}"))


def _sent(team: Organization) -> tuple[Reservation, Held]:
    call = a_reservation(team, "1", provider_type="openai", model="model-a")
    return call, holds.reserve(call)


def _ended(call: Reservation, held: Held) -> Settlement:
    return usage.settle(
        the_call(
            call,
            requested_model="model-a",
            served_model="model-a",
            tokens=tokens(input=COUNT),
            occurred_at=held.dispatched_at,
        )
    )


def test_a_call_in_flight_is_not_touched_by_a_publication(team):
    early = _sent(team)
    _change()
    late = _sent(team)
    assert _ended(*late).cost_usd == COUNT * NEW
    assert _ended(*early).cost_usd == COUNT * OLD
    assert _ended(*early).already_settled
    assert money_of(team) == (10 - COUNT * (OLD + NEW), 0, 0)


def test_nor_is_one_whose_process_died(team):
    call, held = _sent(team)
    progress = Journal(
        request_id=call.request_id,
        attempt=1,
        output_bytes=400,
        usage=tokens(input=COUNT, output=50),
        service_tier="standard",
        served_model="model-a",
        provider_request_id="",
        first_token_ms=20,
    )
    holds.renew([progress], lease_s=60)
    _change()
    Hold.objects.filter(pk=held.hold_id).update(expires_at=held.dispatched_at)
    assert holds.sweep() == 1
    event = UsageEvent.objects.get()
    assert (event.outcome, event.occurred_at) == ("crash_recovered", held.dispatched_at)
    assert event.tokens_output > 0
    assert event.billed_cost == (event.tokens_input + event.tokens_output) * OLD
    assert verification.breaches() == []


def test_while_a_version_is_published_every_call_has_the_price_of_its_moment(team):
    """Callers on four threads, the publication in the midst of them: nobody sees half of it."""

    def calls(_: int) -> list[tuple[datetime, Decimal | None]]:
        try:
            found = []
            for _ in range(10):
                call, held = _sent(team)
                assert held.dispatched_at is not None
                found.append((held.dispatched_at, _ended(call, held).cost_usd))
            return found
        finally:
            connections.close_all()

    def publishing() -> None:
        try:
            _change()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(5) as pool:
        running = [pool.submit(calls, number) for number in range(4)]
        pool.submit(publishing).result(60)
        answers = [one for future in running for one in future.result(60)]
    assert {cost for _, cost in answers} <= {COUNT * OLD, COUNT * NEW}
    again = [_sent(team) for _ in range(2)]
    assert {_ended(*one).cost_usd for one in again} == {COUNT * NEW}
    old = [moment for moment, cost in answers if cost == COUNT * OLD]
    new = [moment for moment, cost in answers if cost == COUNT * NEW]
    assert max([*old], default=database_now()) <= min([*new], default=database_now())
    assert verification.breaches() == []
