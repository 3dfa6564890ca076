"""Months as pages: the API's figures, closed or running, and notices that are put away."""

from __future__ import annotations

import pytest

from billing.models import BudgetAlert, Notice
from billing.services import alerts, holds, usage
from billing.types import LotKind, PeriodKind
from ideplatform.kit import clock, ids
from tests.billing.calls import tokens, usd
from tests.billing.funds import a_budget, a_reservation, the_call
from tests.billing.web.stage import HOME, Team, reader, tables

pytestmark = pytest.mark.django_db

PATH, API = "/billing/statements", "/api/v1/billing/statements"


@pytest.fixture
def team() -> Team:
    return Team()


def shown(team: Team, path: str = "", role: str = "owner"):
    return reader(team.people[role]).get(f"{PATH}{path}{team.query}")


def this_month() -> str:
    return f"{clock.now():%Y-%m}"


def test_the_running_month_is_the_apis(team):
    team.call()
    team.give(usd("3"), LotKind.PROMO)
    query = f"?organization_id={team.organization.pk}"
    told = reader(team.owner).get(f"{API}/{this_month()}{query}").json()
    page = shown(team, f"/{this_month()}").content.decode()
    rows = tables(page)["lines"][1:]
    assert rows[0][-1] == told["opening"]
    assert rows[-1][-1] == told["closing"] == "102.998600000000"
    names = ("count", "tokens_input", "tokens_output", "amount")
    assert [row[2:] for row in rows[1:-1]] == [
        [str(line[name]) for name in names] for line in told["lines"]
    ]
    assert {row[0] for row in rows[1:-1]} == {"calls", "bought credit", "promotional credit"}
    months = tables(shown(team).content.decode())["months"]
    assert months[1][2:] == [told["opening"], told["closing"]]


def test_a_month_is_downloaded(team):
    team.call()
    page = shown(team, f"/{this_month()}").content.decode()
    link = f"{API}/{this_month()}?format=csv&amp;organization_id={team.organization.pk}"
    assert link in page
    answer = reader(team.owner).get(link.replace("&amp;", "&"))
    assert answer.status_code == 200


@pytest.mark.parametrize("month", ["2001-01", "2099-12", "2026-13", "nonsense"])
def test_what_is_no_month_of_theirs_is_not_there(team, month):
    assert shown(team, f"/{month}").status_code == 404


def test_members_read_no_statements(team):
    assert shown(team, role="member").status_code == 403
    page = reader(team.people["member"]).get(HOME + team.query).content.decode()
    assert PATH not in page


def test_a_notice_is_shown_until_it_is_read(team):
    a_budget(team.organization, "2", period=PeriodKind.MONTH, name="Pilot", alert_steps=[50])
    reservation = a_reservation(team.organization, "2")
    holds.reserve(reservation)
    usage.settle(the_call(reservation, tokens=tokens(input=1_000_000), occurred_at=clock.now()))
    (alert_id,) = BudgetAlert.objects.values_list("pk", flat=True)
    alerts.tell(alert_id=alert_id)
    client = reader(team.owner)
    page = client.get(HOME + team.query).content.decode()
    assert "50 % of the budget were reached" in page
    notice = Notice.objects.get(user=team.owner)
    form = {"organization": str(team.organization.pk)}
    other = reader(team.people["billing"]).post(f"/billing/notices/{notice.pk}/read", form)
    assert other.status_code == 404
    answer = client.post(f"/billing/notices/{notice.pk}/read", form)
    assert answer["Location"] == HOME + team.query
    assert "were reached" not in client.get(HOME + team.query).content.decode()
    billing = reader(team.people["billing"]).get(HOME + team.query).content.decode()
    assert "50 % of the budget were reached" in billing
    assert client.post(f"/billing/notices/{ids.new()}/read", form).status_code == 404
