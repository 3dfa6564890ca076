"""`/billing/statements`: each month's money, closed or running, line by line."""

from __future__ import annotations

from datetime import date

from django.http import HttpRequest, HttpResponse

from accounts.types import Permission
from billing.selectors import statements
from billing.selectors.statements import first_of
from billing.web.pages import BillingPage
from ideplatform.kit import clock

_PATH = "/billing/statements"
_SHOWN = 36


class Statements(BillingPage):
    """The running month, and the closed ones before it."""

    permissions = {"GET": Permission.BILLING_VIEW}
    section = _PATH

    def get(self, request: HttpRequest) -> HttpResponse:
        place = self.money_place()
        closed = statements.statements_page(self.actor, place.id, limit=_SHOWN)
        this = first_of(clock.now())
        context = {
            "running": statements.statement(self.actor, this, place.id).figures,
            "closed": closed.items,
        }
        return self.shown("billing/statements.html", context)


class OneStatement(BillingPage):
    """A month: opening + lines = closing."""

    permissions = {"GET": Permission.BILLING_VIEW}
    section = _PATH

    def get(self, request: HttpRequest, month: str) -> HttpResponse:
        place = self.money_place()
        first: date = statements.read_month(month)
        found = statements.statement(self.actor, first, place.id)
        csv = f"/api/v1/billing/statements/{month}?format=csv&organization_id={place.id}"
        return self.shown("billing/statement.html", {"found": found, "csv": csv})
