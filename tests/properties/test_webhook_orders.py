"""Every order and repetition of a top-up's webhooks gives the same ledger."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
from django.db import connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.models import Clawback, CreditLot, LedgerTxn, TopUp
from billing.services import verification
from billing.stripe import api, inbox, payments
from billing.types import ClawbackState
from tests.billing.calls import usd
from tests.billing.funds import take
from tests.billing.stripe.stage import Team, books, deliver, post
from tests.fakes.stripe import FakeStripe, Refused

# One top-up of 25 USD; amounts in cents. What Stripe itself refuses does not happen.
_AMOUNTS = st.integers(min_value=1, max_value=2_500)
_CHANCES = st.lists(
    st.one_of(
        st.tuples(st.just("refund"), _AMOUNTS),
        st.tuples(st.just("refund_fails"), st.integers(0, 3)),
        st.tuples(st.just("dispute"), _AMOUNTS),
        st.tuples(st.just("dispute_won"), st.integers(0, 3)),
        st.tuples(st.just("dispute_lost"), st.integers(0, 3)),
        st.tuples(st.just("leave"), st.just(0)),
        st.tuples(st.just("tell"), st.integers(0, 20)),
    ),
    max_size=8,
)
_relaxed = partial(
    settings,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@contextmanager
def _tried() -> Iterator[None]:
    """What happens inside is undone."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


@pytest.fixture
def team(db, stripe) -> Team:
    return Team(stripe)


def _buy(team: Team, stripe: FakeStripe) -> str:
    """A paid top-up of a new account, nothing of it told yet."""
    stripe.events.clear()
    for kind in ("refund", "dispute", "event"):
        stripe.objects.pop(kind, None)
    return team.buy("25")[1]


def _happen(stripe: FakeStripe, payment: str, chance: tuple[str, int]) -> None:
    match chance:
        case ("refund", amount):
            with _unless_refused():
                stripe.refund(payment, amount, status="pending")
        case ("dispute", amount):
            stripe.dispute(payment, amount)
        case ("leave", _):
            payer = stripe.objects["payment_intent"][payment]["customer"]
            if not stripe.objects["customer"][payer].get("deleted"):
                stripe.delete_customer(payer)
        case ("refund_fails", number) if found := stripe.of("refund"):
            stripe.set_refund(found[number % len(found)]["id"], "failed")
        case (("dispute_won" | "dispute_lost") as what, number) if found := stripe.of("dispute"):
            one = found[number % len(found)]
            if one["status"] == "needs_response":
                stripe.set_dispute(one["id"], what.removeprefix("dispute_"))


@contextmanager
def _unless_refused() -> Iterator[None]:
    try:
        yield
    except Refused:
        return


def _result(team: Team) -> dict[str, Any]:
    """Everything that must not depend on who told us what when."""
    return {
        "books": books(),
        "balance": team.balance,
        "customer": (team.customer.status, team.customer.parked_by),
        "payer": team.customer.stripe_customer_id,
        "top_up": list(TopUp.objects.values_list("state", "payment_intent")),
        "clawbacks": sorted(Clawback.objects.values_list("pk", "state", "amount_minor")),
        "lots": sorted(CreditLot.objects.values_list("amount", "remaining")),
    }


@given(chances=_CHANCES, data=st.data())
@_relaxed(max_examples=25)
def test_any_order_of_what_happened_gives_one_ledger(team, stripe, chances, data):
    with _tried():
        payment = _buy(team, stripe)
        for chance in chances:
            _happen(stripe, payment, chance)
        with _tried():
            deliver(stripe)
            wanted = _result(team)
        told = data.draw(st.permutations(stripe.events + stripe.events))
        deliver(stripe, *told)
        assert _result(team) == wanted


@given(chances=_CHANCES, spent=st.sampled_from(["0", "7.5", "25"]))
@_relaxed(max_examples=25)
def test_events_told_at_any_moment_end_in_the_same_balance(team, stripe, chances, spent):
    with _tried():
        payment = _buy(team, stripe)
        if usd(spent):
            take(team.organization, usd(spent))
        for chance in chances:
            _happen(stripe, payment, chance)
            if chance[0] == "tell":
                deliver(stripe, stripe.events[chance[1] % len(stripe.events)])
        deliver(stripe)
        gone = sum(
            one["amount"]
            for one in stripe.of("refund") + stripe.of("dispute")
            if one["status"] not in ("failed", "won")
        )
        assert team.balance == usd("25") - usd(spent) - usd(str(gone)) / 100
        standing = Clawback.objects.filter(state=ClawbackState.STANDING)
        assert sum(standing.values_list("amount_minor", flat=True)) == gone
        assert (team.customer.status == "parked") == (team.balance < 0 and gone > 0)
        before = _result(team)
        payments.settle(payment)
        assert _result(team) == before
        assert verification.breaches() == []


def test_an_old_reading_that_comes_last_changes_nothing(team, stripe):
    _, payment = team.buy("25")
    refund = stripe.refund(payment, 1_000, status="pending")
    dispute = stripe.dispute(payment, 1_500)
    old = (
        api.payment(payment),
        [
            *payments._refunds(api.refunds_of(payment)),
            *payments._disputes(api.disputes_of(payment)),
        ],
    )
    assert len(old[1]) == 2
    stripe.set_refund(refund["id"], "failed")
    stripe.set_dispute(dispute["id"], "won")
    payments.settle(payment)
    before = _result(team)
    payments._apply(TopUp.objects.get().pk, *old)
    assert _result(team) == before
    assert team.balance == usd("25")


def test_the_same_and_different_events_at_once_are_one_credit(committed_db, stripe):
    team = Team(stripe)
    _, payment = team.buy("25")
    stripe.refund(payment, 500)
    stripe.refund(payment, 700)
    for event in stripe.events:
        assert post(stripe, event).status_code == 200
    told = [event["id"] for event in stripe.events]
    _at_once(
        [partial(inbox.apply, one) for one in told * 2] + [partial(payments.settle, payment)] * 4
    )
    kinds = sorted(LedgerTxn.objects.values_list("kind", flat=True))
    assert (kinds, team.balance) == (["refund", "refund", "topup"], usd("13"))


def _at_once(works: list[Callable[[], object]]) -> None:
    gate, failed = threading.Barrier(len(works)), []

    def run(work: Callable[[], object]) -> None:
        gate.wait()
        try:
            work()
        except Exception as wrong:  # noqa: BLE001  (whatever it is, the test fails of it)
            failed.append(wrong)
        finally:
            connection.close()

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failed == []
