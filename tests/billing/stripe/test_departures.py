"""A customer that somebody deleted at Stripe."""

from __future__ import annotations

import pytest

from billing.errors import PaymentMethodMissing, StripeRejected
from billing.models import AutoRecharge, StripeInbox, TopUp
from billing.services import verification
from billing.stripe import inbox, recharges
from billing.types import CustomerStatus, InboxState
from ideplatform.outbox.models import Fact
from tests.billing.stripe.stage import configure, deliver, spend


@pytest.fixture
def rich(team, stripe):
    """25 USD, bought with a card that was saved and refills the wallet."""
    team.buy("25", saves_card=True)
    deliver(stripe)
    configure(team)
    return team


def _deleted(team, stripe) -> str:
    payer = str(team.customer.stripe_customer_id)
    stripe.delete_customer(payer)
    return payer


def _is_recharging() -> bool:
    return AutoRecharge.objects.get().is_enabled


def _stops() -> int:
    return Fact.objects.filter(topic="auto_recharge.stopped").count()


def test_the_money_stays_and_the_card_is_forgotten(rich, stripe):
    _deleted(rich, stripe)
    deliver(stripe)
    deliver(stripe)
    assert (rich.balance, rich.customer.stripe_customer_id) == (25, None)
    assert (_is_recharging(), _stops()) == (False, 1)
    spend(rich, "20")
    assert recharges.run() == 0
    with pytest.raises(PaymentMethodMissing):
        configure(rich)
    assert TopUp.objects.count() == 1


def test_the_next_purchase_makes_a_new_customer(rich, stripe):
    old = _deleted(rich, stripe)
    deliver(stripe)
    rich.buy("30")
    deliver(stripe)
    assert rich.balance == 55
    assert rich.customer.stripe_customer_id not in (None, old)
    assert len(stripe.asked("POST", "/v1/customers")) == 2


def test_a_refund_and_a_dispute_of_before_still_count(rich, stripe):
    payment = str(TopUp.objects.get().payment_intent)
    _deleted(rich, stripe)
    deliver(stripe)
    stripe.refund(payment, 1_000)
    deliver(stripe)
    rich.buy("30")
    deliver(stripe)
    dispute = stripe.dispute(payment, 1_500)
    deliver(stripe)
    assert rich.balance == 30
    stripe.set_dispute(dispute["id"], "won")
    deliver(stripe)
    assert (rich.balance, rich.customer.status) == (45, CustomerStatus.ACTIVE)
    assert not StripeInbox.objects.filter(state=InboxState.FAILED).exists()
    assert verification.breaches() == []


def test_the_sweep_hears_of_it_when_no_webhook_came(rich, stripe):
    _deleted(rich, stripe)
    assert inbox.sweep() == 1
    assert inbox.apply_due() == 1
    assert rich.customer.stripe_customer_id is None


def test_nobody_told_us_and_the_first_refusal_does(rich, stripe):
    """Also an event of long ago: the purchase that Stripe refuses is the last of its kind."""
    _deleted(rich, stripe)
    with pytest.raises(StripeRejected):
        rich.start("30")
    assert (rich.customer.stripe_customer_id, _is_recharging()) == (None, False)
    rich.buy("30")
    deliver(stripe)
    assert rich.balance == 55


def test_a_recharge_that_is_refused_charges_nothing_and_ends_the_others(rich, stripe):
    _deleted(rich, stripe)
    spend(rich, "20")
    assert recharges.run() == 1
    assert (rich.balance, _is_recharging(), recharges.run()) == (5, False, 0)
    assert list(TopUp.objects.filter(kind="recharge").values_list("state", flat=True)) == ["failed"]
    assert len(stripe.of("charge")) == 1


def test_an_event_that_lies_deletes_nothing(rich, stripe):
    payer = stripe.of("customer")[0]
    stripe.tell("customer.deleted", payer)
    deliver(stripe)
    assert rich.customer.stripe_customer_id == payer["id"]
    assert _is_recharging()
    assert StripeInbox.objects.get(type="customer.deleted").state == InboxState.IGNORED


def test_somebody_elses_customer_is_none_of_ours(rich, stripe):
    other = stripe._new("customer", name="Somebody of another shop")["id"]
    stripe.delete_customer(other)
    deliver(stripe)
    assert rich.customer.stripe_customer_id is not None
    assert StripeInbox.objects.get(type="customer.deleted").state == InboxState.IGNORED
