"""Many callers at once: nothing is oversold, nobody meets a deadlock, everything adds up."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from django.db import connections

from billing.errors import InFlightExhausted, InsufficientCredits
from billing.models import BudgetPeriod, Customer, Hold, LedgerTxn
from billing.services import holds, usage, verification
from billing.types import Held, Reservation, Settlement
from ideplatform.kit import ids
from ideplatform.kit.errors import PlatformError
from tests.billing.calls import SIMULATOR, publish, tokens, usd
from tests.billing.funds import (
    a_budget,
    a_customer,
    a_reservation,
    money_of,
    the_call,
)
from tests.factories import a_user


@pytest.fixture(autouse=True)
def _sound(committed_db):
    publish(SIMULATOR)
    yield
    assert verification.breaches() == []


def at_once(works: list[Callable[[], Any]], *, threads: int = 16) -> list[Any]:
    """What each work answered, or the PlatformError it met; anything else fails the test."""

    def alone(work: Callable[[], Any]) -> Any:
        try:
            return work()
        except PlatformError as refused:
            return refused
        finally:
            connections.close_all()

    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(alone, works))


def reserving(organization, amount="1", **facts):
    call = a_reservation(organization, amount, **facts)
    return lambda: holds.reserve(call)


def settle(call: Reservation) -> Settlement:
    return usage.settle(the_call(call))


def test_money_for_ten_lets_ten_of_sixty_four_through():
    team = a_customer(paid="10")
    answers = at_once([reserving(team) for _ in range(64)])
    assert Counter(type(answer) for answer in answers) == {Held: 10, InFlightExhausted: 54}
    assert money_of(team) == (10, 0, 10)
    assert Hold.objects.count() == 10


def test_when_the_ten_are_settled_the_next_hear_that_the_money_is_gone():
    team = a_customer(paid="0.014")
    calls = [a_reservation(team, "0.0014") for _ in range(64)]
    at_once([partial(holds.reserve, call) for call in calls])
    admitted = set(Hold.objects.values_list("request_id", flat=True))
    ending = [the_call(call) for call in calls if call.request_id in admitted]
    assert len(ending) == 10
    at_once([partial(usage.settle, record) for record in ending * 3])
    assert money_of(team) == (0, 0, 0)
    answers = at_once([reserving(team, "0.0014") for _ in range(8)])
    assert {type(answer) for answer in answers} == {InsufficientCredits}
    assert LedgerTxn.objects.filter(kind="usage").count() == 10


def test_five_nested_budgets_in_random_order_let_exactly_ten_through():
    """The first call makes every period; each thread sends batches in an order of its own."""
    team = a_customer(paid="1000")
    person, run = ids.new(), ids.new()
    for scope, name in (
        ("customer", ""),
        ("user", str(person)),
        ("agent", "coder"),
        ("model_glob", "sim*"),
        ("run", "*"),
    ):
        a_budget(team, "10", scope=scope, scope_id=name)
    facts = {"user_id": person, "run_id": run}
    chance = random.Random(7)
    batches = []
    for _ in range(32):
        batch = [a_reservation(team, "1", **facts) for _ in range(4)]
        chance.shuffle(batch)
        batches.append(batch)
    answers = at_once([partial(holds.reserve_many, batch) for batch in batches])
    outcome = Counter(type(one) for batch in answers for one in batch)
    assert outcome == {Held: 10, InFlightExhausted: 118}
    assert set(BudgetPeriod.objects.values_list("held", flat=True)) == {Decimal(10)}
    assert BudgetPeriod.objects.count() == 5


def test_batches_over_many_customers_and_budgets_meet_no_deadlock():
    teams = [a_customer(paid="50") for _ in range(6)]
    for team in teams:
        a_budget(team, "40")
        a_budget(team, "30", scope="agent", scope_id="*")
    chance = random.Random(11)
    works: list[Callable[[], Any]] = []
    for _ in range(60):
        calls = [a_reservation(chance.choice(teams), "1") for _ in range(5)]

        def whole(calls=calls) -> list[Any]:
            answers = holds.reserve_many(calls)
            taken = [
                call
                for call, answer in zip(calls, answers, strict=True)
                if isinstance(answer, Held)
            ]
            holds.void_many([call.hold_id for call in taken[::2]])
            return usage.settle_many([the_call(call) for call in taken[1::2]])

        works.append(whole)
    for answers in at_once(works):
        assert not isinstance(answers, PlatformError)
        assert not [one for one in answers if isinstance(one, PlatformError)]
    for team in teams:
        assert money_of(team)[2] == 0


def test_the_first_call_of_a_customer_opens_it_once_however_many_come():
    organization = a_user().personal_organization
    answers = at_once([reserving(organization) for _ in range(24)])
    assert Counter(type(answer) for answer in answers) == {Held: 5, InFlightExhausted: 19}
    assert Customer.objects.filter(pk=organization.pk).count() == 1
    assert LedgerTxn.objects.filter(kind="promo").count() == 1


def test_one_request_that_comes_often_is_held_and_settled_once():
    team = a_customer(paid="10")
    call = a_reservation(team, "1")
    answers = at_once([lambda: holds.reserve(call) for _ in range(24)])
    assert sorted(answer.is_replay for answer in answers) == [False] + [True] * 23
    assert len({answer.hold_id for answer in answers}) == 1
    settled = at_once([partial(settle, call) for _ in range(24)])
    assert sorted(answer.already_settled for answer in settled) == [False] + [True] * 23
    assert money_of(team) == (usd("9.9986"), 0, 0)


def test_a_settlement_a_void_and_a_sweep_of_one_call_end_it_once():
    team = a_customer(paid="10")
    calls = [a_reservation(team, "0.5") for _ in range(8)]
    holds.reserve_many(calls)
    Hold.objects.update(expires_at="2020-01-01T00:00Z")
    works: list[Callable[[], Any]] = [holds.sweep] * 4
    for call in calls:
        works += [
            partial(holds.void_many, [call.hold_id]),
            partial(settle, call),
        ]
    random.Random(3).shuffle(works)
    at_once(works)
    assert money_of(team)[2] == 0
    assert not Hold.objects.filter(state__in=["pending", "dispatched"]).exists()


def test_tiny_calls_are_exact_to_the_last_decimal():
    team = a_customer(paid="1")
    calls = [a_reservation(team, "0.000001") for _ in range(200)]
    holds.reserve_many(calls)
    records = [the_call(call, tokens=tokens(cache_read=1)) for call in calls]
    at_once([partial(usage.settle_many, part) for part in (records[:99], records[99:])])
    assert money_of(team) == (1 - 200 * usd("0.0000001"), 0, 0)


SCRIPT = """
import sys, json
import tests.environment
import django; django.setup()
from tests.billing.reserving import reserve_all
print(json.dumps(reserve_all(*sys.argv[1:])))
"""


@pytest.mark.parametrize(
    "calls", [100, pytest.param(500, marks=[pytest.mark.scale, pytest.mark.timeout(300)])]
)
def test_two_processes_together_oversell_nothing(committed_db, calls):
    team = a_customer(paid="50")
    for scope, name in (("customer", ""), ("agent", "coder")):
        a_budget(team, "60", scope=scope, scope_id=name)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, committed_db, str(team.pk), str(calls)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    total: Counter[str] = Counter()
    for process in processes:
        out, _ = process.communicate(timeout=200)
        assert process.returncode == 0
        total.update(json.loads(out.splitlines()[-1]))
    assert total == {"Held": 50, "InFlightExhausted": 2 * calls - 50}
    assert money_of(team) == (50, 0, 50)
