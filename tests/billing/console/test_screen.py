"""One customer on one screen: what it shows, to whom, and at which cost."""

from __future__ import annotations

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import AuditEvent
from billing.models import Customer, StripeInbox
from billing.services import holds, usage
from ideplatform.kit import clock, ids
from tests.billing.calls import SIMULATOR, publish
from tests.billing.console.desk import Desk
from tests.billing.funds import a_budget, a_customer, a_reservation, the_call

pytestmark = pytest.mark.django_db
GROUPS = (
    "billing_viewer", "billing_support", "billing_manager", "price_publisher", "recon_analyst",
    "auditor",
)  # fmt: skip
MODELS = (
    "customer", "ledgertxn", "usageevent", "creditlot", "hold", "budget", "handmove",
    "stripeinbox", "stripeoutbox", "topup", "approvalrequest", "priceversion", "markuprule",
)  # fmt: skip


@pytest.fixture
def team():
    """A customer with a settled call, a running one, a budget and a failed webhook."""
    publish(SIMULATOR)
    team = a_customer(paid="10", promo="0.5", name="Grace & Co")
    Customer.objects.filter(pk=team.pk).update(stripe_customer_id="cus_1")
    a_budget(team, "30", name="All of us")
    done = a_reservation(team, "1")
    holds.reserve_many([done, a_reservation(team, "2")])
    usage.settle(the_call(done, occurred_at=clock.now(), completed_at=clock.now()))
    StripeInbox.objects.create(
        event_id="evt_1",
        type="refund.failed",
        created=clock.now(),
        livemode=False,
        body={"data": {"object": {"customer": "cus_1"}}},
        state="failed",
        error="payment_mismatch",
    )
    return team


def screen_of(team):
    return f"customer/{team.pk}/change/"


def test_all_of_a_customer_is_on_one_screen(team):
    page = Desk("billing_viewer").read(screen_of(team))
    for shown in ("Grace &amp; Co", "All of us", "refund.failed", "payment_mismatch", "sim-echo"):
        assert shown in page
    # 10 paid, 0.5 given, 0.0014 spent (promotional first), 2 held.
    figures = dict(re.findall(r"(Available|Paid|Promotional|Held) <b\s*>([0-9.]+)</b>", page))
    assert figures == {
        "Available": "8.49",
        "Paid": "10.00",
        "Promotional": "0.4986",
        "Held": "2.00",
    }
    assert "settle:" in page


def test_it_takes_at_most_25_queries(team):
    desk = Desk("billing_manager")
    desk.get(screen_of(team))
    with CaptureQueriesContext(connection) as caught:
        desk.get(screen_of(team))
    assert len(caught) <= 25, [query["sql"][:80] for query in caught]


def test_looking_is_noted(team):
    desk = Desk("billing_viewer")
    desk.get(screen_of(team))
    event = AuditEvent.objects.get(action="customer.viewed")
    assert (event.actor_id, event.organization_id) == (desk.user.pk, team.pk)


@pytest.mark.parametrize("group", GROUPS)
def test_every_group_may_look(team, group):
    assert Desk(group).get(screen_of(team)).status_code == 200


def test_staff_without_a_group_sees_nothing_of_money(team):
    desk = Desk()
    assert desk.get(screen_of(team)).status_code == 403
    for model in MODELS:
        assert desk.get(f"{model}/").status_code == 403
    assert desk.get("customer/reports/margin/").status_code == 403


def test_people_who_are_no_staff_are_asked_to_sign_in(team):
    desk = Desk("billing_manager")
    desk.user.is_staff = False
    desk.user.save()
    assert desk.get(screen_of(team)).status_code == 302


def test_a_customer_that_is_not_there_is_404():
    desk = Desk("billing_viewer")
    assert desk.get(f"customer/{ids.new()}/change/").status_code == 404
    assert Desk("billing_support").get(f"customer/{ids.new()}/dialog/credit/").status_code == 404


@pytest.mark.parametrize("model", MODELS)
def test_lists_of_money_are_read_only_for_superusers_too(team, model):
    desk = Desk(is_superuser=True)
    listed = desk.get(f"{model}/")
    assert listed.status_code == 200
    assert listed.context["cl"].list_per_page == 25
    assert desk.get(f"{model}/add/").status_code == 403
    row = listed.context["cl"].queryset.first()
    pk = row.pk if row else ids.new()
    for path in (f"{model}/{pk}/delete/",):
        assert desk.post(path, post="yes").status_code in (302, 403, 404)
    answer = desk.post(
        f"{model}/", action="delete_selected", _selected_action=[str(pk)], post="yes"
    )
    assert answer.status_code in (200, 302, 403)
    if row:
        assert type(row).objects.filter(pk=pk).exists()


@pytest.mark.parametrize("model", ["ledgertxn", "usageevent", "hold", "budget", "topup"])
def test_a_row_of_money_can_be_read_and_not_written(team, model):
    desk = Desk("billing_viewer")
    row = desk.get(f"{model}/").context["cl"].queryset.first()
    assert desk.get(f"{model}/{row.pk}/change/").status_code == 200
    assert desk.post(f"{model}/{row.pk}/change/", amount="1").status_code == 403


def test_only_auditors_and_managers_read_the_audit():
    seen = {group: Desk(group).get("billingaudit/").status_code for group in GROUPS}
    assert {group for group, status in seen.items() if status == 200} == {
        "billing_manager",
        "auditor",
    }


def test_scripts_are_compiled_in_the_console_only(team):
    desk = Desk("billing_viewer")
    policy = desk.get(screen_of(team))["Content-Security-Policy"]
    assert "script-src 'self' 'unsafe-eval'" in policy
    assert "unsafe-inline" not in policy
    assert "unsafe-eval" not in desk.client.get("/")["Content-Security-Policy"]


@pytest.mark.parametrize("name", ["margin", "liability", "breakage", "overrun", "unpriced"])
def test_reports_are_pages(team, name):
    assert Desk("billing_viewer").get(f"customer/reports/{name}/").status_code == 200


def test_liability_is_what_wallets_hold(team):
    page = Desk("billing_viewer").read("customer/reports/liability/")
    cells = re.findall(r"<td>([^<]*)</td>", page)
    assert cells[:5] == ["wallet", "1", "10.00", "0.00", "2.00"]
    assert cells[5:10] == ["wallet_promo", "1", "0.4986", "0.00", "0.00"]


def test_there_is_no_other_report():
    assert Desk("billing_viewer").get("customer/reports/other/").status_code == 404
