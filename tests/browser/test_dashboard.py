"""The dashboard in a real browser, with and without scripts.

Every page fails its test on a console error, a page error, a CSP report or a foreign request.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import pytest
from django.db import connection
from playwright.sync_api import Browser, BrowserContext, Page, expect

from accounts.services import sessions
from billing.services import holds, usage
from billing.stripe import topups
from billing.types import BillingMode, PeriodKind
from ideplatform.kit import clock
from tests.billing.calls import tokens, usd
from tests.billing.funds import a_budget, a_reservation, the_call
from tests.billing.stripe.stage import deliver
from tests.billing.web.stage import Team, a_day_of_this_month
from tests.factories import PASSWORD, an_actor
from tests.fakes.stripe import FakeStripe

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

T = TypeVar("T")
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
def team(committed_db: str) -> Team:
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
            requested_model="sim-coder",
            served_model="sim-coder",
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
    shot(visit.page, screens, "one-event")
    visit.page.get_by_text("Show data").click()
    expect(visit.page.locator("#days tfoot td").nth(3).locator("data")).to_have_attribute(
        "value", "0.001400000000"
    )


@pytest.mark.parametrize("visit", [{"java_script_enabled": False}], indirect=True)
def test_everything_is_done_without_scripts(visit, team):
    """Months, filters, a budget set, changed and ended, settings, language, theme, sign-out."""
    team.call()
    visit.sign_in(team)
    page = visit.page
    page.get_by_role("link", name="Month before").click()
    expect(page.get_by_role("heading", name="No calls in this month")).to_be_visible()
    page.get_by_role("link", name="Explorer").click()
    page.get_by_label("Group by").select_option("agent")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("#groups tbody th")).to_have_text("universal")
    page.get_by_role("link", name="Keys & budgets").click()
    page.get_by_label("Name (optional)").fill("Pilot")
    page.get_by_label("Hard limit, USD").fill("5")
    page.get_by_role("button", name="Set the budget").click()
    expect(page.get_by_role("status")).to_contain_text("counts from the next call")
    page.get_by_role("link", name="Change").click()
    page.get_by_label("Hard limit, USD").fill("7.5")
    page.get_by_role("button", name="Save").click()
    expect(page.locator(".limit")).to_contain_text("$7.50")
    page.get_by_role("link", name="Change").click()
    page.get_by_text("End this budget").click()
    page.get_by_role("button", name="End it").click()
    expect(page.get_by_text("No limit is set")).to_be_visible()
    page.get_by_role("button", name="Dark").click()
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    page.get_by_role("button", name="Português").click()
    expect(page.locator("html")).to_have_attribute("lang", "pt-br")
    page.get_by_role("button", name="Sair").click()
    expect(page.get_by_role("button", name="Entrar")).to_be_visible()


def test_a_month_by_script_keeps_its_address(visit, team, screens):
    a_month(team)
    visit.sign_in(team)
    page = visit.page
    expect(page.locator("svg.columns rect.bar").first).to_be_visible()
    shot(page, screens, "month")
    page.evaluate("document.body.dataset.kept = 'yes'")
    page.get_by_role("link", name="Month before").click()
    expect(page.get_by_role("heading", name="No calls in this month")).to_be_visible()
    assert "period=month" in page.url
    assert page.evaluate("document.body.dataset.kept") == "yes"
    page.go_back()
    expect(page.locator("svg.columns rect.bar").first).to_be_visible()


@pytest.mark.parametrize("visit", [{"color_scheme": "dark"}], indirect=True)
def test_over_budget_in_the_dark(visit, team, screens):
    a_month(team)
    over = a_budget(team.organization, "2", period=PeriodKind.MONTH, name="Pilot")
    a_budget(team.organization, "30", period=PeriodKind.MONTH, name="Whole team")
    spend(team, "1.75")
    holds.reserve(a_reservation(team.organization, "0.25"))
    visit.sign_in(team)
    line = visit.page.locator(f"[data-budget='{over.pk}']")
    expect(line).to_contain_text("over budget")
    expect(line).to_contain_text("(100 %)")
    shot(visit.page, screens, "over-budget")


def spend(team: Team, amount: str) -> None:
    """A held call that cost `amount`, in whole thousands of input tokens."""
    reservation = a_reservation(team.organization, amount, user_id=team.owner.pk)
    holds.reserve(reservation)
    thousands = int(usd(amount) * 1_000)
    usage.settle(
        the_call(reservation, tokens=tokens(input=thousands * 1_000), occurred_at=clock.now())
    )


def test_the_explorer_zooms(visit, team, screens):
    a_month(team)
    visit.sign_in(team, path=f"explorer{team.query}&by=agent")
    page = visit.page
    expect(page.locator("#zoom canvas")).to_be_visible()
    shot(page, screens, "explorer")
    page.get_by_label("Group by").select_option("user")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.locator("#groups tbody th").first).to_contain_text("@example.test")
    expect(page.locator("#zoom canvas")).to_be_visible()
    assert "by=user" in page.url


def test_a_failed_part_is_shown_in_its_place(visit, team):
    team.call()
    visit.sign_in(team, path=f"explorer{team.query}")
    page = visit.page
    page.locator("select[name=range]").select_option("custom")
    page.locator("input[name=from]").fill("2026-11-20")
    page.locator("input[name=to]").fill("2026-11-01")
    page.get_by_role("button", name="Show", exact=True).click()
    expect(page.get_by_role("alert")).to_contain_text("/to")
    expect(page.get_by_label("Group by")).to_be_visible()
    assert all("422" in fault for fault in visit.faults)
    visit.faults.clear()


def test_a_payment_is_pending_until_stripe_has_told(visit, team, stripe, screens):
    session = aside(functools.partial(_bought, team, stripe))
    visit.sign_in(team, path=f"payment{team.query}&checkout={session}")
    expect(visit.page.get_by_text("Payment pending")).to_be_visible()
    shot(visit.page, screens, "payment")
    aside(functools.partial(deliver, stripe))
    expect(visit.page.get_by_text("were added to the balance")).to_be_visible()


def _bought(team: Team, stripe: FakeStripe) -> str:
    """A purchase that was paid at Stripe, whose messages are not delivered."""
    started = topups.start(
        actor=an_actor(team.owner, session_id=sessions.begin(user=team.owner).pk),
        organization_id=team.organization.pk,
        amount_usd=usd("25"),
        saves_card=False,
        request_key=None,
    )
    session = str(started.top_up.checkout_session)
    stripe.pay(session)
    return session


def aside(work: Callable[[], T]) -> T:
    """In a thread without Playwright's loop, as what calls vendors must be."""

    def ending() -> T:
        try:
            return work()
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(ending).result()


@pytest.mark.parametrize("visit", [{"locale": "pt-BR"}], indirect=True)
def test_brazilians_read_portuguese(visit, team, screens):
    a_month(team)
    visit.sign_in(team)
    page = visit.page
    expect(page.get_by_role("heading", name="Gasto", exact=True)).to_be_visible()
    expect(page.locator("#spent")).to_contain_text(re.compile(r"US\$\s\d+,\d\d"))
    shot(page, screens, "pt-br")
    for path in ("explorer", "budgets", "statements", "payment", "settings"):
        visit.go(path + team.query)
        expect(page.get_by_role("button", name="Sair")).to_be_visible()


@pytest.mark.parametrize("visit", [{"viewport": PHONE, "has_touch": True}], indirect=True)
def test_a_phone_never_scrolls_sideways(visit, team, screens):
    a_month(team)
    a_budget(team.organization, "20", period=PeriodKind.MONTH, name="Pilot")
    visit.sign_in(team)
    shot(visit.page, screens, "phone")
    for path in ("", "explorer", "budgets", "statements", "payment", "settings"):
        visit.go(path + team.query)
        wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert visit.page.evaluate(wide) == 0, path


def test_the_keyboard_reaches_everything(visit, team):
    visit.page.goto(f"{visit.url}/billing/{team.query}")
    page = visit.page
    expect(page.get_by_label("E-mail")).to_be_focused()
    page.keyboard.type(team.owner.email)
    page.keyboard.press("Tab")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()


@pytest.mark.parametrize(
    "visit", [{"color_scheme": "light"}, {"color_scheme": "dark"}], indirect=True
)
def test_words_stand_out_from_their_paper(visit, team):
    """At least 4.5 to 1 for every text, computed from what the browser painted."""
    a_month(team)
    a_budget(team.organization, "1", period=PeriodKind.MONTH, name="Pilot")
    spend(team, "1")
    visit.sign_in(team)
    for path in ("", "explorer", "budgets", "payment", "settings"):
        visit.go(path + team.query)
        assert visit.page.evaluate(CONTRAST) == [], path


CONTRAST = """() => {
  const parts = (colour) => colour.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255)
    .map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const paper = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const found = parts(getComputedStyle(at).backgroundColor);
      if (found.length < 4 || found[3] === 1) return found;
    }
    return [255, 255, 255];
  };
  const faint = [];
  for (const element of document.body.querySelectorAll("*")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !element.checkVisibility() || element.closest("svg")) continue;
    const [a, b] = [light(parts(getComputedStyle(element).color)), light(paper(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) faint.push(`${ratio.toFixed(2)} ${element.outerHTML.slice(0, 90)}`);
  }
  return faint;
}"""
