"""The operators' console in a real browser: a customer, a dialog, a request, a blocked price."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from django.contrib.auth.models import Group
from playwright.sync_api import Browser, Page, ViewportSize, expect

from accounts.models import Organization, User
from billing.models import Customer, StripeInbox
from billing.services import holds, rollups, usage
from billing.types import LotKind
from ideplatform.kit import clock
from tests.billing.calls import SIMULATOR, a_list, publish, tokens, usd
from tests.billing.funds import a_budget, a_customer, a_reservation, give, money_of, the_call
from tests.factories import PASSWORD, a_user

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]
WIDE: ViewportSize = {"width": 1440, "height": 1000}


@dataclass(frozen=True)
class Office:
    """A customer with a month of calls, and operators."""

    customer: Organization
    support: User
    manager: User
    publisher: User


def an_operator(group: str) -> User:
    user = a_user(is_staff=True, full_name=group)
    user.groups.set(Group.objects.filter(name=group))
    return user


def a_month(team: Organization) -> None:
    for day in range(14):
        moment = clock.now() - timedelta(days=day, minutes=3)
        call = a_reservation(team, "1")
        holds.reserve(call)
        count = tokens(input=90_000 + 17_000 * day, output=9_000)
        usage.settle(the_call(call, tokens=count, occurred_at=moment, completed_at=moment))
    holds.reserve(a_reservation(team, "2.5"))
    rollups.fold()


@pytest.fixture
def office(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Office:
    """Playwright's loop runs in this thread, in which the tests also use the database."""
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    request.getfixturevalue("committed_db")
    publish(SIMULATOR)
    publish(a_list(a="0.000001"))
    team = a_customer(paid="40", name="Analytical Engines")
    give(team, usd("5"), kind=LotKind.PROMO, reason="Welcome credit")
    Customer.objects.filter(pk=team.pk).update(stripe_customer_id="cus_analytical")
    a_budget(team, "30", name="All of us")
    a_month(team)
    StripeInbox.objects.create(
        event_id="evt_1",
        type="charge.dispute.created",
        created=clock.now(),
        livemode=False,
        body={"data": {"object": {"customer": "cus_analytical"}}},
        state="failed",
        error="payment_mismatch",
    )
    return Office(
        customer=team,
        support=an_operator("billing_support"),
        manager=an_operator("billing_manager"),
        publisher=an_operator("price_publisher"),
    )


class Window:
    """A browser window of one operator, and what went wrong in it."""

    def __init__(self, page: Page, url: str) -> None:
        self.page, self.url = page, url
        self.faults: list[str] = []
        page.set_default_timeout(15_000)
        page.on("pageerror", lambda error: self.faults.append(str(error)))
        page.on("console", lambda told: self._heard(told.type, told.text))
        page.on("request", lambda asked: self._asked(asked.url))

    def _heard(self, kind: str, text: str) -> None:
        if kind == "error":
            self.faults.append(text)

    def _asked(self, url: str) -> None:
        if urlsplit(url).netloc != urlsplit(self.url).netloc:
            self.faults.append(url)

    def sign_in(self, user: User) -> None:
        self.page.context.clear_cookies()
        self.page.goto(f"{self.url}/admin/")
        self.page.locator("[name=username]").fill(user.email)
        self.page.locator("[name=password]").fill(PASSWORD)
        self.page.locator("[type=submit]").click()
        self.page.wait_for_load_state()

    def go(self, path: str) -> None:
        self.page.goto(f"{self.url}/admin/billing/{path}")

    def shot(self, screens: Path, name: str) -> None:
        self.page.screenshot(path=screens / f"console-{name}.png", full_page=True)


@pytest.fixture
def window(office: Office, browser: Browser, request: pytest.FixtureRequest) -> Iterator[Window]:
    web = request.getfixturevalue("live_web")
    context = browser.new_context(viewport=WIDE)
    opened = Window(context.new_page(), web.url)
    yield opened
    context.close()
    assert opened.faults == []


def test_two_people_credit_a_customer(window, office, screens):
    window.sign_in(office.support)
    window.go(f"customer/{office.customer.pk}/change/")
    page = window.page
    page.get_by_role("link", name="Credit", exact=True).click()
    page.get_by_label("Amount, USD").fill("250")
    page.get_by_label("Reason").fill("Outage of Friday")
    page.get_by_label("Ticket").fill("OPS-17")
    page.get_by_role("button", name="Show what would change").click()
    expect(page.get_by_text("It is more than 100 USD.")).to_be_visible()
    window.shot(screens, "preview")
    page.get_by_role("button", name="Ask for approval").click()
    expect(page.get_by_text("You asked for this, so another person approves it.")).to_be_visible()
    asked = page.url
    window.sign_in(office.manager)
    page.goto(asked)
    page.get_by_label("Your password").fill(PASSWORD)
    window.shot(screens, "request")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Adjustment: applied")).to_be_visible()
    # 40 paid and 5 given; 14 calls cost 3.059 of the given 5; one call holds 2.5.
    assert money_of(office.customer) == (290, usd("1.941"), usd("2.5"))
    window.go(f"customer/{office.customer.pk}/change/")
    expect(page.get_by_text("Analytical Engines").first).to_be_visible()
    window.shot(screens, "customer")


def test_a_price_per_million_is_blocked_with_the_reason(window, office, screens):
    window.sign_in(office.publisher)
    window.go("priceversion/draft/")
    page = window.page
    page.get_by_label("Vendor").fill("openai")
    page.get_by_label("Model").fill("a")
    page.get_by_label("USD per token").fill("1")
    page.get_by_role("button", name="Draft").first.click()
    expect(
        page.get_by_text("1 USD per token is 1000000 USD per million tokens").first
    ).to_be_visible()
    window.shot(screens, "blocked-price")
    page.get_by_label("USD per token").fill("0.0000018")
    page.get_by_role("button", name="Draft").first.click()
    expect(page.get_by_text("It moves by 80 %.")).to_be_visible()
    window.shot(screens, "prices")
