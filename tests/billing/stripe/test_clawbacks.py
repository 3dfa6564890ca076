"""Refunds and disputes take back what a top-up brought."""

from __future__ import annotations

import pytest

from billing.errors import NotRefundable, StripeRejected
from billing.models import Clawback, CreditLot, LedgerTxn, TopUp
from billing.stripe import outbox, refunds
from billing.types import ClawbackState, CustomerStatus, ParkReason, TopUpState
from tests.billing.calls import usd
from tests.billing.funds import give
from tests.billing.stripe.stage import deliver, spend


@pytest.fixture
def paid(team, stripe):
    """A top-up of 25 USD and its payment."""
    top_up, payment = team.buy("25")
    deliver(stripe)
    return top_up, payment


def _parked(team):
    customer = team.customer
    return customer.status, customer.parked_by


def test_a_refund_takes_its_part_back(team, stripe, paid):
    _, payment = paid
    stripe.refund(payment, 1_000)
    deliver(stripe)
    deliver(stripe)
    assert (team.balance, TopUp.objects.get().state) == (usd("15"), TopUpState.PAID)
    stripe.refund(payment, 1_500)
    deliver(stripe)
    assert (team.balance, TopUp.objects.get().state) == (0, TopUpState.REFUNDED)
    assert sorted(LedgerTxn.objects.values_list("kind", flat=True)) == ["refund", "refund", "topup"]
    assert _parked(team) == (CustomerStatus.ACTIVE, "")


def test_a_refund_burns_the_lot_of_its_own_top_up(team, stripe):
    give(team.organization, usd("10"))  # older, so usage would burn it first
    _, payment = team.buy("25")
    stripe.refund(payment, 2_000)
    deliver(stripe)
    assert sorted(CreditLot.objects.values_list("amount", "remaining")) == [(10, 10), (25, 5)]


def test_what_was_taken_back_is_posted_oldest_first(team, stripe, paid):
    _, payment = paid
    made = [stripe.refund(payment, 100 * number)["id"] for number in (1, 2, 3)]
    for number, refund_id in enumerate(made):
        stripe.objects["refund"][refund_id]["created"] -= 10 - number
    deliver(stripe)
    posted = LedgerTxn.objects.filter(kind="refund").order_by("pk")
    assert list(posted.values_list("idempotency_key", flat=True)) == [
        f"refund:{refund_id}" for refund_id in made
    ]


def test_a_refund_that_failed_is_undone(team, stripe, paid):
    _, payment = paid
    refund = stripe.refund(payment, 2_500, status="pending")
    deliver(stripe)
    assert (team.balance, TopUp.objects.get().state) == (0, TopUpState.REFUNDED)
    stripe.set_refund(refund["id"], "failed")
    deliver(stripe)
    assert (team.balance, TopUp.objects.get().state) == (usd("25"), TopUpState.PAID)
    assert Clawback.objects.get().state == ClawbackState.UNDONE


def test_a_refund_that_failed_before_we_heard_of_it_moves_nothing(team, stripe, paid):
    _, payment = paid
    refund = stripe.refund(payment, 2_500, status="pending")
    stripe.set_refund(refund["id"], "failed")
    deliver(stripe)
    assert (team.balance, LedgerTxn.objects.count()) == (usd("25"), 1)


def test_what_was_spent_leaves_the_wallet_below_zero_and_the_customer_parked(team, stripe, paid):
    _, payment = paid
    spend(team, "20")
    stripe.refund(payment, 2_500)
    deliver(stripe)
    assert team.balance == usd("-20")
    assert _parked(team) == (CustomerStatus.PARKED, ParkReason.CLAWBACK)
    team.buy("30")
    deliver(stripe)
    assert team.balance == usd("10")
    assert _parked(team) == (CustomerStatus.ACTIVE, "")


def test_an_operators_park_is_not_ended_by_a_payment(team, stripe, paid):
    _, payment = paid
    type(team.customer).objects.update(status=CustomerStatus.PARKED)
    stripe.refund(payment, 500)
    team.buy("30")
    deliver(stripe)
    assert _parked(team) == (CustomerStatus.PARKED, "")


def test_a_dispute_takes_the_money_until_it_is_won(team, stripe, paid):
    _, payment = paid
    spend(team, "20")
    dispute = stripe.dispute(payment, 2_500)
    deliver(stripe)
    assert (team.balance, TopUp.objects.get().state) == (usd("-20"), TopUpState.DISPUTED)
    assert _parked(team) == (CustomerStatus.PARKED, ParkReason.CLAWBACK)
    stripe.set_dispute(dispute["id"], "under_review")
    deliver(stripe)
    assert team.balance == usd("-20")
    stripe.set_dispute(dispute["id"], "won")
    deliver(stripe)
    assert (team.balance, TopUp.objects.get().state) == (usd("5"), TopUpState.PAID)
    assert _parked(team) == (CustomerStatus.ACTIVE, "")


def test_a_lost_dispute_keeps_the_money(team, stripe, paid):
    _, payment = paid
    dispute = stripe.dispute(payment, 2_500)
    stripe.set_dispute(dispute["id"], "lost")
    deliver(stripe)
    assert (team.balance, TopUp.objects.get().state) == (0, TopUpState.DISPUTED)


def test_an_inquiry_takes_nothing_until_it_becomes_a_dispute(team, stripe, paid):
    _, payment = paid
    inquiry = stripe.dispute(payment, 2_500, status="warning_needs_response")
    deliver(stripe)
    assert (team.balance, Clawback.objects.count()) == (usd("25"), 0)
    stripe.set_dispute(inquiry["id"], "needs_response")
    deliver(stripe)
    assert team.balance == 0


def test_a_refund_that_we_ask_for_is_made_once_and_posted(team, stripe, paid):
    top_up, _payment = paid
    message = refunds.request(
        top_up_id=top_up.pk, amount_minor=1_000, reason="requested_by_customer"
    )
    assert team.balance == usd("25")
    outbox.send(message)
    outbox.send(message)
    assert team.balance == usd("15")
    (asked,) = stripe.asked("POST", "/v1/refunds")
    assert asked["amount"] == 1_000
    assert asked["metadata"]["outbox_id"] == str(message)
    deliver(stripe)
    assert team.balance == usd("15")


@pytest.mark.parametrize("amount_minor", [0, -1, 2_501])
def test_no_more_is_refunded_than_was_paid(team, stripe, paid, amount_minor):
    top_up, _ = paid
    with pytest.raises(NotRefundable):
        refunds.request(top_up_id=top_up.pk, amount_minor=amount_minor, reason="duplicate")
    assert stripe.asked("POST", "/v1/refunds") == []


def test_refunds_on_their_way_count(team, stripe, paid):
    top_up, _payment = paid
    first = refunds.request(top_up_id=top_up.pk, amount_minor=2_000, reason="duplicate")
    with pytest.raises(NotRefundable):
        refunds.request(top_up_id=top_up.pk, amount_minor=501, reason="duplicate")
    outbox.send(first)
    assert refunds.refundable(TopUp.objects.get()) == 500
    stripe.set_refund(stripe.of("refund")[0]["id"], "failed")
    deliver(stripe)
    assert refunds.refundable(TopUp.objects.get()) == 2_500


def test_a_refund_that_stripe_refuses_is_buried_and_free_again(team, stripe, paid):
    top_up, payment = paid
    message = refunds.request(top_up_id=top_up.pk, amount_minor=2_500, reason="duplicate")
    stripe.refund(payment, 2_500)
    with pytest.raises(StripeRejected):
        outbox.send(message)
    deliver(stripe)
    assert (team.balance, refunds.refundable(TopUp.objects.get())) == (0, 0)
    assert TopUp.objects.get().state == TopUpState.REFUNDED


def test_a_top_up_that_was_not_paid_cannot_be_refunded(team, stripe):
    top_up = team.start().top_up
    with pytest.raises(NotRefundable):
        refunds.request(top_up_id=top_up.pk, amount_minor=100, reason="duplicate")
