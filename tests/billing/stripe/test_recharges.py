"""A wallet that runs low buys credit with the saved card."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from billing.errors import PaymentMethodMissing
from billing.models import AutoRecharge, StripeOutbox, TopUp
from billing.stripe import inbox, outbox, payments, recharges
from billing.types import MessageKind, MessageState, TopUpKind, TopUpState
from ideplatform.kit.errors import InvalidInput
from ideplatform.outbox.models import Fact
from tests.billing.calls import usd
from tests.billing.stripe import stage
from tests.billing.stripe.stage import configure, deliver, spend

PATH = "/api/v1/billing/auto-recharge"


@pytest.fixture
def card(team, stripe):
    """25 USD, bought with a card that was saved."""
    team.buy("25", saves_card=True)
    deliver(stripe)


def _bought():
    found = TopUp.objects.filter(kind=TopUpKind.RECHARGE).order_by("created_at", "pk")
    return list(found.values_list("state", flat=True))


@pytest.mark.usefixtures("card")
def test_a_low_wallet_is_refilled_once(team, stripe):
    configure(team)
    assert recharges.run() == 0  # 25 is not below 10
    spend(team, "15")
    assert recharges.run() == 0  # 10 is not below 10 either
    spend(team, "0.000000000001")
    assert recharges.run() == 1
    assert team.balance == usd("29.999999999999")
    assert recharges.run() == 0
    deliver(stripe)
    assert (_bought(), team.balance) == ([TopUpState.PAID], usd("29.999999999999"))
    (asked,) = stripe.asked("POST", "/v1/payment_intents")
    wanted = {"amount": 2_000, "currency": "usd", "payment_method": "pm_card_visa"}
    wanted |= {"confirm": True, "off_session": True}
    assert asked | wanted == asked


@pytest.mark.usefixtures("card")
def test_the_default_card_at_stripe_comes_first(team, stripe):
    stripe.of("customer")[0]["invoice_settings"]["default_payment_method"] = "pm_chosen"
    configure(team)
    spend(team, "20")
    recharges.run()
    assert stripe.asked("POST", "/v1/payment_intents")[0]["payment_method"] == "pm_chosen"


def test_without_a_card_it_cannot_be_enabled(team, stripe):
    team.buy("25")  # paid, but the card was not to be kept
    deliver(stripe)
    with pytest.raises(PaymentMethodMissing):
        configure(team)
    assert AutoRecharge.objects.count() == 0
    assert not configure(team, is_enabled=False).is_enabled


@pytest.mark.usefixtures("card")
def test_a_card_that_is_gone_ends_it(team, stripe):
    configure(team)
    TopUp.objects.update(payment_method="")
    spend(team, "20")
    recharges.run()
    assert not AutoRecharge.objects.get().is_enabled
    assert Fact.objects.filter(topic="auto_recharge.stopped").count() == 1
    assert stripe.asked("POST", "/v1/payment_intents") == []


@pytest.mark.usefixtures("card")
def test_one_recharge_at_a_time(team, stripe):
    configure(team)
    spend(team, "20")
    stripe.outage, stripe.outage_at = "lost", "/v1/payment_intents"
    assert recharges.run() == 1
    assert recharges.run() == 0
    assert _bought() == [TopUpState.CREATED]


@pytest.mark.usefixtures("card")
def test_the_third_declined_card_in_a_row_ends_it(team, stripe):
    configure(team)
    spend(team, "20")
    stripe.declines = True
    for tried in (1, 2, 3):
        assert recharges.run() == 1
        assert recharges.run() == 0  # it pauses after each
        assert AutoRecharge.objects.get().failures == tried
        deliver(stripe)
        stage.let_time_pass(stripe, hours=7)
    assert not AutoRecharge.objects.get().is_enabled
    assert recharges.run() == 0
    assert (_bought(), team.balance) == ([TopUpState.FAILED] * 3, usd("5"))
    assert Fact.objects.filter(topic="auto_recharge.stopped").count() == 1


@pytest.mark.usefixtures("card")
def test_a_paid_one_forgets_the_failures_before(team, stripe):
    configure(team)
    spend(team, "20")
    stripe.declines = True
    recharges.run()
    stripe.declines = False
    stage.let_time_pass(stripe, hours=7)
    recharges.run()
    row = AutoRecharge.objects.get()
    assert (row.failures, row.is_enabled, team.balance) == (0, True, usd("25"))


@pytest.mark.usefixtures("card")
def test_a_month_has_a_cap(team, stripe):
    configure(team, monthly_cap_usd=usd("59.99"))
    for _ in range(4):
        spend(team, "25")
        recharges.run()
    assert _bought() == [TopUpState.PAID, TopUpState.PAID]
    assert AutoRecharge.objects.get().not_before == recharges._next_month(datetime.now(UTC))


@pytest.mark.parametrize(
    ("moment", "following"),
    [("2026-11-22T10:00:00", "2026-12-01"), ("2026-12-31T23:59:59", "2027-01-01")],
)
def test_a_month_is_one_of_utc(moment, following):
    found = recharges._next_month(datetime.fromisoformat(moment).replace(tzinfo=UTC))
    assert found == datetime.fromisoformat(following).replace(tzinfo=UTC)


@pytest.mark.usefixtures("card")
def test_a_parked_customer_is_not_charged(team, stripe):
    configure(team)
    payment = stripe.of("payment_intent")[0]["id"]
    spend(team, "20")
    stripe.dispute(payment, 2_500)
    deliver(stripe)
    assert (recharges.run(), _bought()) == (0, [])


@pytest.mark.usefixtures("card")
def test_the_webhook_may_come_before_the_answer(team, stripe):
    configure(team)
    spend(team, "20")
    stripe.outage, stripe.outage_at = "lost", "/v1/payment_intents"
    recharges.run()
    stripe.outage = ""
    deliver(stripe)
    assert (_bought(), team.balance) == ([TopUpState.PAID], usd("25"))
    stage.let_time_pass(stripe, hours=1)
    outbox.send_due()
    message = StripeOutbox.objects.get(kind=MessageKind.RECHARGE)
    assert (message.state, team.balance) == (MessageState.DONE, usd("25"))
    assert len(stripe.of("payment_intent")) == 2


@pytest.mark.usefixtures("card")
@pytest.mark.parametrize("changes", [{"amount_usd": usd("1")}, {"monthly_cap_usd": usd("19.99")}])
def test_amounts_that_cannot_be_are_refused(team, changes):
    with pytest.raises(InvalidInput):
        configure(team, **changes)
    assert AutoRecharge.objects.count() == 0


@pytest.mark.usefixtures("card")
def test_it_is_set_and_read_over_rest(team):
    client = team.client()
    where = {"organization_id": str(team.organization.pk)}
    unset = client.get(PATH, where).json()
    assert unset == {
        "is_enabled": False,
        "failures": 0,
        "threshold_usd": None,
        "amount_usd": None,
        "monthly_cap_usd": None,
    }
    asked = {
        "is_enabled": True,
        "threshold_usd": "5.00",
        "amount_usd": "20.00",
        "monthly_cap_usd": "40.00",
    }
    put = client.put(PATH, where | asked, content_type="application/json")
    assert put.status_code == 200
    told = client.get(PATH, where).json()
    assert told == put.json()
    assert {name: usd(told[name]) for name in asked if name != "is_enabled"} == {
        "threshold_usd": usd("5"),
        "amount_usd": usd("20"),
        "monthly_cap_usd": usd("40"),
    }


@pytest.mark.usefixtures("card")
def test_a_decline_that_is_told_twice_counts_once(team, stripe):
    configure(team)
    spend(team, "20")
    stripe.declines = True
    recharges.run()
    deliver(stripe)
    payments.fail(TopUp.objects.get(kind=TopUpKind.RECHARGE).pk)
    assert inbox.apply_due() == 0
    assert AutoRecharge.objects.get().failures == 1
