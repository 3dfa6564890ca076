"""Where the console's pages are: the sections of its sidebar, each for whoever may see it."""

from __future__ import annotations

from typing import Any, Final

from django.http import HttpRequest
from django.urls import reverse

from billing.admin import desk
from billing.types import Right

_SECTIONS: Final = (
    (
        "Customers",
        Right.VIEW,
        (
            ("Customers", "billing_customer_changelist"),
            ("Requests", "billing_approvalrequest_changelist"),
            ("Budgets", "billing_budget_changelist"),
        ),
    ),
    (
        "Money",
        Right.VIEW,
        (
            ("Ledger", "billing_ledgertxn_changelist"),
            ("Usage", "billing_usageevent_changelist"),
            ("Credit lots", "billing_creditlot_changelist"),
            ("Running calls", "billing_hold_changelist"),
            ("Moved by hand", "billing_handmove_changelist"),
        ),
    ),
    (
        "Stripe",
        Right.VIEW,
        (
            ("Top-ups", "billing_topup_changelist"),
            ("Webhooks", "billing_stripeinbox_changelist"),
            ("Messages", "billing_stripeoutbox_changelist"),
        ),
    ),
    (
        "Prices",
        Right.VIEW,
        (
            ("Versions", "billing_priceversion_changelist"),
            ("Markups", "billing_markuprule_changelist"),
        ),
    ),
    ("Control", Right.AUDIT, (("Audit", "billing_billingaudit_changelist"),)),
)
_REPORTS: Final = ("margin", "liability", "breakage", "overrun", "unpriced")


def sections(request: HttpRequest) -> list[dict[str, Any]]:
    """In the theme's form."""
    shown = [
        {"title": title, "items": [_item(name, reverse(f"admin:{page}")) for name, page in pages]}
        for title, right, pages in _SECTIONS
        if desk.may(request, right)
    ]
    if desk.may(request, Right.REPORTS):
        links = [
            _item(name.capitalize(), reverse("admin:billing_report", args=[name]))
            for name in _REPORTS
        ]
        shown.append({"title": "Reports", "items": links})
    return shown


def _item(title: str, link: str) -> dict[str, Any]:
    return {"title": title, "link": link}
