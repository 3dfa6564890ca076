"""Money given back through Stripe from the console."""

from __future__ import annotations

import pytest
from django.db import connection

from billing.models import HandMove, StripeOutbox
from billing.stripe import outbox
from tests.billing.calls import usd
from tests.billing.console.desk import Desk, asked
from tests.billing.stripe.stage import Team, deliver

pytestmark = pytest.mark.django_db


@pytest.fixture
def team(stripe) -> Team:
    return Team(stripe)


def refund(desk, team, top_up, amount):
    form = {"top_up": str(top_up.pk), "amount_usd": amount, "cause": "duplicate"}
    return desk.dialog(team.customer, "refund", **form)


def test_a_small_refund_is_asked_of_stripe_at_once(team, stripe):
    top_up, _ = team.buy("200")
    deliver(stripe)
    desk = Desk("billing_support")
    refund(desk, team, top_up, "99.99")
    connection.check_constraints()
    message = StripeOutbox.objects.get(kind="refund")
    assert (message.payload["amount"], message.actor_id) == (9_999, desk.user.pk)
    outbox.send(message.pk)
    assert team.balance == usd("100.01")
    move = HandMove.objects.get(pk=message.pk)
    assert (move.amount, move.operator_id) == (usd("99.99"), desk.user.pk)


def test_a_large_refund_takes_two(team, stripe):
    top_up, _ = team.buy("200")
    deliver(stripe)
    desk, manager = Desk("billing_support"), Desk("billing_manager")
    request_id = asked(refund(desk, team, top_up, "150"))
    assert not StripeOutbox.objects.filter(kind="refund").exists()
    manager.approve(request_id)
    connection.check_constraints()
    message = StripeOutbox.objects.get(kind="refund")
    assert (message.payload["amount"], str(message.approval_id)) == (15_000, request_id)
    outbox.send(message.pk)
    assert team.balance == 50


def test_no_more_is_given_back_than_was_paid(team, stripe):
    top_up, _ = team.buy("20")
    deliver(stripe)
    answer = refund(Desk("billing_support"), team, top_up, "20.01")
    assert "No more than what was paid" in answer.content.decode()
    assert not StripeOutbox.objects.filter(kind="refund").exists()
