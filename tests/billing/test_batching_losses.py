"""Callers who go away, bounds that are full, a server that goes: no batch loses money."""

from __future__ import annotations

import asyncio
import threading
from uuid import UUID

import pytest
from django.db import connection

from billing.models import Hold, UsageEvent
from billing.services import batching
from billing.types import Held
from ideplatform.kit.db import run_db
from ideplatform.kit.errors import DatabaseDown, Unavailable
from tests.billing.funds import a_customer, a_reservation, money_of, the_call
from tests.billing.waiting import (
    THE_COST,
    asked,
    behind,
    direct,
    hold_of,
    reserved,
    some_calls,
    told,
    waiting_backends,
)
from tests.waiting import eventually, eventually_async


def test_a_caller_who_goes_before_the_batch_reserves_nothing(database):
    team = a_customer(paid="100")
    first, gone, stays = some_calls(team, 3)

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
    call, next_one = some_calls(team, 2)

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
    calls = some_calls(team, 2)
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
    assert money_of(team) == (100 - 2 * THE_COST, 0, 0)


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


def test_past_five_thousand_callers_are_asked_to_come_again(database):
    team = a_customer(paid="100")
    first, *others = [asked(call) for call in some_calls(team, 5_001)]

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
    one, two = some_calls(team, 2)

    async def main() -> None:
        await batching.reserve(asked(one))
        await batching.settle(the_call(one))
        await asyncio.to_thread(_end_all_backends, database)
        await batching.reserve(asked(two))
        await batching.settle(the_call(two))

    connection.close()  # this thread's own, which ends with the others
    asyncio.run(main())
    assert money_of(team) == (100 - 2 * THE_COST, 0, 0)


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
    before, lost, after = some_calls(team, 3)

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
    assert money_of(team) == (100 - THE_COST, 0, 1)
