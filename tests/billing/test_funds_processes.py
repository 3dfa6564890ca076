"""Money for ten, two hundred callers, four processes: ten are let through, whoever came first.

Each process is loaded before any begins, so that they really meet.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import ExitStack
from decimal import Decimal

import pytest

from accounts.models import Organization
from billing.models import BudgetPeriod, Customer, Hold, LedgerTxn
from billing.services import verification
from tests.billing.calls import SIMULATOR, publish
from tests.billing.funds import a_budget, a_customer, money_of
from tests.factories import a_user

SCRIPT = """
import json, sys
import tests.environment
import django; django.setup()
from tests.billing import reserving
print("ready", flush=True)
for line in sys.stdin:
    print(json.dumps(reserving.reserve_as_told(**json.loads(line))), flush=True)
"""
PROCESSES, CALLS, THREADS = 4, 50, 16
SCOPES = ("customer", "workspace", "user", "api_key", "agent")


class Crowd:
    """Processes that wait for the word."""

    def __init__(self, stack: ExitStack, database: str) -> None:
        self._database = database
        self._processes = [
            stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", SCRIPT],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(PROCESSES)
        ]
        assert [self._heard(one) for one in self._processes] == ["ready"] * PROCESSES

    def reserve(self, team: Organization, amount: str, *, subjects: int) -> Counter[str]:
        """Let them all call at once; what they were answered, together."""
        for number, process in enumerate(self._processes):
            told = {
                "database": self._database,
                "organization_id": str(team.pk),
                "amount": amount,
                "calls": CALLS,
                "threads": THREADS,
                "subjects": subjects,
                "seed": number,
            }
            assert process.stdin is not None
            print(json.dumps(told), file=process.stdin, flush=True)
        answers: Counter[str] = Counter()
        for process in self._processes:
            answers.update(json.loads(self._heard(process)))
        return answers

    @staticmethod
    def _heard(process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        return process.stdout.readline().strip()


@pytest.fixture
def crowd(committed_db):
    publish(SIMULATOR)
    with ExitStack() as stack:
        yield Crowd(stack, committed_db)
    assert verification.breaches() == []


def _nested(team: Organization, limits: Sequence[str]) -> None:
    """Five budgets that mean the same calls, the later made first: their ids are in no order."""
    for scope, limit in zip(SCOPES, limits, strict=True):
        name = "" if scope == "customer" else "*"
        a_budget(team, limit, scope=scope, scope_id=name)


def _held() -> set[Decimal]:
    return set(Hold.objects.values_list("amount", flat=True))


@pytest.mark.timeout(180)
def test_ten_of_two_hundred_pass_whatever_limits_them(crowd):
    """Nobody meets a deadlock, though every period and key is a first one."""
    rich, poor = a_customer(paid="1000"), a_customer(paid="10")
    _nested(rich, ["10", "20", "30", "40", "50"])
    _nested(poor, ["200"] * 5)
    few = PROCESSES * CALLS - 10
    assert crowd.reserve(rich, "1", subjects=5) == {"Held": 10, "InFlightExhausted": few}
    assert money_of(rich) == (1000, 0, 10)
    totals = BudgetPeriod.objects.filter(budget__customer=rich.pk, budget__scope="customer")
    assert totals.get().held == 10
    assert BudgetPeriod.objects.filter(budget__customer=rich.pk).count() > len(SCOPES)
    assert crowd.reserve(poor, "1", subjects=5) == {"Held": 10, "InFlightExhausted": few}
    assert money_of(poor) == (10, 0, 10)

    # Nobody ever saw this customer: 5 USD of welcome credit, given once.
    new = a_user().personal_organization
    assert crowd.reserve(new, "0.5", subjects=0) == {"Held": 10, "InFlightExhausted": few}
    assert Customer.objects.filter(pk=new.pk).count() == 1
    assert LedgerTxn.objects.filter(kind="promo").count() == 1
    assert money_of(new) == (0, 5, 5)
    assert _held() == {Decimal(1), Decimal("0.5")}
