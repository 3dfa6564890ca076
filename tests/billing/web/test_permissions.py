"""Who may read and change what on the dashboard: the matrix, page by page."""

from __future__ import annotations

import pytest

from accounts.types import Permission
from billing.models import TopUp
from billing.services import customers
from billing.types import TopUpKind
from ideplatform.kit import clock, ids
from tests.billing.funds import a_budget
from tests.house import matrix
from tests.house.matrix import Route, World

P = Permission
FORM = {"Content-Type": matrix.FORM}
THIS_MONTH = f"{clock.now():%Y-%m}"
ORGANIZATION = "?organization={organization_id}"


def page(path: str, permission: Permission, **more) -> Route:
    return Route(
        "GET", f"/billing/{path}", permission, session_only=True, nobody={303},
        **({"ok": {200}} | more),
    )  # fmt: skip


def form(path: str, permission: Permission, at="organization", **more) -> Route:
    return Route(
        "POST", f"/billing/{path}", permission, at=at, headers=FORM, session_only=True,
        nobody={303}, **({"ok": {200, 303}} | more),
    )  # fmt: skip


def _purchase(world: World) -> dict[str, str]:
    customers.ensure([world.organization.pk])
    TopUp.objects.create(
        customer_id=world.organization.pk,
        kind=TopUpKind.CHECKOUT,
        amount_minor=2_500,
        credited=25,
        checkout_session="cs_1",
    )
    return {}


def _notice(_world: World) -> dict[str, str]:
    """A notice is one person's alone; to everybody else it does not exist."""
    return {"notice_id": str(ids.new())}


def _budget(world: World) -> dict[str, str]:
    customers.ensure([world.organization.pk])
    return {"budget_id": str(a_budget(world.organization).pk)}


PAGES = [
    page("", P.BILLING_VIEW, at="listing"),
    page("?workspace={workspace_id}", P.BILLING_VIEW),
    page("explorer", P.BILLING_VIEW, at="listing"),
    page("explorer?workspace={workspace_id}&by=model", P.BILLING_VIEW),
    page("budgets", P.BILLING_VIEW, at="listing"),
    page("budgets?workspace={workspace_id}", P.BILLING_VIEW),
    page(f"payment{ORGANIZATION}", P.BILLING_MANAGE, at="organization"),
    page(
        f"payment/pending{ORGANIZATION}&checkout=cs_1",
        P.BILLING_MANAGE,
        at="organization",
        prepare=_purchase,
    ),
    page("budgets/{budget_id}", P.BILLING_MANAGE, at="organization", prepare=_budget),
    page(f"statements{ORGANIZATION}", P.BILLING_VIEW, at="organization"),
    page(f"statements/{THIS_MONTH}{ORGANIZATION}", P.BILLING_VIEW, at="organization"),
    page("settings", P.SELF, at="self"),
]


@pytest.mark.django_db
@pytest.mark.parametrize("route", PAGES, ids=str)
def test_every_actor_meets_the_answer_of_the_matrix(route, stripe):
    matrix.check(route)


HERE = {"organization": "{organization_id}"}
LIMITS = {"hard": "5", "alert_steps": "50", "is_enabled": "on"}
RECHARGE = {"threshold_usd": "10", "amount_usd": "20", "monthly_cap_usd": "40"}
FORMS = [
    form("budgets", P.BILLING_MANAGE, body={"subject": "customer:"} | HERE | LIMITS),
    form("budgets/{budget_id}", P.BILLING_MANAGE, prepare=_budget, body=LIMITS),
    form("budgets/{budget_id}/end", P.BILLING_MANAGE, prepare=_budget),
    form("payment/top-ups", P.BILLING_MANAGE, body={"amount_usd": "25"} | HERE),
    form("payment/portal", P.BILLING_MANAGE, body=HERE),
    form("payment/auto-recharge", P.BILLING_MANAGE, body=RECHARGE | HERE),
    form("notices/{notice_id}/read", P.SELF, at="self", prepare=_notice, ok={404}),
    form("settings", P.SELF, at="self", body={"tz": "UTC", "precision": "cents"}),
]


@pytest.mark.django_db
@pytest.mark.parametrize("route", FORMS, ids=str)
def test_every_actor_meets_the_answer_of_the_matrix_for_forms(route, stripe):
    matrix.check(route)
