"""Messages to Stripe: done once, however often Stripe is away, slow or forgetful."""

from __future__ import annotations

import pytest

from billing.errors import StripeUnavailable
from billing.models import LedgerTxn, StripeOutbox, TopUp
from billing.stripe import outbox, recharges, refunds
from billing.types import MessageKind, MessageState
from ideplatform.kit.db import database_now
from tests.billing.calls import usd
from tests.billing.stripe import stage
from tests.billing.stripe.stage import configure, deliver, spend, unconfigured

RECHARGE = "/v1/payment_intents"


@pytest.fixture
def low(team, stripe):
    """A team whose wallet is to be refilled now."""
    team.buy("25", saves_card=True)
    deliver(stripe)
    configure(team)
    spend(team, "20")
    stripe.outage_at = RECHARGE  # the card to charge is read elsewhere
    return team


def _message() -> StripeOutbox:
    return StripeOutbox.objects.get(kind=MessageKind.RECHARGE)


def _charges(stripe) -> int:
    return len(stripe.of("charge")) - 1  # the first one saved the card


def _ended_well(team, stripe) -> None:
    deliver(stripe)
    assert _message().state == MessageState.DONE
    assert (_charges(stripe), team.balance) == (1, usd("25"))
    assert LedgerTxn.objects.filter(kind="topup").count() == 2


@pytest.mark.parametrize("outage", ["refused", "lost", "broken"])
@pytest.mark.parametrize("hours", [1, 22])
def test_a_lost_answer_is_asked_again_by_the_same_key(low, stripe, outage, hours):
    stripe.outage = outage
    recharges.run()
    stripe.outage = ""
    stripe.answered = {} if outage == "broken" else stripe.answered
    stage.let_time_pass(stripe, hours=hours)
    assert outbox.send_due() == 1
    _ended_well(low, stripe)


@pytest.mark.parametrize("outage", ["refused", "lost", "broken"])
def test_thirty_hours_later_nothing_is_charged_twice(low, stripe, outage):
    """Stripe has forgotten the key: what it made, if anything, is found by its metadata."""
    stripe.outage = outage
    recharges.run()
    for _ in range(5):
        stage.let_time_pass(stripe, hours=6)
        outbox.send_due()
        recharges.run()
    assert _message().attempts == 6
    stripe.outage = ""
    stage.let_time_pass(stripe, hours=2)
    assert outbox.send_due() == 1
    _ended_well(low, stripe)
    assert len(stripe.asked("GET", RECHARGE)) >= 1


def test_an_error_that_stripe_repeats_for_a_day_ends_when_it_forgets(low, stripe):
    """Stripe answers a key alike for 24 hours, its own failures included."""
    stripe.outage = "broken"
    recharges.run()
    stripe.outage = ""
    stage.let_time_pass(stripe, hours=2)
    outbox.send_due()
    assert (_message().state, _charges(stripe)) == (MessageState.SENT, 0)
    stage.let_time_pass(stripe, hours=25)
    outbox.send_due()
    _ended_well(low, stripe)


def test_the_look_up_reads_every_page(low, stripe):
    stripe.outage = "lost"
    recharges.run()
    stripe.outage = ""
    payer = low.customer.stripe_customer_id
    for _ in range(120):
        stripe._intent(amount=1, currency="usd", customer=payer, metadata={})
    stage.let_time_pass(stripe, hours=30)
    outbox.send_due()
    _ended_well(low, stripe)
    assert len(stripe.asked("GET", RECHARGE)) == 2


def test_a_lost_refund_is_found_too(low, stripe):
    top_up = TopUp.objects.get(kind="checkout")
    message = refunds.request(top_up_id=top_up.pk, amount_minor=500, reason="duplicate")
    stripe.outage, stripe.outage_at = "lost", "/v1/refunds"
    with pytest.raises(StripeUnavailable):
        outbox.send(message)
    stripe.outage = ""
    stage.let_time_pass(stripe, hours=30)
    assert outbox.send_due() == 1
    deliver(stripe)
    assert (len(stripe.of("refund")), low.balance) == (1, 0)


def test_a_lost_customer_is_found_too(team, stripe):
    stripe.outage = "lost"
    with pytest.raises(StripeUnavailable):
        team.start()
    stripe.outage = ""
    stage.let_time_pass(stripe, hours=30)
    team.start()
    assert [one["id"] for one in stripe.of("customer")] == [team.customer.stripe_customer_id]


def test_who_is_sending_is_not_disturbed(low, stripe):
    stripe.outage = "lost"
    recharges.run()
    stripe.outage = ""
    with pytest.raises(StripeUnavailable) as refused:
        outbox.send(_message().pk)
    assert (refused.value.retry_after_s or 0) > 0
    assert outbox.send_due() == 0
    assert _message().attempts == 1


def test_pauses_grow_up_to_an_hour(low, stripe):
    stripe.outage = "refused"
    recharges.run()
    pauses = []
    for _ in range(12):
        stage.let_time_pass(stripe, hours=2)
        assert outbox.send_due() == 1
        pauses.append((_message().next_at - database_now()).total_seconds())
    assert pauses[0] <= 40
    assert min(pauses[-3:]) >= 1_790
    assert max(pauses) <= 3_600


def test_a_key_that_stripe_does_not_accept_only_delays(low, stripe):
    right, stripe.key = stripe.key, "sk_test_another"
    recharges.run()
    stripe.key = right
    assert StripeOutbox.objects.filter(kind=MessageKind.RECHARGE).count() == 0
    recharges.run()
    _ended_well(low, stripe)


def test_without_stripe_nothing_is_sent(low, stripe):
    asked = len(stripe.requests)
    StripeOutbox.objects.update(state=MessageState.SENT, response=None)
    with unconfigured():
        stage.let_time_pass(stripe, hours=1)
        assert outbox.send_due() == recharges.run() == 0
    assert len(stripe.requests) == asked
