"""What each group of operators may do: exactly that."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group

pytestmark = pytest.mark.django_db

LOOK = {"view_console", "view_reports"}
SUPPORT = LOOK | {
    "adjust_wallets", "grant_promo", "refund_payments", "park_customers", "replay_webhooks",
}  # fmt: skip
EXPECTED = {
    "billing_viewer": LOOK,
    "billing_support": SUPPORT,
    "billing_manager": SUPPORT
    | {"set_limits", "run_verification", "approve_money", "view_audit"}
    | {"run_reconciliation", "review_reconciliation"},
    "price_publisher": LOOK | {"draft_prices", "approve_prices"},
    "recon_analyst": LOOK | {"run_reconciliation", "review_reconciliation"},
    "auditor": LOOK | {"view_audit", "run_verification"},
}


@pytest.mark.parametrize("name", sorted(EXPECTED))
def test_a_group_has_exactly_its_rights(name):
    permissions = Group.objects.get(name=name).permissions.values_list("codename", flat=True)
    assert set(permissions) == EXPECTED[name]
