"""Every actor at every payment route: the matrix of the design."""

import pytest

from accounts.types import Permission as P
from tests.house import matrix
from tests.house.matrix import Route

B = "/api/v1/billing"
HERE = {"organization_id": "{organization_id}"}
PURCHASE = HERE | {"amount_usd": "25"}
RECHARGE = {
    "is_enabled": False,
    "threshold_usd": "5",
    "amount_usd": "20",
    "monthly_cap_usd": "100",
}
THERE = "?organization_id={organization_id}"
ROUTES = [
    Route("GET", f"{B}/top-ups{THERE}", P.BILLING_MANAGE, at="organization"),
    Route(
        "POST",
        f"{B}/top-ups",
        P.BILLING_MANAGE,
        at="organization",
        body=PURCHASE,
    ),
    Route("POST", f"{B}/portal", P.BILLING_MANAGE, at="organization", body=HERE),
    Route("GET", f"{B}/auto-recharge{THERE}", P.BILLING_MANAGE, at="organization"),
    Route("PUT", f"{B}/auto-recharge", P.BILLING_MANAGE, at="organization", body=HERE | RECHARGE),
]


@pytest.mark.django_db
@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_actor_meets_the_answer_of_the_matrix(stripe, route):
    matrix.check(route)
