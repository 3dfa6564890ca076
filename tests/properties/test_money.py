"""Random operations on money equal a serial model, and every invariant holds after each.

One step is one operation, or many at once on eight threads. At once, who is admitted depends on
the order; that the admitted fit, and that nobody was refused who would still fit, does not.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from functools import partial
from typing import Any
from uuid import UUID

import pytest
from django.db import IntegrityError, connection, connections
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from billing.models import BudgetPeriod, Hold, LedgerTxn, UsageEvent
from billing.services import holds, ledger, usage, verification
from billing.types import LotKind, Reservation
from ideplatform.kit import ids
from ideplatform.kit.errors import PlatformError
from tests import databases, shares
from tests.billing.calls import SIMULATOR, publish, tokens
from tests.billing.funds import a_budget, a_customer, a_reservation, give, money_of, the_call
from tests.factories import a_user
from tests.properties.money_model import Budget, Purse

QUICK = settings(
    max_examples=30,
    stateful_step_count=18,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],  # a smaller example is not worth the minutes it takes to find
    suppress_health_check=list(HealthCheck),
)
PRICE = Decimal("0.000001")
AMOUNTS = st.integers(1, 40).map(lambda n: Decimal(n) / 10)
COSTS = st.integers(0, 5_000_000)  # tokens: up to 5 USD, often more than was reserved
# Seeds, not draws: what Hypothesis draws must not depend on which thread came first.
PICK = st.integers(0, 10**6).map(random.Random)


class Money(RuleBasedStateMachine):
    """One customer, two users, three budgets."""

    start = Decimal(0)
    """Paid credit beside what is drawn, USD."""

    @initialize(paid=AMOUNTS, promo=AMOUNTS)
    def open(self, paid: Decimal, promo: Decimal) -> None:
        self.operator = a_user(is_staff=True).pk  # of each run its own: a day's gifts are limited
        self.team = a_customer(paid=str(self.start + paid))
        give(self.team, promo, kind=LotKind.PROMO, actor_id=self.operator)
        self.users = [ids.new(), ids.new()]
        limits = self._limits()
        self.budgets = [
            a_budget(self.team, f"{limit.hard}", **_scope(limit.user)) for limit in limits
        ]
        self.model = Purse(budgets=limits, paid=self.start + paid, promo=promo)
        self.calls: dict[UUID, Reservation] = {}

    def _limits(self) -> list[Budget]:
        return [
            Budget(Decimal(30), None),
            Budget(Decimal(9), self.users[0]),
            Budget(Decimal(3), self.users[1]),
        ]

    @rule(amount=AMOUNTS, kind=st.sampled_from(LotKind))
    def top_up(self, amount: Decimal, kind: LotKind) -> None:
        give(self.team, amount, kind=kind, actor_id=self.operator)
        if kind is LotKind.PAID:
            self.model.paid += amount
        else:
            self.model.promo += amount

    @rule(amount=AMOUNTS, number=st.integers(0, 1), dispatched=st.booleans())
    def reserve(self, amount: Decimal, number: int, dispatched: bool) -> None:
        user = self.users[number]
        call = self._call(amount, user, is_dispatched=dispatched)
        expected = self.model.refusal(amount, user)
        (answer,) = holds.reserve_many([call])
        assert (answer.code if isinstance(answer, PlatformError) else None) == expected
        if expected is None:
            self.model.reserve(call.hold_id, amount, user)

    @rule(chance=PICK, more=AMOUNTS)
    def extend(self, chance: random.Random, more: Decimal) -> None:
        key = _one_of(self._live(), chance)
        if key is None:
            return
        call = self.model.calls[key]
        refused = self.model.refusal(more, call.user) is not None
        (answer,) = holds.extend_many([(key, call.amount + more)])
        assert (answer is not None) == refused
        if not refused:
            self.model.extend(key, call.amount + more)

    @rule(chance=PICK, count=COSTS, repeats=st.integers(1, 3))
    def settle(self, chance: random.Random, count: int, repeats: int) -> None:
        key = _one_of(self._in("dispatched", "voided", "expired"), chance)
        if key is None:
            return
        record = the_call(self.calls[key], tokens=tokens(input=count))
        for _ in range(repeats):
            usage.settle(record)
        self.model.settle(key, count * PRICE)

    @rule(chance=PICK)
    def void(self, chance: random.Random) -> None:
        key = _one_of(self._live(), chance)
        if key is None:
            return
        assert (holds.void_many([key, key]), holds.void_many([key])) == (1, 0)
        self.model.release(key, "voided")

    @rule(chance=PICK)
    def die(self, chance: random.Random) -> None:
        """The lease of one call ends; the sweep comes."""
        key = _one_of(self._live(), chance)
        if key is None:
            return
        Hold.objects.filter(pk=key).update(expires_at="2020-01-01T00:00Z")
        was_dispatched = Hold.objects.get(pk=key).state == "dispatched"
        assert holds.sweep() == was_dispatched
        if was_dispatched:
            self.model.settle(key, Decimal(0))  # it never answered: our loss
        else:
            self.model.release(key, "expired")

    @rule(chance=PICK)
    def refund(self, chance: random.Random) -> None:
        key = _one_of(self._refundable(), chance)
        if key is None:
            return
        event = UsageEvent.objects.get(hold_id=key)
        assert event.txn_id is not None
        ledger.reverse(txn_id=event.txn_id, actor_id=self.operator, reason="refund")
        self.model.refund(key)

    @rule(
        chance=PICK,
        amounts=st.lists(st.tuples(AMOUNTS, st.integers(0, 1)), min_size=2, max_size=12),
        count=COSTS,
    )
    def all_at_once(
        self, chance: random.Random, amounts: list[tuple[Decimal, int]], count: int
    ) -> None:
        """New calls, endings and repetitions together, on eight threads."""
        ending = {key: chance.choice(["settle", "void"]) for key in self._live()[:4]}
        new = [self._call(amount, self.users[number]) for amount, number in amounts]
        batches = [new[n : n + 3] for n in range(0, len(new), 3)]
        works: list[Callable[[], Any]] = [partial(holds.reserve_many, batch) for batch in batches]
        for key, how in ending.items():
            record = the_call(self.calls[key], tokens=tokens(input=count))
            end: Callable[[], Any] = (
                partial(usage.settle_many, [record, record])
                if how == "settle"
                else partial(holds.void_many, [key])
            )
            works += [end, end] if how == "settle" else [end]
        chance.shuffle(works)
        _together(works)
        for key, how in ending.items():
            if how == "void":
                self.model.release(key, "voided")
        self._admit_what_was(new)
        # Whose credit is promotional depends on the order of settlements that cost the same alike.
        for key, how in ending.items():
            if how == "settle":
                self.model.settle(key, count * PRICE)
                self.model.calls[key].parts = _parts(key)
        if not ending:
            for call in new:
                if call.hold_id not in self.model.calls:
                    user = call.user_id
                    assert user is not None
                    assert self.model.refusal(call.quote.bound, user) is not None

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "model"):
            return
        assert money_of(self.team) == (self.model.paid, self.model.promo, self.model.held)
        for budget, modelled in zip(self.budgets, self.model.budgets, strict=True):
            period = BudgetPeriod.objects.filter(budget=budget).first()
            found = (period.spent, period.held) if period else (0, 0)
            assert found == (modelled.spent, modelled.held)
        assert verification.breaches() == []

    def _call(self, amount: Decimal, user: UUID, **facts: Any) -> Reservation:
        # Longer than all stories together: a lease ends when a story says so.
        call = a_reservation(self.team, str(amount), user_id=user, lease_s=86_400, **facts)
        self.calls[call.hold_id] = call
        return call

    def _admit_what_was(self, new: list[Reservation]) -> None:
        granted = set(
            Hold.objects.filter(pk__in=[call.hold_id for call in new]).values_list("pk", flat=True)
        )
        for call in new:
            if call.hold_id in granted and call.user_id is not None:
                self.model.reserve(call.hold_id, call.quote.bound, call.user_id)

    def _in(self, *states: str) -> list[UUID]:
        return [key for key, call in self.model.calls.items() if call.state in states]

    def _live(self) -> list[UUID]:
        return self._in("dispatched")

    def _refundable(self) -> list[UUID]:
        return [key for key in self._in("settled") if any(self.model.calls[key].parts)]


class RichMoney(Money):
    """A full wallet and no budget: what fits as a whole set is reserved as one."""

    start = Decimal(2_000)

    def _limits(self) -> list[Budget]:
        return []


def _scope(user: UUID | None) -> dict[str, str]:
    return {} if user is None else {"scope": "user", "scope_id": str(user)}


def _one_of(keys: list[UUID], chance: random.Random) -> UUID | None:
    return chance.choice(keys) if keys else None


def _parts(key: UUID) -> tuple[Decimal, Decimal]:
    """What a settlement took of paid and promotional money."""
    txn = LedgerTxn.objects.filter(idempotency_key=f"settle:{key}").first()
    if txn is None:
        return Decimal(0), Decimal(0)
    taken = dict(txn.entries.values_list("account__kind", "amount"))
    return -taken.get("wallet", Decimal(0)), -taken.get("wallet_promo", Decimal(0))


def _together(works: list[Callable[[], Any]]) -> None:
    def alone(work: Callable[[], Any]) -> Any:
        try:
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(alone, works))


@pytest.fixture
def priced(committed_db: str) -> None:
    publish(SIMULATOR)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(("machine", "examples"), [(Money, 30), (RichMoney, 10)])
def test_money_equals_its_serial_model(
    priced: None, machine: type[RuleBasedStateMachine], examples: int
) -> None:
    run_state_machine_as_test(machine, settings=settings(QUICK, max_examples=examples))


@pytest.mark.scale
@pytest.mark.timeout(1_800)
@pytest.mark.parametrize("machine", [Money, RichMoney])
def test_money_equals_its_serial_model_at_length(
    priced: None, machine: type[RuleBasedStateMachine]
) -> None:
    run_state_machine_as_test(
        machine, settings=settings(QUICK, max_examples=200, stateful_step_count=50)
    )


# --- tests of the tests: each planted fault must be noticed

MUTANTS = {
    "a wallet keeps what is no longer held": (
        "billing_free",
        "SET held = a.held - freed.amount",
        "SET held = a.held",
    ),
    "a period keeps what is no longer held": (
        "billing_free",
        "SET held = p.held - freed.amount",
        "SET held = p.held",
    ),
    "what runs is not counted": ("billing_admit", "has - reserved < amount", "has < amount"),
    "a full budget admits": ("billing_admit", "tight.room < amount", "tight.room < -1000"),
    "the emptiest budget decides": (
        "billing_admit",
        "ORDER BY b.hard + p.granted - p.spent - p.held, p.id",
        "ORDER BY b.hard + p.granted - p.spent - p.held DESC, p.id",
    ),
    "a budget forgets what was spent": (
        "billing_settle",
        "SET spent = p.spent + s.amount",
        "SET spent = s.amount",
    ),
    "a settled hold stays live": ("billing_settle", "state = 'settled'", "state = h.state"),
    "promotional credit burns last": (
        "billing_post_usage",
        "ORDER BY a.kind = 'wallet'",
        "ORDER BY a.kind <> 'wallet'",
    ),
    "lots never burn": (
        "billing_post_usage",
        "SET remaining = l.remaining - u.amount",
        "SET remaining = l.remaining",
    ),
    "a wallet's cache lags": (
        "billing_post_usage",
        "SET posted = a.posted + s.amount",
        "SET posted = a.posted",
    ),
    "our own loss is not booked": (
        "billing_post_usage",
        "('provider_cogs', -p.cost)",
        "('provider_cogs', -p.billed)",
    ),
    "an extension is free": (
        "billing_extend",
        "one.amount - h.budget_amount, one.amount - h.budget_amount, true)",
        "0, 0, true)",
    ),
    "a void gives back what is no longer held": (
        "billing_release",
        "AND h.state IN ('pending', 'dispatched')",
        "AND h.state <> 'settled'",
    ),
    "revenue is what it cost us and a little more": (
        "billing_post_usage",
        "('revenue_usage', p.billed)",
        "('revenue_usage', p.billed + 0.000000000001)",
    ),
    "a repeated request pays again": (
        "billing_settle",
        "fresh := billing_insert_events(events, true);",
        "fresh := billing_insert_events(events, true); fresh := ARRAY(SELECT e.id FROM usage_events"
        " e JOIN unnest(events) c ON c.request_id = e.request_id AND c.attempt = e.attempt);",
    ),
}
RICH_MUTANTS = {
    "a whole set holds nothing": (
        "billing_reserve_all",
        "SET held = a.held + want.asked",
        "SET held = a.held",
    ),
    "a whole set is never too poor": (
        "billing_all_fit",
        "- want.asked < 20 * want.most",
        "- want.asked < -1000000",
    ),
}
NOTICED = (AssertionError, IntegrityError, PlatformError)
"""What the model, the database's guards or the services say. A mutant that is no valid function
would fail in another way, and prove nothing."""


def _plant(name: str, sound: str, broken: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_get_functiondef(%s::regproc)", [name])
        source = cursor.fetchone()[0]
        assert source.count(sound) == 1
        cursor.execute(source.replace(sound, broken).replace("%", "%%"), [])


class Alone(Money):
    """Each story in a database of its own: what a fault broke in one is not found in the next, so
    Hypothesis meets it again where it was and says what it was."""

    def __init__(self) -> None:
        super().__init__()
        self._place = databases.clone()
        self._place.__enter__()

    def teardown(self) -> None:
        self._place.__exit__(None, None, None)


class Spender(Alone, RichMoney):
    """A wallet that calls can empty, although no budget limits it."""

    start = Decimal(30)


def _require_noticed(machine: type[RuleBasedStateMachine]) -> None:
    with pytest.raises(Exception) as met:  # its parts are judged
        run_state_machine_as_test(machine, settings=settings(QUICK, max_examples=60))
    assert all(isinstance(one, NOTICED) for one in _parts_of(met.value)), met.value


def _parts_of(error: BaseException) -> Iterator[BaseException]:
    """Hypothesis bundles several faults, and one that came back differently."""
    if isinstance(error, BaseExceptionGroup):
        for one in error.exceptions:
            yield from _parts_of(one)
    else:
        yield error


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", shares.every(2, MUTANTS))
def test_a_planted_fault_is_noticed(priced: None, fault: str) -> None:
    _plant(*MUTANTS[fault])
    _require_noticed(Alone)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("fault", RICH_MUTANTS)
def test_a_planted_fault_in_whole_sets_is_noticed(priced: None, fault: str) -> None:
    _plant(*RICH_MUTANTS[fault])
    _require_noticed(Spender)
