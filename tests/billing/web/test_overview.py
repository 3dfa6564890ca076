"""The first page: its numbers are those of the API, for whoever may see them."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from billing.models import Customer
from billing.services import holds, preferences
from billing.types import BillingMode, CustomerStatus, PeriodKind, Precision
from ideplatform.kit import clock, ids
from tests.accounts.web.browsers import Browser
from tests.billing.calls import tokens, usd
from tests.billing.funds import a_budget, a_reservation
from tests.billing.web.stage import HOME, Team, a_day_of_this_month, figure, reader, tables
from tests.factories import an_actor
from tests.house import source

pytestmark = pytest.mark.django_db

SUMMARY = "/api/v1/billing/summary"
CONTROL = re.compile(r"^(SAVEPOINT|RELEASE|ROLLBACK|BEGIN|COMMIT|SET )")


@pytest.fixture
def team() -> Team:
    return Team()


def api(user, query: str):
    return reader(user).get(f"{SUMMARY}{query}").json()


def test_an_empty_month_says_what_to_do(team):
    page = reader(team.owner).get(HOME + team.query).content.decode()
    assert "No calls in this month" in page
    assert (figure(page, "spent"), figure(page, "calls")) == ("0", "0")
    assert figure(page, "available") == "100.000000000000"
    assert '<svg class="columns"' not in page


def test_one_call_is_seen_to_its_last_place(team):
    team.call()
    page = reader(team.owner).get(HOME + team.query).content.decode()
    assert figure(page, "spent") == "0.001400000000"
    assert "$0.0014<" in page
    assert figure(page, "available") == "99.998600000000"
    assert (figure(page, "calls"), page.count('<rect class="bar"')) == ("1", 1)


def test_tables_and_figures_are_the_apis(team):
    for day in (1, 2, 2, 9):
        moment = a_day_of_this_month(day)
        team.call(occurred_at=moment, tokens=tokens(input=1_000 * day, output=7, cache_read=5_000))
    team.call(billing_mode=BillingMode.BYOK, tokens=tokens(input=77_777, output=1))
    team.call("stranger", workspace_id=None)
    page = reader(team.owner).get(HOME + team.query).content.decode()
    told = api(team.owner, f"?organization_id={team.organization.pk}&compare=previous")
    rows = tables(page)["days"]
    names = ("requests", "tokens_input", "tokens_output", "billed_cost", "byok_estimated_cost")
    shown = [[str(point[name]) for name in names] for point in told["series"]]
    assert [row[1:] for row in rows[1:-1]] == shown
    assert [row[0] for row in rows[1:-1]] == [point["key"] for point in told["series"]]
    assert rows[-1][1:] == [str(told["totals"][name]) for name in names]
    assert figure(page, "spent") == told["totals"]["billed_cost"]
    assert figure(page, "saved") == told["totals"]["saved_by_cache"]
    assert figure(page, "byok") == told["totals"]["byok_estimated_cost"]
    assert figure(page, "held") == told["balance"]["held"]
    assert figure(page, "available") == told["balance"]["available"]


def test_held_money_is_not_available(team):
    holds.reserve(a_reservation(team.organization, "40"))
    page = reader(team.owner).get(HOME + team.query).content.decode()
    assert usd(figure(page, "held")) == 40
    assert usd(figure(page, "available")) == 60


def test_a_full_budget_is_said_in_words(team):
    a_budget(team.organization, "3", period=PeriodKind.MONTH, name="Pilot")
    hold = holds.reserve(a_reservation(team.organization, "2.5"))
    assert hold.amount_usd == usd("2.5")
    page = reader(team.owner).get(HOME + team.query).content.decode()
    assert "over budget" not in page
    assert "(83 %)" in page
    a_budget(team.organization, "0", period=PeriodKind.DAY, name="Nothing at all")
    page = reader(team.owner).get(HOME + team.query).content.decode()
    assert "over budget" in page


def test_a_parked_organization_reads_why_it_is_refused(team):
    Customer.objects.filter(pk=team.organization.pk).update(status=CustomerStatus.PARKED)
    page = reader(team.owner).get(HOME + team.query).content.decode()
    assert "Payment is on hold" in page


def test_roles_see_what_they_may(team):
    team.call("editor")
    team.call("lead")
    team.call("member", workspace_id=None)
    seen = {}
    for role in ("owner", "admin", "billing", "member"):
        page = reader(team.people[role]).get(HOME + team.query).content.decode()
        seen[role] = (figure(page, "calls"), 'id="available"' in page, "top up" in page)
    assert seen == {
        "owner": ("3", True, True),
        "admin": ("3", True, False),
        "billing": ("3", True, True),
        "member": ("1", False, False),
    }
    workspace = f"?workspace={team.workspace.pk}"
    for role, calls in {"lead": "2", "editor": "1", "owner": "2"}.items():
        page = reader(team.people[role]).get(HOME + workspace).content.decode()
        assert (figure(page, "calls"), 'id="available"' in page) == (calls, False)
    page = reader(team.people["editor"]).get(f"{HOME}?organization=all").content.decode()
    assert figure(page, "calls") == "1"


def test_what_is_not_yours_is_not_there(team):
    stranger = reader(team.people["stranger"])
    for query in (team.query, f"?workspace={team.workspace.pk}"):
        foreign = stranger.get(HOME + query, headers={"X-Request-Id": "matrix-request"})
        unknown = stranger.get(
            f"{HOME}{query.split('=')[0]}={ids.new()}", headers={"X-Request-Id": "matrix-request"}
        )
        assert (foreign.status_code, unknown.status_code) == (404, 404)
        assert foreign.content == unknown.content
    assert stranger.get(f"{HOME}?organization=nonsense").status_code == 404


def test_without_a_name_the_first_team_is_shown(team):
    page = reader(team.owner).get(HOME).content.decode()
    assert "Everything of Aurora Labs." in page
    assert f'href="/billing/explorer?organization={team.organization.pk}"' in page


def test_months_lead_to_each_other(team):
    last_month = a_day_of_this_month(1).replace(hour=0) - timedelta(days=3)
    team.call(occurred_at=last_month)
    page = reader(team.owner).get(HOME + team.query).content.decode()
    assert "100 % less" in page
    assert 'rel="next"' not in page
    (earlier,) = re.findall(r'<a href="([^"]+)"[^>]*rel="prev"', page)
    page = reader(team.owner).get(earlier.replace("&amp;", "&")).content.decode()
    assert figure(page, "spent") == "0.001400000000"
    assert 'rel="next"' in page
    assert 'id="days-left"' not in page


@pytest.mark.parametrize("period", ["day:2026-11-20", "month:2026-13", "nonsense"])
def test_only_months_are_months(team, period):
    answer = reader(team.owner).get(f"{HOME}{team.query}&period={period}")
    assert answer.status_code == 422
    assert b"month:2026-11" in answer.content


def test_days_are_the_readers_own(team):
    first = clock.now().replace(day=1, hour=1, minute=30)
    team.call(occurred_at=first)
    preferences.save(
        actor=an_actor(team.owner), tz="America/Sao_Paulo", precision=Precision.CENTS,
        gets_alerts=True,
    )  # fmt: skip
    previous = (first - timedelta(hours=3)).strftime("month:%Y-%m")
    page = reader(team.owner).get(f"{HOME}{team.query}&period={previous}").content.decode()
    assert figure(page, "calls") == "1"
    assert "&lt;$0.01<" in page


def test_htmx_gets_the_part_and_nothing_else(team):
    part = reader(team.owner, **{"HX-Request-Type": "partial"}).get(HOME + team.query)
    whole = reader(team.owner).get(HOME + team.query)
    assert b"<html" in whole.content
    assert b"<html" not in part.content
    alike = part.content.decode().split("As of")[0].strip()  # the moment differs
    assert alike in whole.content.decode()
    assert "HX-Request-Type" in part["Vary"]


def test_a_failed_part_is_a_part(team):
    answer = reader(team.owner, **{"HX-Request-Type": "partial"}).get(f"{HOME}?organization=x")
    assert answer.status_code == 404
    assert b"<html" not in answer.content
    assert b"not_found" in answer.content


def test_a_page_is_kept_nowhere_and_may_load_nothing_foreign(team):
    answer = reader(team.owner).get(HOME + team.query)
    assert answer["Cache-Control"] == "no-store"
    policy = answer["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "script-src 'self'" in policy
    page = answer.content.decode()
    assert re.findall(r'(?:src|href|action)="((?:https?:)?//[^"]+)"', page) == []
    assert " style=" not in page
    assert " onclick=" not in page
    assert re.findall(r"<script(?![^>]* src=)", page) == []


def test_the_first_view_is_small_and_asks_little(team):
    for day in range(1, 29):
        team.call(occurred_at=a_day_of_this_month(day), billing_mode=BillingMode.BYOK)
        team.call(occurred_at=a_day_of_this_month(day))
    for number in range(5):
        a_budget(team.organization, "10", period=PeriodKind.MONTH, name=f"Budget {number}")
    browser = Browser()
    browser.sign_in(team.owner.email)
    browser.get(HOME + team.query)
    with CaptureQueriesContext(connection) as queries:
        page = browser.get(HOME + team.query)
    asked = [one["sql"] for one in queries if not CONTROL.match(one["sql"])]
    assert figure(page.content.decode(), "calls") == "56"
    assert len(asked) <= 8, "\n".join(asked)
    files = re.findall(r'(?:src|href)="/static/([^"]+)"', page.content.decode())
    sizes = [(source.ROOT / "static" / name).stat().st_size for name in files]
    assert len(files) == 4
    assert len(page.content) + sum(sizes) <= 100_000
