"""What arrives together is one transaction, and everybody hears their own answer."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

import pytest
from django.db import DataError, connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.errors import InFlightExhausted, InsufficientCredits, ModelUnpriced
from billing.models import Hold, UsageEvent
from billing.services import batching
from billing.services.batching import Asked
from billing.services.prices import Tariff
from billing.types import Held, ProviderCallRecord, Reservation, Settlement
from ideplatform.kit import ids
from tests.billing.calls import tokens, usd
from tests.billing.funds import a_customer, a_reservation, money_of, the_call
from tests.billing.waiting import (
    THE_COST,
    asked,
    behind,
    code_of,
    hold_of,
    reserved,
    some_calls,
    told,
)


def _transactions(table: str) -> list[int]:
    """How many rows each transaction wrote that inserted into the table, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*) FROM {table} GROUP BY xmin ORDER BY min(xmin::text::bigint)"
        )
        return [count for (count,) in cursor.fetchall()]


# --- few transactions


def test_sixty_four_callers_behind_one_are_one_transaction(database):
    team = a_customer(paid="100")
    first, *others = some_calls(team, 65)

    async def main() -> list[Held | Exception]:
        async with behind(
            database, team, lambda: batching.reserve(asked(first)), function="billing_reserve"
        ) as leader:
            followers = asyncio.create_task(reserved(others))
            await asyncio.sleep(0)
        return [await leader, *await followers]

    answers = asyncio.run(main())
    assert [hold_of(answer) for answer in answers] == [call.hold_id for call in (first, *others)]
    assert _transactions("billing_holds") == [1, 64]
    assert money_of(team) == (100, 0, 65)


def test_a_batch_has_a_bound(database):
    team = a_customer(paid="1000")
    first, *others = some_calls(team, 451)

    async def main() -> None:
        async with behind(
            database, team, lambda: batching.reserve(asked(first)), function="billing_reserve"
        ):
            followers = asyncio.create_task(reserved(others))
            await asyncio.sleep(0)
        await followers

    asyncio.run(main())
    assert _transactions("billing_holds") == [1, 200, 200, 50]


def test_settlements_that_arrive_together_are_one_transaction_too(database):
    team = a_customer(paid="100")
    calls = some_calls(team, 65)
    first, *others = [the_call(call) for call in calls]

    async def main() -> list[Settlement | Exception]:
        await reserved(calls)
        async with behind(
            database, team, lambda: batching.settle(first), function="billing_settle"
        ) as leader:
            followers = [asyncio.create_task(told(batching.settle(one))) for one in others]
            await asyncio.sleep(0)
        return [await leader, *await asyncio.gather(*followers)]

    answers = asyncio.run(main())
    assert [one.request_id for one in answers if isinstance(one, Settlement)] == [
        call.request_id for call in calls
    ]
    assert _transactions("usage_events") == [1, 64]
    assert money_of(team) == (100 - 65 * THE_COST, 0, 0)


# --- who gets the last money


def test_who_asked_first_has_the_last_money(database):
    team = a_customer(paid="10")
    answers = asyncio.run(reserved(some_calls(team, 64)))
    assert [code_of(one) for one in answers] == ["Held"] * 10 + ["in_flight_exhausted"] * 54
    assert {one.status for one in answers if isinstance(one, InFlightExhausted)} == {402}
    assert money_of(team) == (10, 0, 10)
    assert Hold.objects.count() == 10


def test_two_loops_share_the_lane_and_each_hears_its_own(database):
    team = a_customer(paid="10")
    halves = [some_calls(team, 32), some_calls(team, 32)]
    heard: list[list[Held | Exception]] = [[], []]

    def run(number: int) -> None:
        heard[number] = asyncio.run(reserved(halves[number]))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    pairs = [
        (c, a)
        for half, got in zip(halves, heard, strict=True)
        for c, a in zip(half, got, strict=True)
    ]
    assert Counter(code_of(answer) for _, answer in pairs) == {
        "Held": 10,
        "in_flight_exhausted": 54,
    }
    admitted = [(call, answer) for call, answer in pairs if isinstance(answer, Held)]
    assert all(call.hold_id == answer.hold_id for call, answer in admitted)
    assert money_of(team) == (10, 0, 10)


# --- one bad neighbour


def test_a_reservation_that_the_database_refuses_harms_nobody(database):
    team = a_customer(paid="100")
    first, good, better = some_calls(team, 3)
    bad = a_reservation(team, model="no\0where")

    def refused(tariff: Tariff) -> Reservation:
        raise ModelUnpriced

    unpriced = Asked(hold_id=ids.new(), organization_id=team.pk, quote=refused)

    async def main() -> list[Held | Exception]:
        async with behind(
            database, team, lambda: batching.reserve(asked(first)), function="billing_reserve"
        ):
            followers = [
                asyncio.create_task(told(batching.reserve(one)))
                for one in (asked(good), asked(bad), unpriced, asked(better))
            ]
            await asyncio.sleep(0)
        return list(await asyncio.gather(*followers))

    answers = asyncio.run(main())
    assert [type(one) for one in answers] == [Held, DataError, ModelUnpriced, Held]
    assert [hold_of(answers[0]), hold_of(answers[3])] == [good.hold_id, better.hold_id]
    assert money_of(team) == (100, 0, 3)


def test_a_record_that_cannot_be_stored_harms_nobody(database):
    team = a_customer(paid="100")
    calls = some_calls(team, 4)
    first, good, better = (the_call(call) for call in calls[:3])
    bad = the_call(calls[3], tokens=tokens(input=10**30))

    async def main() -> list[Settlement | Exception]:
        await reserved(calls)
        async with behind(
            database, team, lambda: batching.settle(first), function="billing_settle"
        ):
            followers = [
                asyncio.create_task(told(batching.settle(one))) for one in (good, bad, better)
            ]
            await asyncio.sleep(0)
        return list(await asyncio.gather(*followers))

    answers = asyncio.run(main())
    assert [type(one) for one in answers] == [Settlement, DataError, Settlement]
    assert money_of(team) == (100 - 3 * THE_COST, 0, 1)
    assert UsageEvent.objects.count() == 3


@pytest.mark.scale
def test_a_wallet_that_somebody_holds_keeps_no_other_waiting_for_long(database):
    locked, free = a_customer(paid="10"), a_customer(paid="10")

    async def main() -> list[Held | Exception]:
        stuck, *more = some_calls(locked, 3)
        async with behind(
            database, locked, lambda: batching.reserve(asked(stuck)), function="billing_reserve"
        ) as leader:
            others = await reserved([*more, *some_calls(free, 2)])
            return [await leader, *others]

    answers = asyncio.run(main())
    assert [code_of(one) for one in answers] == ["unavailable"] * 3 + ["Held"] * 2
    assert (money_of(locked), money_of(free)) == ((10, 0, 0), (10, 0, 2))


# --- any interleaving equals the serial result

AMOUNTS = st.lists(
    st.tuples(st.integers(0, 1), st.integers(1, 4), st.integers(0, 3)), min_size=1, max_size=24
)


@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(rounds=st.lists(AMOUNTS, min_size=1, max_size=3))
def test_any_interleaving_equals_the_serial_result(database, rounds):
    """Callers of two teams, each after some turns of the loop; half of the held are settled."""
    teams = [a_customer(paid="7"), a_customer(paid="12")]
    model = [_Serial(Decimal(7)), _Serial(Decimal(12))]
    for callers in rounds:
        made = [
            (team, usd(str(amount)), a_reservation(teams[team], str(amount)), turns)
            for team, amount, turns in callers
        ]
        order: list[int] = []
        answers = asyncio.run(_all(made, order))
        for place in order:
            team, amount, _, _ = made[place]
            assert code_of(answers[place]) == model[team].reserve(amount)
        ending = [
            (team, amount, call)
            for (team, amount, call, _), answer in zip(made, answers, strict=True)
            if isinstance(answer, Held)
        ][::2]
        asyncio.run(_settled([the_call(call) for _, _, call in ending]))
        for team, amount, _ in ending:
            model[team].settle(amount)
        assert [money_of(team) for team in teams] == [one.money for one in model]


async def _all(made: Sequence[Any], order: list[int]) -> list[Held | Exception]:
    async def caller(place: int) -> Held | Exception:
        _, _, call, turns = made[place]
        for _ in range(turns):
            await asyncio.sleep(0)
        order.append(place)
        return await told(batching.reserve(asked(call)))

    return await asyncio.gather(*(caller(place) for place in range(len(made))))


async def _settled(records: Sequence[ProviderCallRecord]) -> None:
    await asyncio.gather(*(batching.settle(record) for record in records))


class _Serial:
    """One wallet whose callers come one after the other."""

    def __init__(self, posted: Decimal) -> None:
        self.posted = posted
        self.held = Decimal(0)

    def reserve(self, amount: Decimal) -> str:
        if self.posted - self.held >= amount:
            self.held += amount
            return "Held"
        if self.posted >= amount and self.held:
            return InFlightExhausted.code
        return InsufficientCredits.code

    def settle(self, amount: Decimal) -> None:
        self.posted -= THE_COST
        self.held -= amount

    @property
    def money(self) -> tuple[Decimal, Decimal, Decimal]:
        return self.posted, Decimal(0), self.held
