"""What arrives together is one transaction, and everybody hears their own answer."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from django.db import DataError, connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.errors import InFlightExhausted, InsufficientCredits, ModelUnpriced
from billing.models import Hold, UsageEvent
from billing.services import batching, verification
from billing.services.batching import Asked
from billing.services.prices import Tariff
from billing.types import Held, ProviderCallRecord, Reservation, Settlement
from ideplatform.kit import ids
from ideplatform.kit.db import run_db
from ideplatform.kit.errors import DatabaseDown, Unavailable
from tests.billing.calls import SIMULATOR, publish, tokens, usd
from tests.billing.funds import a_customer, a_reservation, money_of, the_call
from tests.billing.waiting import (
    asked,
    behind,
    code_of,
    direct,
    hold_of,
    reserved,
    told,
    waiting_backends,
)
from tests.waiting import eventually, eventually_async

COST = usd("0.0014")  # of `the_call`: 1,000 tokens in at 1 USD and 200 out at 2 USD a million


@pytest.fixture
def database(committed_db: str) -> Iterator[str]:
    publish(SIMULATOR)
    yield committed_db
    assert verification.breaches() == []


def _transactions(table: str) -> list[int]:
    """How many rows each transaction wrote that inserted into the table, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            f"SELECT count(*) FROM {table} GROUP BY xmin ORDER BY min(xmin::text::bigint)"
        )
        return [count for (count,) in cursor.fetchall()]


def _calls(team, count: int, amount: str = "1") -> list[Reservation]:
    return [a_reservation(team, amount) for _ in range(count)]


# --- few transactions


def test_sixty_four_callers_behind_one_are_one_transaction(database):
    team = a_customer(paid="100")
    first, *others = _calls(team, 65)

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
    first, *others = _calls(team, 451)

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
    calls = _calls(team, 65)
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
    assert money_of(team) == (100 - 65 * COST, 0, 0)


# --- who gets the last money


def test_who_asked_first_has_the_last_money(database):
    team = a_customer(paid="10")
    answers = asyncio.run(reserved(_calls(team, 64)))
    assert [code_of(one) for one in answers] == ["Held"] * 10 + ["in_flight_exhausted"] * 54
    assert {one.status for one in answers if isinstance(one, InFlightExhausted)} == {402}
    assert money_of(team) == (10, 0, 10)
    assert Hold.objects.count() == 10


def test_two_loops_share_the_lane_and_each_hears_its_own(database):
    team = a_customer(paid="10")
    halves = [_calls(team, 32), _calls(team, 32)]
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
    first, good, better = _calls(team, 3)
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
    calls = _calls(team, 4)
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
    assert money_of(team) == (100 - 3 * COST, 0, 1)
    assert UsageEvent.objects.count() == 3


@pytest.mark.scale
def test_a_wallet_that_somebody_holds_keeps_no_other_waiting_for_long(database):
    locked, free = a_customer(paid="10"), a_customer(paid="10")

    async def main() -> list[Held | Exception]:
        stuck, *more = _calls(locked, 3)
        async with behind(
            database, locked, lambda: batching.reserve(asked(stuck)), function="billing_reserve"
        ) as leader:
            others = await reserved([*more, *_calls(free, 2)])
            return [await leader, *others]

    answers = asyncio.run(main())
    assert [code_of(one) for one in answers] == ["unavailable"] * 3 + ["Held"] * 2
    assert (money_of(locked), money_of(free)) == ((10, 0, 0), (10, 0, 2))


# --- callers who go away


def test_a_caller_who_goes_before_the_batch_reserves_nothing(database):
    team = a_customer(paid="100")
    first, gone, stays = _calls(team, 3)

    async def main() -> None:
        async with behind(
            database, team, lambda: batching.reserve(asked(first)), function="billing_reserve"
        ):
            leaver = asyncio.create_task(batching.reserve(asked(gone)))
            stayer = asyncio.create_task(batching.reserve(asked(stays)))
            await asyncio.sleep(0)
            leaver.cancel()
        assert hold_of(await stayer) == stays.hold_id
        assert leaver.cancelled()

    asyncio.run(main())
    assert set(Hold.objects.values_list("pk", flat=True)) == {first.hold_id, stays.hold_id}
    assert money_of(team) == (100, 0, 2)


async def _state_of(hold_id: UUID) -> str | None:
    return await run_db(
        lambda: Hold.objects.filter(pk=hold_id).values_list("state", flat=True).first()
    )


def test_a_caller_who_goes_while_the_batch_runs_gets_the_money_back(database):
    team = a_customer(paid="100")
    gone = a_reservation(team)

    async def main() -> None:
        async with behind(
            database, team, lambda: batching.reserve(asked(gone)), function="billing_reserve"
        ) as leaver:
            leaver.cancel()
        await eventually_async(lambda: _is_voided(gone.hold_id))

    asyncio.run(main())
    assert money_of(team) == (100, 0, 0)


async def _is_voided(hold_id: UUID) -> bool:
    return await _state_of(hold_id) == "voided"


def test_a_caller_who_is_cancelled_with_the_answer_in_hand_gets_the_money_back(database):
    """Answer and cancellation reach the task in one turn of its loop."""
    team = a_customer(paid="100")
    call, next_one = _calls(team, 2)

    async def main() -> None:
        async with behind(
            database, team, lambda: batching.reserve(asked(call)), function="billing_reserve"
        ) as task:
            other_loop = threading.Thread(
                target=lambda: asyncio.run(batching.reserve(asked(next_one)))
            )
            other_loop.start()
        other_loop.join(20)  # its batch came later, so ours was told; this loop has not turned yet
        asyncio.get_running_loop().call_soon(task.cancel)
        with pytest.raises(asyncio.CancelledError):
            await task
        await eventually_async(lambda: _is_voided(call.hold_id))

    asyncio.run(main())
    assert money_of(team) == (100, 0, 1)


def test_a_settlement_is_written_though_its_caller_went_away(database):
    team = a_customer(paid="100")
    calls = _calls(team, 2)
    running, queued = (the_call(call) for call in calls)

    async def main() -> None:
        await reserved(calls)
        async with behind(
            database, team, lambda: batching.settle(running), function="billing_settle"
        ) as leaver:
            other = asyncio.create_task(batching.settle(queued))
            await asyncio.sleep(0)
            leaver.cancel()
            other.cancel()
        await eventually_async(_both_settled)

    asyncio.run(main())
    assert money_of(team) == (100 - 2 * COST, 0, 0)


async def _both_settled() -> bool:
    return await run_db(UsageEvent.objects.count) == 2


def test_what_a_closed_loop_had_asked_is_given_back(database):
    team = a_customer(paid="100")
    call = a_reservation(team)
    loop = asyncio.new_event_loop()
    with direct(database) as other, other.transaction():
        other.execute(
            "SELECT 1 FROM billing_ledger_accounts WHERE customer_id = %s FOR UPDATE", [team.pk]
        )
        waiting = loop.create_task(batching.reserve(asked(call)))
        loop.run_until_complete(asyncio.sleep(0))
        eventually(lambda: waiting_backends(database, "billing_reserve"))
        loop.close()
    assert not waiting.done()
    eventually(lambda: Hold.objects.filter(pk=call.hold_id, state="voided").exists())
    assert money_of(team) == (100, 0, 0)


# --- bounds and a server that goes


def test_past_five_thousand_callers_are_asked_to_come_again(database):
    team = a_customer(paid="100")
    first, *others = [asked(call) for call in _calls(team, 5_001)]

    async def main() -> None:
        async with behind(
            database, team, lambda: batching.reserve(first), function="billing_reserve"
        ) as leader:
            waiting = [asyncio.create_task(batching.reserve(one)) for one in others]
            await asyncio.sleep(0)
            with pytest.raises(Unavailable) as full:
                await batching.reserve(asked(a_reservation(team)))
            for task in waiting:
                task.cancel()
        assert hold_of(await leader) == first.hold_id
        refused = full.value
        assert (refused.status, refused.retryable, refused.retry_after_s) == (503, True, 1)

    asyncio.run(main())
    assert money_of(team) == (100, 0, 1)


def _end_all_backends(database: str) -> None:
    with direct("postgres") as server:
        server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [database]
        )


def _let_connect(database: str, *, allowed: bool) -> None:
    with direct("postgres") as server:
        server.execute(f"ALTER DATABASE {database} ALLOW_CONNECTIONS {str(allowed).lower()}")


def test_a_connection_that_died_while_idle_costs_no_caller_anything(database):
    team = a_customer(paid="100")
    one, two = _calls(team, 2)

    async def main() -> None:
        await batching.reserve(asked(one))
        await batching.settle(the_call(one))
        await asyncio.to_thread(_end_all_backends, database)
        await batching.reserve(asked(two))
        await batching.settle(the_call(two))

    connection.close()  # this thread's own, which ends with the others
    asyncio.run(main())
    assert money_of(team) == (100 - 2 * COST, 0, 0)


def test_a_connection_that_dies_in_a_batch_is_replaced_and_nothing_is_doubled(database):
    team = a_customer(paid="100")
    call = a_reservation(team)

    async def main() -> Held | Exception:
        async with behind(
            database, team, lambda: batching.reserve(asked(call)), function="billing_reserve"
        ) as task:
            with direct("postgres") as server:
                for pid in waiting_backends(database, "billing_reserve"):
                    server.execute("SELECT pg_terminate_backend(%s)", [pid])
        return await task

    assert hold_of(asyncio.run(main())) == call.hold_id
    assert money_of(team) == (100, 0, 1)


def test_without_postgresql_nothing_is_reserved_and_settling_may_come_again(database):
    team = a_customer(paid="100")
    before, lost, after = _calls(team, 3)

    async def main() -> None:
        await batching.reserve(asked(before))
        await asyncio.to_thread(_let_connect, database, allowed=False)
        await asyncio.to_thread(_end_all_backends, database)
        away = [
            await told(batching.reserve(asked(lost))),
            await told(batching.settle(the_call(before))),
        ]
        assert [type(one) for one in away] == [DatabaseDown, DatabaseDown]
        assert {one.status for one in away if isinstance(one, DatabaseDown)} == {503}
        await asyncio.to_thread(_let_connect, database, allowed=True)
        await batching.reserve(asked(after))
        await batching.settle(the_call(before))

    connection.close()  # this thread's own, which ends with the others
    asyncio.run(main())
    assert set(Hold.objects.values_list("pk", flat=True)) == {before.hold_id, after.hold_id}
    assert money_of(team) == (100 - COST, 0, 1)


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
        self.posted -= COST
        self.held -= amount

    @property
    def money(self) -> tuple[Decimal, Decimal, Decimal]:
        return self.posted, Decimal(0), self.held
