"""`/billing/`: what was spent and held, how long the money lasts, how full the budgets are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from django.http import HttpRequest, HttpResponse
from django.utils.formats import date_format
from django.utils.translation import gettext as _

from accounts.types import Permission
from billing.models import Notice
from billing.selectors import Filled, Funds, notices
from billing.selectors.funds import Fill
from billing.selectors.summaries import Summary, summary
from billing.services import balances
from billing.web import charts, figures
from billing.web.charts import Chart, Gauge, Series
from billing.web.pages import BillingPage
from billing.windows import Window, before
from ideplatform.kit import clock, money
from ideplatform.kit.db import snapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """A budget as a bar: its fullest subject; `limit` counts what was granted for the window."""

    budget: Filled
    fill: Fill
    limit: Decimal
    gauge: Gauge
    percent: int | None


class Overview(BillingPage):
    """One month, with the one before to compare."""

    permissions = {"GET": Permission.BILLING_VIEW}
    section = "/billing/"

    def get(self, request: HttpRequest) -> HttpResponse:
        window = self.month()
        with snapshot():  # what was spent has left the balance beside it
            found = summary(self.actor, window, filters=self.filters(), compares=True)
            funds, budgets = self._money()
        context = {
            "found": found,
            "funds": funds,
            "notices": self._notices(),
            "limits": [limit(one) for one in budgets if one.budget.is_enabled],
            "change": _change(found),
            "days_left": _days_left(found, funds),
            "chart": self._chart(found),
            "rows": list(zip(_days(found), found.series, strict=True)),
            "month": _month_name(window),
            "earlier": before(window).label,
            "later": _after(window),
            "is_now": window.start <= clock.now() < window.end,
        }
        return self.parts("billing/overview.html", "billing/_overview.html", context)

    def _money(self) -> tuple[Funds | None, list[Filled]]:
        """Balance and budgets, where the page is about an organization whose money they see."""
        if self.place is None or not self.sees_money:
            return None, []
        return balances.seen_with_summary(self.actor, self.place.id)

    def _notices(self) -> list[Notice]:
        """What of this organization's budgets the reader was told and has not put away."""
        if self.place is None:
            return []
        return [one for one in notices.unread(self.actor) if one.customer_id == self.place.id]

    def _chart(self, found: Summary) -> Chart:
        precision = self.viewer.preferences.precision
        spent = Series(name=_("Spent"), amounts=[p.totals.billed_cost for p in found.series])
        own = Series(
            name=_("With own keys"),
            amounts=[point.totals.byok_estimated_cost for point in found.series],
        )
        shown = [spent, own] if found.totals.byok_estimated_cost else [spent]
        return charts.stacked(
            [name for _, name in _days(found)],
            shown,
            amount=lambda amount: figures.usd(amount, precision),
        )


def limit(one: Filled) -> Limit:
    """A budget's line; an untouched one is there, and empty."""
    fill = one.fills[0]
    return Limit(
        budget=one,
        fill=fill,
        limit=one.limit_in(fill),
        gauge=charts.gauge(fill.spent, fill.held, one.limit_in(fill)),
        percent=one.percent(fill),
    )


def _days(found: Summary) -> list[tuple[date, str]]:
    """Each bucket's local day, and how an axis names it."""
    days = [point.span.start.astimezone(found.window.zone).date() for point in found.series]
    return [(day, date_format(day, "j")) for day in days]


def _change(found: Summary) -> int | None:
    if found.previous is None:
        return None
    return figures.change(found.totals.billed_cost, found.previous.billed_cost)


def _days_left(found: Summary, funds: Funds | None) -> int | None:
    """At the pace of the last days of this month; nothing is said of other months."""
    now = clock.now()
    if funds is None or not found.window.start <= now < found.window.end:
        return None
    days = [(one.span.start, one.span.end, one.totals.billed_cost) for one in found.series]
    return figures.days_left(max(money.ZERO, _available(funds)), figures.pace(days, now))


def _available(funds: Funds) -> Decimal:
    return funds.balance.available


def _month_name(window: Window) -> str:
    return date_format(window.start.astimezone(window.zone).date(), "YEAR_MONTH_FORMAT")


def _after(window: Window) -> str:
    """The next month, "" when it has not begun."""
    if window.end > clock.now():
        return ""
    return f"month:{window.end.astimezone(window.zone):%Y-%m}"
