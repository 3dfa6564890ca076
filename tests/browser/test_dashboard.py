"""The dashboard in a real browser, with and without scripts.

Every page fails its test on a console error, a page error, a CSP report or a foreign request.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from billing.services import holds
from billing.types import BillingMode, BudgetScope, PeriodKind
from ideplatform.kit import clock
from tests.billing.calls import tokens, usd
from tests.billing.funds import a_budget, a_reservation
from tests.billing.web.stage import Team, a_day_of_this_month
from tests.factories import PASSWORD

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

WIDE = {"width": 1280, "height": 900}
PHONE = {"width": 375, "height": 800}


@dataclass(frozen=True)
class Visit:
    """A browser window on the platform, and what went wrong in it."""

    page: Page
    url: str
    faults: list[str]

    def sign_in(self, team: Team, role: str = "owner", path: str = "") -> None:
        self.page.goto(f"{self.url}/billing/{path or team.query}")
        self.page.get_by_label("E-mail").fill(team.people[role].email)
        self.page.get_by_label(re.compile("Password|Senha")).fill(PASSWORD)
        self.page.get_by_role("button", name=re.compile("Sign in|Entrar")).click()
        expect(self.page.get_by_role("button", name=re.compile("Sign out|Sair"))).to_be_visible()

    def go(self, path: str) -> None:
        self.page.goto(f"{self.url}/billing/{path}")


@pytest.fixture
def team(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Team:
    """Playwright's loop runs in this thread, in which the tests also use the database."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    request.getfixturevalue("committed_db")
    return Team()


@pytest.fixture
def visit(team: Team, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """A window; `@pytest.mark.parametrize("visit", [{...}], indirect=True)` gives its options."""
    web = request.getfixturevalue("live_web")
    context = browser.new_context(**({"viewport": WIDE} | getattr(request, "param", {})))
    faults: list[str] = []
    yield Visit(page=_watched(context, web.url, faults), url=web.url, faults=faults)
    context.close()
    assert faults == []


def _watched(context: BrowserContext, url: str, faults: list[str]) -> Page:
    page = context.new_page()
    page.set_default_timeout(15_000)
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console",
        lambda message: faults.append(message.text) if message.type == "error" else None,
    )
    page.on(
        "request",
        lambda asked: (
            None if urlsplit(asked.url).netloc == urlsplit(url).netloc else faults.append(asked.url)
        ),
    )
    return page


def a_month(team: Team) -> None:
    """Calls of every day so far, of several models and people, some with own keys."""
    today = clock.now().day
    for day in range(1, today + 1):
        count = tokens(input=400_000 + 130_000 * (day * 7 % 11), output=40_000 + 9_000 * (day % 5))
        moment = a_day_of_this_month(day)
        who = ("editor", "lead", "owner")[day % 3]
        team.call(who, occurred_at=moment, tokens=count, agent_id=("coder", "universal")[day % 2])
        team.call(
            "member",
            occurred_at=moment,
            tokens=tokens(input=90_000 * (day % 4), cache_read=300_000, output=20_000),
            requested_model="sim-think",
            served_model="sim-think",
            workspace_id=None,
        )
        if day % 3 == 0:
            team.call(occurred_at=moment, tokens=count, billing_mode=BillingMode.BYOK)


def shot(page: Page, screens: Path, name: str) -> None:
    page.screenshot(path=screens / f"dashboard-{name}.png", full_page=True)


def test_nothing_yet(visit, team, screens):
    visit.sign_in(team)
    expect(visit.page.get_by_role("heading", name="No calls in this month")).to_be_visible()
    shot(visit.page, screens, "empty")


@pytest.mark.parametrize("visit", [{"java_script_enabled": False}], indirect=True)
def test_one_call_without_scripts(visit, team, screens):
    team.call()
    visit.sign_in(team)
    expect(visit.page.locator("#spent data")).to_have_attribute("value", "0.001400000000")
    expect(visit.page.locator("svg.columns rect.bar")).to_have_count(1)
    visit.page.get_by_text("Show data").click()
    expect(visit.page.locator("#days")).to_be_visible()
    shot(visit.page, screens, "one-event")


@pytest.mark.parametrize("visit", [{"color_scheme": "dark"}], indirect=True)
def test_a_month_and_a_full_budget(visit, team, screens):
    a_month(team)
    a_budget(
        team.organization, "5", scope=BudgetScope.CUSTOMER, period=PeriodKind.MONTH, name="Pilot"
    )
    visit.sign_in(team)
    shot(visit.page, screens, "dark")
