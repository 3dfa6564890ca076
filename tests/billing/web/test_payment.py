"""Buying credit by page: Stripe's own message is what changes money, never the way back."""

from __future__ import annotations

import re

import pytest

from billing.models import AutoRecharge, TopUp
from tests.billing.calls import usd
from tests.billing.funds import wallet
from tests.billing.stripe.stage import deliver, unconfigured
from tests.billing.web.stage import Team, reader, tables

pytestmark = pytest.mark.django_db

PATH = "/billing/payment"


@pytest.fixture
def team(stripe) -> Team:
    return Team(credit="0")


def send(team: Team, path: str, role: str = "owner", **fields: str):
    form = {"organization": str(team.organization.pk)} | fields
    return reader(team.people[role]).post(f"{PATH}{path}", form)


def shown(team: Team, query: str = "", role: str = "owner"):
    return reader(team.people[role]).get(f"{PATH}{team.query}{query}")


def a_form_key(team: Team) -> str:
    found = re.search(r'name="request_key" value="([^"]+)"', shown(team).content.decode())
    assert found is not None
    return found[1]


def test_a_form_leads_to_stripe_by_a_link(team, stripe):
    answer = send(team, "/top-ups", amount_usd="25", request_key=a_form_key(team))
    top_up = TopUp.objects.get()
    assert answer.status_code == 200
    (link,) = re.findall(r'<a class="button" href="([^"]+)"', answer.content.decode())
    assert link == f"https://checkout.stripe.com/c/pay/{top_up.checkout_session}"
    assert top_up.credited == 25
    (asked,) = stripe.asked("POST", "/v1/checkout/sessions")
    assert asked["success_url"].endswith(
        f"/billing/payment{team.query}&checkout={{CHECKOUT_SESSION_ID}}"
    )


def test_htmx_goes_to_stripe_at_once(team):
    client = reader(team.owner, **{"HX-Request-Type": "partial"})
    form = {"organization": str(team.organization.pk), "other_amount_usd": "12.34"}
    answer = client.post(f"{PATH}/top-ups", form)
    assert answer["HX-Redirect"].startswith("https://checkout.stripe.com/")
    assert TopUp.objects.get().amount_minor == 1_234


def test_a_form_sent_twice_is_one_purchase(team):
    key = a_form_key(team)
    for _ in range(2):
        assert send(team, "/top-ups", amount_usd="25", request_key=key).status_code == 200
    assert TopUp.objects.count() == 1


@pytest.mark.parametrize("amount", ["4.99", "10000.01", "12.345", "-5", "much", ""])
def test_an_amount_that_cannot_be_bought_is_said(team, amount):
    answer = send(team, "/top-ups", amount_usd=amount)
    assert answer.status_code == 422
    assert b"field-error" in answer.content
    assert not TopUp.objects.exists()


def test_coming_back_changes_nothing_until_stripe_has_told(team, stripe):
    send(team, "/top-ups", amount_usd="25")
    session = str(TopUp.objects.get().checkout_session)
    stripe.pay(session)
    back = f"&checkout={session}"
    page = shown(team, back).content.decode()
    assert "Payment pending" in page
    assert '<meta http-equiv="refresh"' in page
    assert "… pending" in page
    assert wallet(team.organization).posted == 0
    part = reader(team.owner, **{"HX-Request-Type": "partial"}).get(
        f"{PATH}/pending{team.query}{back}"
    )
    assert b'hx-trigger="every 2s"' in part.content
    deliver(stripe)
    part = reader(team.owner, **{"HX-Request-Type": "partial"}).get(
        f"{PATH}/pending{team.query}{back}"
    )
    assert b"hx-trigger" not in part.content
    assert b"were added to the balance" in part.content
    page = shown(team, back).content.decode()
    assert "Payment pending" not in page
    assert [row[2:] for row in tables(page)["purchases"][1:]] == [["✓ paid", "25.000000000000"]]
    assert wallet(team.organization).posted == 25


def test_a_cancelled_payment_is_said(team):
    assert b"nothing was charged" in shown(team, "&checkout=cancelled").content


def test_a_foreign_purchase_is_not_there(team, stripe):
    send(team, "/top-ups", amount_usd="25")
    session = TopUp.objects.get().checkout_session
    other = reader(team.people["stranger"])
    assert other.get(f"{PATH}?checkout={session}").status_code == 404
    assert other.get(f"{PATH}/pending?checkout={session}").status_code == 404
    assert shown(team, "&checkout=cs_unknown").status_code == 404


def test_an_auto_recharge_needs_a_card_first(team):
    fields = {"threshold_usd": "10", "amount_usd": "20", "monthly_cap_usd": "100"}
    answer = send(team, "/auto-recharge", is_enabled="on", **fields)
    assert answer.status_code == 409
    assert b"No card is saved" in answer.content
    assert not AutoRecharge.objects.exists()
    answer = send(team, "/auto-recharge", **fields)
    assert answer["Location"] == f"{PATH}{team.query}&done=recharge"
    row = AutoRecharge.objects.get()
    assert (row.is_enabled, row.threshold, row.amount_minor) == (False, usd("10"), 2_000)
    page = shown(team).content.decode()
    (cap,) = re.findall(r'<input name="monthly_cap_usd"[^>]* value="([^"]+)"', page)
    assert cap == "100"


def test_a_wrong_recharge_comes_back(team):
    fields = {"threshold_usd": "10", "amount_usd": "20", "monthly_cap_usd": "5"}
    answer = send(team, "/auto-recharge", **fields)
    assert answer.status_code == 422
    assert b"at least one recharge" in answer.content
    assert b'value="5"' in answer.content


def test_cards_are_kept_by_stripe(team, stripe):
    answer = send(team, "/portal")
    assert b"Continue to Stripe" in answer.content
    (asked,) = stripe.asked("POST", "/v1/billing_portal/sessions")
    assert asked["return_url"].endswith(f"/billing/payment{team.query}")


def test_a_platform_without_stripe_still_shows_the_balance(team):
    team.give(usd("7"))
    with unconfigured():
        answer = shown(team)
        assert answer.status_code == 503
        assert b"stripe_not_configured" in answer.content
        assert b'<data value="7.000000000000"' in answer.content
        assert b'id="top-up"' not in answer.content
        assert send(team, "/top-ups", amount_usd="25").status_code == 503
    assert not TopUp.objects.exists()


def test_who_does_not_manage_money_reads_a_refusal(team):
    for role in ("admin", "member"):
        answer = shown(team, role=role)
        assert answer.status_code == 403
        assert b"Your role does not cover it." in answer.content
