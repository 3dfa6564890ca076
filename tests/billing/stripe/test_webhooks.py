"""The webhook: what is believed, what is refused, and what is stored."""

from __future__ import annotations

import pytest
from django.db.models import F
from django.test import Client

from billing.models import LedgerTxn, StripeInbox
from billing.stripe import inbox
from billing.types import InboxState
from tests.billing.calls import usd
from tests.billing.stripe.stage import WEBHOOK, deliver, post, unconfigured

HOUR_S = 3_600


@pytest.fixture
def paid(team, stripe):
    """The event of a payment that nobody told us of yet."""
    team.buy("25")
    (event,) = (one for one in stripe.events if one["type"] == "payment_intent.succeeded")
    return event


def _state() -> tuple[int, int]:
    return StripeInbox.objects.count(), LedgerTxn.objects.count()


@pytest.mark.parametrize("age_s", [-290, 0, 290])
@pytest.mark.parametrize("which", [0, 1])
def test_both_secrets_sign_while_one_replaces_the_other(team, stripe, paid, which, age_s):
    answer = post(stripe, paid, secret=stripe.secrets[which], age_s=age_s)
    assert (answer.status_code, answer.json()) == (200, {"received": True})
    row = StripeInbox.objects.get()
    assert (row.event_id, row.type, row.state) == (paid["id"], paid["type"], InboxState.RECEIVED)
    assert row.body == paid


@pytest.mark.parametrize("age_s", [-HOUR_S + 60, -310, 310, HOUR_S])
def test_what_is_not_of_these_minutes_is_refused(stripe, paid, age_s):
    answer = post(stripe, paid, age_s=age_s)
    assert (answer.status_code, answer.json()["code"]) == (400, "webhook_refused")
    assert _state() == (0, 0)


def test_a_forged_signature_is_refused(stripe, paid):
    answer = post(stripe, paid, secret="whsec_guessed")
    assert (answer.status_code, answer.json()["code"]) == (400, "webhook_refused")
    assert _state() == (0, 0)


@pytest.mark.parametrize(
    "signature",
    ["", "t=,v1=", "v1=abc", "t=now,v1=abc", "t=1", "\u00e9", "t=1,v1=\u00e9", "=,=", "t=9" * 99],
)
def test_a_header_that_is_none_is_refused(stripe, paid, signature):
    body, _ = stripe.signed(paid)
    answer = Client().post(
        WEBHOOK,
        body,
        content_type="application/json",
        HTTP_STRIPE_SIGNATURE=signature,
    )
    assert answer.status_code == 400
    assert _state() == (0, 0)


def test_a_changed_body_is_refused(stripe, paid):
    body, signature = stripe.signed(paid)
    answer = Client().post(
        WEBHOOK,
        body.replace(b"2500", b"9900"),
        content_type="application/json",
        headers={"Stripe-Signature": signature},
    )
    assert (body.count(b"2500") > 0, answer.status_code) == (True, 400)
    assert _state() == (0, 0)


def test_an_event_of_the_other_mode_is_refused(stripe, paid):
    answer = post(stripe, paid | {"livemode": True})
    assert (answer.status_code, answer.json()["code"]) == (400, "webhook_of_other_mode")
    assert _state() == (0, 0)


def test_an_event_is_stored_once(team, stripe, paid):
    assert [post(stripe, paid).status_code for _ in range(3)] == [200, 200, 200]
    assert StripeInbox.objects.count() == 1
    for _ in range(3):
        inbox.apply(paid["id"])
    assert (StripeInbox.objects.get().state, team.balance) == (InboxState.DONE, usd("25"))
    assert LedgerTxn.objects.count() == 1


def test_what_concerns_nothing_of_ours_is_ignored(team, stripe):
    plan = stripe.tell("plan.created", {"object": "plan", "id": "price_1"})
    payer = stripe._new("customer", name="Somebody of another shop")
    foreign = stripe._intent(amount=500, currency="usd", customer=payer["id"], metadata={})
    stripe._succeed(foreign)
    odd = stripe._intent(
        amount=500, currency="usd", customer=payer["id"], metadata={"top_up_id": "not one"}
    )
    stripe._succeed(odd)
    deliver(stripe)
    assert set(StripeInbox.objects.values_list("state", flat=True)) == {InboxState.IGNORED}
    assert StripeInbox.objects.filter(event_id=plan["id"]).exists()
    assert LedgerTxn.objects.count() == 0


def test_the_event_itself_is_never_believed(team, stripe):
    """Only what Stripe answers when asked counts: an event may be old, or lie about its object."""
    started = team.start("25")
    stripe.pay(started.top_up.checkout_session)
    intent = stripe.of("payment_intent")[0]
    intent["status"] = "processing"
    deliver(stripe)
    assert team.balance == 0


@pytest.mark.parametrize(
    "wrong",
    [{"amount_received": 9_900}, {"currency": "eur"}, {"customer": "cus_of_somebody_else"}],
)
def test_a_payment_that_is_not_what_was_asked_for_waits_for_an_operator(team, stripe, wrong):
    _, payment = team.buy("25")
    stripe.objects["payment_intent"][payment].update(wrong)
    deliver(stripe)
    failed = StripeInbox.objects.filter(state=InboxState.FAILED)
    assert set(failed.values_list("error", flat=True)) == {"payment_mismatch"}
    assert team.balance == LedgerTxn.objects.count() == 0


def test_a_second_payment_for_one_top_up_is_not_credited(team, stripe):
    _top_up, payment = team.buy("25")
    deliver(stripe)
    first = stripe.objects["payment_intent"][payment]
    second = stripe._intent(
        amount=2_500, currency="usd", customer=first["customer"], metadata=first["metadata"]
    )
    stripe._succeed(second)
    deliver(stripe, stripe.events[-1])
    assert StripeInbox.objects.get(event_id=stripe.events[-1]["id"]).error == "payment_mismatch"
    assert (team.balance, LedgerTxn.objects.count()) == (usd("25"), 1)


def test_a_failed_event_can_be_replayed(team, stripe):
    _, payment = team.buy("25")
    intent = stripe.objects["payment_intent"][payment]
    intent["currency"] = "eur"
    deliver(stripe)
    assert team.balance == 0
    intent["currency"] = "usd"
    row = StripeInbox.objects.filter(state=InboxState.FAILED).earliest("received_at")
    inbox.replay(inbox_id=row.pk)
    inbox.apply(row.event_id)
    assert (StripeInbox.objects.get(pk=row.pk).state, team.balance) == (InboxState.DONE, usd("25"))


def test_a_silent_stripe_delays_an_event(team, stripe, paid):
    post(stripe, paid)
    stripe.outage = "refused"
    inbox.apply(paid["id"])
    row = StripeInbox.objects.get()
    assert (row.state, row.attempts, row.error) == (InboxState.RECEIVED, 1, "stripe_unavailable")
    stripe.outage = ""
    assert inbox.apply_due() == 0  # not yet
    StripeInbox.objects.update(next_at=row.received_at)
    assert inbox.apply_due() == 1
    assert (StripeInbox.objects.get().state, team.balance) == (InboxState.DONE, usd("25"))


def test_the_sweep_finds_what_no_webhook_brought(team, stripe):
    for _ in range(3):
        team.buy("25")
    first = stripe.events[1]
    post(stripe, first)
    missed = inbox.sweep()
    told = [one for one in stripe.events if one["type"] in inbox.TYPES]
    assert (missed, StripeInbox.objects.count()) == (len(told) - 1, len(told))
    assert inbox.sweep() == 0
    assert inbox.apply_due() == len(told)
    assert team.balance == usd("75")


def test_the_sweep_reads_every_page(team, stripe):
    for number in range(230):
        stripe.tell("refund.updated", {"object": "refund", "id": f"re_{number}"})
    assert inbox.sweep() == 230
    assert len(stripe.asked("GET", "/v1/events")) == 3


def test_after_three_months_an_event_is_its_id_and_can_still_be_replayed(team, stripe, paid):
    deliver(stripe)
    assert inbox.forget_bodies() == 0  # not yet
    StripeInbox.objects.update(received_at=F("received_at") - inbox.BODY_KEPT)
    kept = StripeInbox.objects.exclude(event_id=paid["id"])
    kept.update(state=InboxState.FAILED)
    assert (inbox.forget_bodies(), inbox.forget_bodies()) == (1, 0)
    row = StripeInbox.objects.get(event_id=paid["id"])
    subject = {"object": "payment_intent", "id": paid["data"]["object"]["id"]}
    assert row.body == {"data": {"object": subject | {"payment_intent": None}}}
    assert all("id" in body for body in kept.values_list("body", flat=True))
    inbox.replay(inbox_id=row.pk)
    inbox.apply(row.event_id)
    assert StripeInbox.objects.get(pk=row.pk).state == InboxState.DONE
    assert (team.balance, LedgerTxn.objects.count()) == (usd("25"), 1)


def test_without_stripe_the_webhook_says_so(db, stripe):
    with unconfigured():
        answer = Client().post(WEBHOOK, b"{}", content_type="application/json")
        assert (answer.status_code, answer.json()["code"]) == (503, "stripe_not_configured")
        assert inbox.sweep() == inbox.apply_due() == 0
    assert stripe.requests == []


def test_without_stripe_nothing_can_be_bought(team, stripe):
    client = team.client()
    body = {"organization_id": str(team.organization.pk), "amount_usd": "25"}
    with unconfigured():
        answer = client.post("/api/v1/billing/top-ups", body, content_type="application/json")
    assert (answer.status_code, answer.json()["code"]) == (503, "stripe_not_configured")
    assert stripe.requests == []


@pytest.mark.parametrize("outage", ["refused", "lost", "broken"])
def test_an_event_outlives_a_stripe_that_is_away_for_thirty_hours(team, stripe, paid, outage):
    """Tried as often as its pauses allow: more often than one that kills its process may be."""
    post(stripe, paid)
    stripe.outage = outage
    for _ in range(inbox.MOST_ATTEMPTS + 10):
        StripeInbox.objects.update(next_at=F("received_at"))
        assert inbox.apply_due() == 1
    assert StripeInbox.objects.get().state == InboxState.RECEIVED
    stripe.outage = ""
    StripeInbox.objects.update(next_at=F("received_at"))
    assert inbox.apply_due() == 1
    assert (StripeInbox.objects.get().state, team.balance) == (InboxState.DONE, usd("25"))
    assert LedgerTxn.objects.count() == 1


def test_an_event_that_never_goes_through_ends_after_three_days(team, stripe, paid):
    post(stripe, paid)
    stripe.outage = "refused"
    StripeInbox.objects.update(
        attempts=inbox.MOST_ATTEMPTS, received_at=F("received_at") - inbox.LOOK_BACK
    )
    inbox.apply(paid["id"])
    assert StripeInbox.objects.get().state == InboxState.FAILED
    assert team.balance == 0
