"""Buying credit on Stripe's page."""

from __future__ import annotations

import pytest

from billing.errors import CustomerClosed, StripeUnavailable
from billing.models import Customer, StripeOutbox, TopUp
from billing.stripe import outbox
from billing.types import CustomerStatus, MessageKind, MessageState, TopUpState
from ideplatform.kit.errors import IdempotencyKeyReused, InvalidInput
from tests.billing.calls import usd
from tests.billing.stripe import stage
from tests.billing.stripe.stage import TOP_UPS, deliver


def test_a_paid_top_up_is_credited_once(team, stripe):
    started = team.start("25")
    assert started.url.startswith("https://checkout.stripe.com/")
    assert (started.top_up.state, team.balance) == (TopUpState.CREATED, 0)
    paid = stripe.pay(started.top_up.checkout_session)
    deliver(stripe)
    deliver(stripe)
    top_up = TopUp.objects.get()
    assert (top_up.state, top_up.payment_intent) == (TopUpState.PAID, paid["id"])
    assert team.balance == usd("25")
    legs = [("stripe_clearing", "-25.000000000000"), ("wallet", "25.000000000000")]
    assert stage.books() == [("topup", f"topup:{paid['id']}", legs)]


def test_coming_back_from_the_page_credits_nothing(team, stripe):
    team.start("25")
    assert team.balance == 0
    (asked,) = stripe.asked("POST", "/v1/checkout/sessions")
    assert asked["line_items"] == [
        {
            "quantity": 1,
            "price_data": {
                "currency": "usd",
                "unit_amount": 2_500,
                "product_data": {"name": "Credit"},
            },
        }
    ]
    assert asked["metadata"] == asked["payment_intent_data"]["metadata"]
    assert asked["adaptive_pricing"] == {"enabled": False}


def test_a_team_is_one_customer_at_stripe(team, stripe):
    team.start()
    team.start()
    (customer,) = stripe.of("customer")
    assert team.customer.stripe_customer_id == customer["id"]
    assert customer["name"] == team.organization.name
    assert len(stripe.of("checkout.session")) == 2


def test_the_same_request_key_is_the_same_purchase(team, stripe):
    key = stage.a_key()
    first, again = team.start(request_key=key), team.start(request_key=key)
    assert (first.top_up.pk, first.url) == (again.top_up.pk, again.url)
    with pytest.raises(IdempotencyKeyReused):
        team.start("30", request_key=key)
    assert len(stripe.of("checkout.session")) == TopUp.objects.count() == 1


@pytest.mark.parametrize("amount", ["4.99", "10000.01", "5.001", "0"])
def test_amounts_have_limits_and_whole_cents(team, stripe, amount):
    with pytest.raises(InvalidInput):
        team.start(amount)
    assert TopUp.objects.count() == len(stripe.requests) == 0


def test_credit_is_bought_in_dollars_alone(team, stripe):
    body = {"organization_id": str(team.organization.pk), "amount_usd": "25.00", "currency": "eur"}
    answer = team.client().post(TOP_UPS, body, content_type="application/json")
    assert answer.status_code == 422
    assert [one["pointer"] for one in answer.json()["errors"]] == ["/currency"]
    assert TopUp.objects.count() == len(stripe.requests) == 0


def test_a_closed_customer_buys_nothing(team, stripe):
    Customer.objects.update(status=CustomerStatus.CLOSED)
    with pytest.raises(CustomerClosed):
        team.start()
    assert stripe.requests == []


def test_an_expired_page_ends_the_top_up_and_a_late_payment_still_counts(team, stripe):
    started = team.start()
    stripe.expire(started.top_up.checkout_session)
    deliver(stripe)
    assert TopUp.objects.get().state == TopUpState.FAILED
    stripe.pay(started.top_up.checkout_session)
    deliver(stripe)
    assert (TopUp.objects.get().state, team.balance) == (TopUpState.PAID, usd("25"))


def test_a_parked_customer_may_still_pay(team, stripe):
    Customer.objects.update(status=CustomerStatus.PARKED)
    team.buy("25")
    deliver(stripe)
    assert team.balance == usd("25")
    assert team.customer.status == CustomerStatus.PARKED  # an operator's park is an operator's


@pytest.mark.parametrize("outage", ["refused", "lost", "broken"])
def test_a_silent_stripe_is_503_and_nothing_is_credited(team, stripe, outage):
    team.start()
    stripe.outage = outage
    answer = team.client().post(
        TOP_UPS,
        {"organization_id": str(team.organization.pk), "amount_usd": "25.00"},
        content_type="application/json",
    )
    assert (answer.status_code, answer.json()["code"]) == (503, "stripe_unavailable")
    assert "Retry-After" in answer
    assert team.balance == 0


def test_a_page_that_nobody_waits_for_is_given_up(team, stripe):
    team.start()
    stripe.outage = "refused"
    with pytest.raises(StripeUnavailable):
        team.start("30")
    stage.let_time_pass(stripe, hours=1)
    stripe.outage = ""
    outbox.send_due()
    (message,) = StripeOutbox.objects.filter(kind=MessageKind.CHECKOUT, top_up__amount_minor=3_000)
    assert message.state == MessageState.DEAD
    assert TopUp.objects.get(messages=message).state == TopUpState.FAILED
    assert len(stripe.of("checkout.session")) == 1


def test_the_portal_is_stripes_own_page(team, stripe):
    answer = team.client().post(
        "/api/v1/billing/portal",
        {"organization_id": str(team.organization.pk)},
        content_type="application/json",
    )
    assert (answer.status_code, "url" in answer.json()) == (201, True)
    (asked,) = stripe.asked("POST", "/v1/billing_portal/sessions")
    assert asked["customer"] == team.customer.stripe_customer_id


def test_the_list_tells_what_was_bought(team, stripe):
    first, _ = team.buy("25")
    deliver(stripe)
    second = team.start("30.50").top_up
    client = team.client()
    page = client.get(TOP_UPS, {"organization_id": str(team.organization.pk), "limit": 1}).json()
    assert [(one["id"], one["state"], one["amount_usd"]) for one in page["items"]] == [
        (str(second.pk), "created", "30.500000000000")
    ]
    more = client.get(
        TOP_UPS,
        {"organization_id": str(team.organization.pk), "cursor": page["next_cursor"]},
    ).json()
    assert [one["id"] for one in more["items"]] == [str(first.pk)]
    assert client.get(TOP_UPS).json()["items"] == []  # of the person's own organization
