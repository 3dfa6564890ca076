"""A process killed at each named point of money: what it had begun ends once, to the decimal.

The stages of a whole run are in `test_stages.py`; these are the services under it.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import F

from accounts.models import Organization
from billing.models import Budget, Hold, LedgerTxn, StripeInbox, StripeOutbox, TopUp, UsageEvent
from billing.services import holds, ledger, usage, verification
from billing.services.ledger import Grant
from billing.stripe import inbox, outbox
from billing.types import InboxState, LotKind, MessageKind, MessageState, Reservation
from ideplatform.kit import clock
from tests.billing.calls import SIMULATOR, publish, usd
from tests.billing.funds import a_budget, a_customer, a_reservation, give, money_of, period_of
from tests.billing.funds import the_call as ended
from tests.billing.stripe import stage
from tests.billing.stripe.stage import Team, configure, deliver, post, spend
from tests.faults.victims import Victims, some_victims
from tests.waiting import eventually

pytestmark = pytest.mark.faults
COST = Decimal("0.0014")  # of `the_call`


@pytest.fixture(scope="module")
def victims() -> Iterator[Victims]:
    with some_victims() as some:
        yield some


@pytest.fixture
def team(committed_db) -> Iterator[Organization]:
    """10 USD of paid credit inside a budget of 8; at the end the books are sound."""
    publish(SIMULATOR)
    organization = a_customer(paid="10")
    a_budget(organization, "8")
    yield organization
    assert verification.breaches() == []


def _told(call: Reservation, amount: str = "1") -> dict[str, Any]:
    return {
        "organization": call.organization_id,
        "hold_id": call.hold_id,
        "request_id": call.request_id,
        "amount": amount,
    }


def _budget(team: Organization) -> tuple[Any, Any]:
    return period_of(Budget.objects.get(customer=team.pk))


def _leases_end() -> None:
    Hold.objects.filter(state__in=["pending", "dispatched"]).update(expires_at="2020-01-01T00:00Z")


def _states() -> list[str]:
    return list(Hold.objects.values_list("state", flat=True))


def test_after_a_reserve_the_caller_that_asks_again_has_the_same_hold(team, victims):
    call = a_reservation(team, "1")
    victims.die("reserve", at="after_reserve", call=_told(call))
    assert money_of(team) == (10, 0, 1)
    again = holds.reserve(call)
    assert (again.is_replay, again.hold_id) == (True, call.hold_id)
    assert usage.settle(ended(call)).billed_usd == COST
    assert money_of(team) == (10 - COST, 0, 0)


def test_after_a_reserve_that_nobody_asks_for_again_the_loss_is_ours(team, victims):
    call = a_reservation(team, "1")
    victims.die("reserve", at="after_reserve", call=_told(call))
    _leases_end()
    assert (holds.sweep(), holds.sweep()) == (1, 0)
    event = UsageEvent.objects.get()
    assert (event.outcome, event.accuracy, event.billed_cost) == ("crash_recovered", "estimated", 0)
    assert money_of(team) == (10, 0, 0)


def test_inside_a_transaction_nothing_was_ever_reserved(team, victims):
    call = a_reservation(team, "1")
    victims.die("reserve", at="before_commit", call=_told(call), is_joined=True)
    assert (money_of(team), _states()) == ((10, 0, 0), [])
    assert not holds.reserve(call).is_replay  # and no lock of the dead process is in the way
    assert holds.void_many([call.hold_id]) == 1


def test_after_a_dispatch_the_call_counts_as_sent(team, victims):
    call = a_reservation(team, "1", is_dispatched=False)
    holds.reserve(call)
    victims.die("dispatch", at="after_dispatch", hold_id=call.hold_id)
    assert _states() == ["dispatched"]
    assert holds.dispatch_many([call.hold_id], lease_s=60) == 0
    _leases_end()
    assert holds.sweep() == 1
    assert UsageEvent.objects.get().billed_cost == 0


def test_after_an_extension_the_same_one_again_takes_nothing_more(team, victims):
    call = a_reservation(team, "1")
    holds.reserve(call)
    victims.die("extend", at="after_extend", hold_id=call.hold_id, amount="3")
    assert (money_of(team), _budget(team)) == ((10, 0, 3), (0, 3))
    holds.extend(hold_id=call.hold_id, amount_usd=usd("3"))
    assert (money_of(team), _budget(team)) == ((10, 0, 3), (0, 3))
    usage.settle(ended(call))
    assert (money_of(team), _budget(team)) == ((10 - COST, 0, 0), (COST, 0))


def test_in_a_settlement_nothing_is_half_done(team, victims):
    call = a_reservation(team, "1")
    holds.reserve(call)
    victims.die("settle", at="in_settlement", call=_told(call))
    assert (money_of(team), _states()) == ((10, 0, 1), ["dispatched"])
    assert not UsageEvent.objects.exists()
    assert not usage.settle(ended(call)).already_settled
    assert (money_of(team), _budget(team)) == ((10 - COST, 0, 0), (COST, 0))


def test_after_a_void_the_money_came_back_once(team, victims):
    call = a_reservation(team, "1")
    holds.reserve(call)
    victims.die("void", at="after_void", hold_id=call.hold_id)
    assert (holds.void_many([call.hold_id]), holds.sweep()) == (0, 0)
    assert (money_of(team), _budget(team), _states()) == ((10, 0, 0), (0, 0), ["voided"])


def test_in_an_expiry_the_next_sweep_releases(team, victims):
    call = a_reservation(team, "1", is_dispatched=False)
    holds.reserve(call)
    _leases_end()
    victims.die("sweep", at="in_expiry")
    assert (money_of(team), _states()) == ((10, 0, 1), ["pending"])
    assert holds.sweep() == 0  # nothing was sent, so there is nothing to recover
    assert (money_of(team), _budget(team), _states()) == ((10, 0, 0), (0, 0), ["expired"])


def test_in_a_sweep_the_next_one_recovers_every_call_once(team, victims):
    calls = [a_reservation(team, "1") for _ in range(3)]
    holds.reserve_many(calls)
    _leases_end()
    victims.die("sweep", at="in_sweep")
    assert (money_of(team), set(_states())) == ((10, 0, 3), {"dispatched"})
    assert eventually(holds.sweep) == 3  # the dead one's locks end with its connection
    assert holds.sweep() == 0
    assert UsageEvent.objects.filter(outcome="crash_recovered").count() == 3
    assert money_of(team) == (10, 0, 0)


def test_in_the_expiry_of_a_lot_it_is_breakage_once(team, victims):
    give(team, usd("2"), kind=LotKind.PROMO, grant=Grant(expires_at=clock.now()))
    victims.die("sweep", at="in_lot_expiry")
    assert money_of(team) == (10, 2, 0)
    holds.sweep()
    assert money_of(team) == (10, 0, 0)
    assert ledger.total_of("breakage") == 2


@pytest.fixture
def payer(committed_db, stripe) -> Iterator[Team]:
    yield Team(stripe)
    assert verification.breaches() == []


def _events_become_due() -> None:
    """What a dead process had claimed is free again."""
    StripeInbox.objects.filter(state=InboxState.RECEIVED).update(next_at=F("received_at"))


@pytest.mark.parametrize(("at", "credited"), [("in_payment", 0), ("after_payment", 25)])
def test_a_payment_is_credited_once(payer, stripe, victims, at, credited):
    payer.buy("25")
    told = next(one for one in stripe.events if one["type"] == "payment_intent.succeeded")
    assert post(stripe, told).status_code == 200
    victims.die("apply", at=at, event_id=told["id"])
    assert payer.balance == credited
    assert StripeInbox.objects.get().state == InboxState.RECEIVED
    inbox.apply(told["id"])  # the dead one's claim still stands
    assert payer.balance == credited
    _events_become_due()
    assert inbox.apply_due() == 1
    deliver(stripe)
    assert (payer.balance, LedgerTxn.objects.count()) == (25, 1)
    assert StripeInbox.objects.get(event_id=told["id"]).state == InboxState.DONE


@pytest.mark.parametrize(("at", "balance"), [("in_payment", 25), ("after_payment", 15)])
def test_a_refund_is_taken_once(payer, stripe, victims, at, balance):
    _, payment = payer.buy("25")
    deliver(stripe)
    stripe.refund(payment, 1_000)
    told = stripe.events[-1]
    assert post(stripe, told).status_code == 200
    victims.die("apply", at=at, event_id=told["id"])
    assert payer.balance == balance
    _events_become_due()
    assert inbox.apply_due() == 1
    assert (payer.balance, LedgerTxn.objects.filter(kind="refund").count()) == (15, 1)


@pytest.mark.parametrize("hours", [1, 30])
@pytest.mark.parametrize(("at", "asked"), [("before_stripe", 0), ("after_stripe", 1)])
def test_a_saved_card_is_charged_once(payer, stripe, victims, at, asked, hours):
    payer.buy("25", saves_card=True)
    deliver(stripe)
    configure(payer)
    spend(payer, "20")
    victims.die("recharge", at=at)
    message = StripeOutbox.objects.get(kind=MessageKind.RECHARGE)
    assert message.state == MessageState.SENT
    assert len(stripe.asked("POST", "/v1/payment_intents")) == asked
    assert outbox.send_due() == 0  # the dead one's lease still stands
    stage.let_time_pass(stripe, hours=hours)
    assert outbox.send_due() == 1
    deliver(stripe)
    assert len(stripe.of("charge")) == 2  # the first one saved the card
    assert payer.balance == 25
    assert TopUp.objects.filter(state="paid").count() == 2
