"""`/billing/payment`: buying credit, auto-recharge, and what became of purchases.

Coming back from Stripe changes nothing: a purchase is pending until Stripe's own message says that
it was paid. Stripe's pages are opened by a link at the top level, because a form of ours may only
be answered by ourselves (`form-action 'self'`).
"""

from __future__ import annotations

from typing import Any, Final

from django.http import HttpRequest, HttpResponse

from accounts.types import Permission
from accounts.web.pages import is_partial
from billing.errors import PaymentMethodMissing, StripeNotConfigured
from billing.models import AutoRecharge, TopUp
from billing.selectors import payments
from billing.services import balances
from billing.stripe import api, payers, recharges, topups
from billing.web import forms
from billing.web.pages import BillingPage
from ideplatform.kit import ids, throttle
from ideplatform.kit.errors import InvalidInput, PlatformError

_PATH: Final = "/billing/payment"
AMOUNTS: Final = (10, 25, 50, 100, 250)
_CANCELLED: Final = "cancelled"
_SHOWN: Final = 20


class Payment(BillingPage):
    """Balance, the three forms, and the latest purchases."""

    permissions = {"GET": Permission.BILLING_MANAGE}
    section = _PATH

    def get(self, request: HttpRequest) -> HttpResponse:
        return payment_page(self, {})


class Pending(BillingPage):
    """How one purchase stands: the part of the page that asks again until it is decided."""

    permissions = {"GET": Permission.BILLING_MANAGE}
    section = _PATH

    def get(self, request: HttpRequest) -> HttpResponse:
        session_id = request.GET.get("checkout", "")
        found = payments.top_up_of_checkout(self.actor, self.money_place().id, session_id)
        context = {"returned": found}
        return self.parts("billing/pending.html", "billing/_pending.html", context)


class BuyCredit(BillingPage):
    """Opens a page of Stripe to pay on."""

    permissions = {"POST": Permission.BILLING_MANAGE}
    limits = {"POST": throttle.TOP_UP}
    section = _PATH

    def post(self, request: HttpRequest) -> HttpResponse:
        place = self.money_place()
        try:
            started = topups.start(actor=self.actor, **forms.top_up(request.POST, place.id))
        except InvalidInput as refused:
            return payment_page(self, {"faults": forms.faults(refused)}, refused)
        return _leave(self, started.url)


class OpenPortal(BillingPage):
    """Opens Stripe's page of cards and receipts."""

    permissions = {"POST": Permission.BILLING_MANAGE}
    limits = {"POST": throttle.TOP_UP}
    section = _PATH

    def post(self, request: HttpRequest) -> HttpResponse:
        place = self.money_place()
        return _leave(self, payers.open_portal(actor=self.actor, organization_id=place.id))


class SetRecharge(BillingPage):
    """Switches the auto-recharge on or off."""

    permissions = {"POST": Permission.BILLING_MANAGE}
    section = _PATH

    def post(self, request: HttpRequest) -> HttpResponse:
        place = self.money_place()
        try:
            form = forms.auto_recharge(request.POST, place.id)
            recharges.configure(actor=self.actor, **form)
        except (InvalidInput, PaymentMethodMissing) as refused:
            more = {"recharge": _as_sent(request), "recharge_faults": forms.faults(refused)}
            return payment_page(self, more, refused)
        return self.to(_PATH, done="recharge")


def payment_page(
    page: BillingPage, more: dict[str, Any], refused: PlatformError | None = None
) -> HttpResponse:
    """The page; 503 where this platform takes no payments, with everything it can still say."""
    place = page.money_place()
    purchases = payments.top_ups_page(page.actor, place.id, cursor="", limit=_SHOWN)
    context: dict[str, Any] = {
        "funds": balances.of(page.actor, place.id),
        "is_configured": api.is_configured(),
        "returned": _returned(page),
        "was_cancelled": page.request.GET.get("checkout") == _CANCELLED,
        "purchases": purchases.items,
        "recharge": _as_stored(payments.auto_recharge(page.actor, place.id)),
        "amounts": AMOUNTS,
        "least": topups.LEAST_USD,
        "most": topups.MOST_USD,
        "request_key": str(ids.new()),
        "done": page.request.GET.get("done", ""),
        "sent": page.request.POST.dict(),
        "faults": {},
        "recharge_faults": {},
    }
    status = StripeNotConfigured.status if not api.is_configured() else 200
    return page.shown(
        "billing/payment.html", context | more, status=refused.status if refused else status
    )


def _returned(page: BillingPage) -> TopUp | None:
    """The purchase from whose payment page the reader has just come back."""
    session_id = page.request.GET.get("checkout", "")
    if not session_id or session_id == _CANCELLED:
        return None
    return payments.top_up_of_checkout(page.actor, page.money_place().id, session_id)


def _leave(page: BillingPage, url: str) -> HttpResponse:
    """Go on to Stripe: by htmx at once, else by a link on a page of ours."""
    if is_partial(page.request):
        return HttpResponse(headers={"HX-Redirect": url})
    return page.shown("billing/leave.html", {"url": url})


def _as_stored(row: AutoRecharge | None) -> dict[str, Any]:
    if row is None:
        return {"is_enabled": False, "failures": 0}
    return {
        "is_enabled": row.is_enabled,
        "failures": row.failures,
        "threshold_usd": forms.amount(row.threshold),
        "amount_usd": forms.amount(topups.usd(row.amount_minor)),
        "monthly_cap_usd": forms.amount(topups.usd(row.monthly_cap_minor)),
    }


def _as_sent(request: HttpRequest) -> dict[str, Any]:
    return request.POST.dict() | {"is_enabled": "is_enabled" in request.POST}
