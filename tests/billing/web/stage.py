"""A team whose money is looked at, and the people who look."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from decimal import Decimal
from html.parser import HTMLParser
from typing import Any
from zoneinfo import ZoneInfo

from django.test import Client

from accounts.models import User
from accounts.services import sessions
from accounts.types import OrganizationRole
from billing.services import customers, ledger, usage
from billing.types import LotKind, Settlement
from ideplatform.kit import clock, ids
from tests.billing.calls import SIMULATOR, a_call, publish, usd
from tests.factories import (
    a_user,
    a_workspace,
    an_organization,
    join_organization,
    join_workspace,
)
from workspaces.types import WorkspaceRole

HOME = "/billing/"
ROLES = ("owner", "admin", "billing", "member", "lead", "editor", "stranger")


class Team:
    """An organization with a workspace and every kind of reader; prices are published."""

    def __init__(self, *, credit: str = "100", name: str = "Aurora Labs") -> None:
        publish(SIMULATOR)
        self.people: dict[str, User] = {role: a_user() for role in ROLES}
        self.organization = an_organization(name=name)
        customers.ensure([self.organization.pk])  # without an owner, so without welcome credit
        for role in ("owner", "admin", "billing", "member"):
            join_organization(self.organization, self.people[role], OrganizationRole(role))
        self.workspace = a_workspace(
            self.people["lead"], organization=self.organization, name="Checkout service"
        )
        join_workspace(self.workspace, self.people["editor"], WorkspaceRole.EDITOR)
        if usd(credit):
            self.give(usd(credit))

    @property
    def owner(self) -> User:
        return self.people["owner"]

    @property
    def query(self) -> str:
        return f"?organization={self.organization.pk}"

    def give(self, amount: Decimal, kind: LotKind = LotKind.PAID) -> None:
        ledger.credit(
            customer_id=self.organization.pk, amount_usd=amount, kind=kind, key=f"test:{ids.new()}"
        )

    def call(self, who: str = "editor", **facts: Any) -> Settlement:
        """A settled call: 0.0014 USD unless other tokens are given."""
        where = {"workspace_id": self.workspace.pk, "occurred_at": clock.now()} | facts
        return usage.settle(a_call(self.organization, user_id=self.people[who].pk, **where))


def reader(user: User, **headers: str) -> Client:
    """A signed-in reader of pages."""
    pair = sessions.sign_in(user=user, ip="", user_agent="test")
    return Client(
        raise_request_exception=False,
        headers={"Authorization": f"Bearer {pair.access}"} | headers,
    )


def a_day_of_this_month(number: int, zone: str = "UTC") -> datetime:
    """Noon of the n-th day of the running month, never later than now."""
    now = clock.now()
    local = now.astimezone(ZoneInfo(zone)).replace(hour=12, minute=0, second=0, microsecond=0)
    return min(local.replace(day=1) + timedelta(days=number - 1), now)


class _Reading(HTMLParser):
    """The tables of a page by id: rows of cells, a number as its exact value."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] | None = None
        self._is_exact = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "table":
            self._rows = self.tables.setdefault(given.get("id") or "", [])
        elif tag == "tr" and self._rows is not None:
            self._rows.append([])
        elif tag in ("td", "th") and self._rows:
            self._rows[-1].append("")
            self._is_exact = False
        elif tag in ("data", "time") and self._rows and self._rows[-1]:
            self._rows[-1][-1] = given.get("value") or given.get("datetime") or ""
            self._is_exact = True

    def handle_endtag(self, tag: str) -> None:
        if tag == "table":
            self._rows = None

    def handle_data(self, data: str) -> None:
        if self._rows and self._rows[-1] and not self._is_exact:
            self._rows[-1][-1] = f"{self._rows[-1][-1]} {data.strip()}".strip()


def tables(page: str) -> dict[str, list[list[str]]]:
    found = _Reading()
    found.feed(page)
    return found.tables


def figure(page: str, card: str) -> str:
    """The exact value of an overview's card."""
    part = page.split(f'id="{card}"', 1)[1].split("</article>", 1)[0]
    value = re.search(r'<p class="figure"><data value="([^"]+)"', part)
    assert value is not None, part
    return value[1]
