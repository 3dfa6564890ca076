"""`GET /api/v1/billing/prices`, and what graphs show of money."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import connection
from django.test import Client
from psycopg.types.range import Range

from accounts.services import sessions
from accounts.types import OrganizationRole, Permission
from billing.services import balances, gauges, holds, usage
from billing.types import BillingMode, MarkupKind
from ideplatform.kit import clock, ids
from ideplatform.observability import metrics
from tests.billing.calls import SIMULATOR, a_call, a_list, publish, tokens, usd
from tests.billing.console.people import a_markup
from tests.billing.funds import a_customer, a_reservation
from tests.factories import a_user, join_organization
from tests.house import matrix
from tests.house.matrix import Route

PRICES = "/api/v1/billing/prices"
P = Permission
ROUTES = [
    Route("GET", PRICES, P.BILLING_VIEW, at="listing"),
    Route("GET", PRICES + "?organization_id={organization_id}", P.BILLING_VIEW, at="organization"),
]


@pytest.mark.django_db
@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_actor_meets_the_answer_of_the_matrix(route):
    matrix.check(route)


@pytest.fixture
def web(db):
    pair = sessions.sign_in(user=a_user(), ip="", user_agent="test")
    return Client(headers={"Authorization": f"Bearer {pair.access}"})


def prices_of(web, **query: str) -> dict[tuple[str, str], str]:
    answer = web.get(PRICES, query)
    assert answer.status_code == 200, answer.content
    return {
        (item["service_tier"], item["unit_class"]): item["unit_price"]
        for item in answer.json()["items"]
    }


def test_the_prices_of_a_model_are_those_its_calls_would_bear(web):
    publish(SIMULATOR)
    found = prices_of(web, model="sim-echo", provider_type="openai_compatible")
    assert usd(found["standard", "input"]) == usd("0.000001")
    assert usd(found["standard", "cache_read"]) == usd("0.0000001")
    assert usd(found["standard", "output"]) == usd("0.000002")
    dated = prices_of(web, model="sim-echo-2026-01-31", provider_type="openai_compatible")
    assert dated == found
    assert prices_of(web, model="nobody-s") == {}


def test_prices_are_those_of_the_moment(web):
    publish(a_list(m_1="0.000001"))
    started = clock.now()
    answer = web.get(PRICES, {"model": "m-1"}).json()["items"]
    assert {(item["version"], item["unit_price"]) for item in answer} == {(1, "0.000001000000000")}
    later = (started + timedelta(days=4_000)).isoformat()
    assert prices_of(web, model="m-1", at=later)


def test_all_prices_page_by_page_are_each_there_once(web):
    publish(SIMULATOR)
    first = web.get(PRICES, {"limit": "7"}).json()
    seen, cursor = [item["id"] for item in first["items"]], first["next_cursor"]
    at = first["at"]
    while cursor:
        page = web.get(PRICES, {"limit": "7", "cursor": cursor, "at": at})
        assert page.status_code == 200, page.content
        seen += [item["id"] for item in page.json()["items"]]
        cursor = page.json()["next_cursor"]
    with connection.cursor() as reader:
        reader.execute("SELECT count(*) FROM billing_prices WHERE effective @> now()")
        (count,) = reader.fetchone()
    assert len(seen) == len(set(seen)) == count > 7


def test_an_organization_sees_its_own_markups_and_everybody_s(web):
    team, owner = a_customer(), a_user()
    join_organization(team, owner, OrganizationRole.OWNER)
    always = Range(clock.now() - timedelta(days=1), None)
    for customer, value in ((None, "10"), (team.pk, "20"), (a_customer().pk, "30")):
        a_markup(MarkupKind.PERCENT, value, customer_id=customer, effective=always)
    pair = sessions.sign_in(user=owner, ip="", user_agent="test")
    mine = Client(headers={"Authorization": f"Bearer {pair.access}"})
    told = mine.get(PRICES, {"organization_id": str(team.pk)}).json()["markups"]
    assert {one["is_own"]: usd(one["value"]) for one in told} == {False: 10, True: 20}
    assert [usd(one["value"]) for one in web.get(PRICES).json()["markups"]] == [10]


def test_a_run_s_end_tells_what_the_wallets_hold(db):
    publish(SIMULATOR)
    team, run, own = a_customer(paid="1", promo="0.001"), ids.new(), ids.new()
    usage.settle(a_call(team, run_id=run))
    usage.settle(a_call(team, run_id=own, billing_mode=BillingMode.BYOK))
    assert balances.after_run(run) == usd("1.001") - usd("0.0014")
    assert balances.after_run(own) is None
    assert balances.after_run(ids.new()) is None


def test_gauges_of_money_move(db):
    publish(SIMULATOR)
    team = a_customer(paid="10")
    gauges.measure()
    assert (metrics.holds_open_usd._value.get(), metrics.ledger_drift_usd._value.get()) == (0, 0)
    held = a_reservation(team, "0.5")
    holds.reserve(held)
    holds.reserve(a_reservation(team, "0.25"))
    gauges.measure()
    assert (metrics.holds_open_usd._value.get(), metrics.ledger_drift_usd._value.get()) == (0.75, 0)
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE billing_ledger_accounts SET posted = posted + 2, held = held - 0.125"
            " WHERE customer_id = %s AND kind = 'wallet'",
            [team.pk],
        )
    gauges.measure()
    assert metrics.ledger_drift_usd._value.get() == 2.125


def test_an_overrun_and_an_unpriced_call_are_counted(db, django_capture_on_commit_callbacks):
    publish(SIMULATOR)
    team = a_customer(paid="10")
    held = a_reservation(team, "0.001")
    holds.reserve(held)
    overrun = metrics.hold_overrun_usd_total._value.get()
    unpriced = metrics.unpriced_events_total._value.get()
    call = a_call(team, request_id=held.request_id, tokens=tokens(input=1_000, output=200))
    unknown = a_call(team, requested_model="unknown", served_model="unknown")
    with django_capture_on_commit_callbacks(execute=True):
        usage.settle_many([call, unknown])
    assert metrics.hold_overrun_usd_total._value.get() - overrun == pytest.approx(0.0004)
    assert metrics.unpriced_events_total._value.get() - unpriced == 1
