"""The margin of a customer and of each model, by roll-ups and the rows that they lack."""

from __future__ import annotations

import re

import pytest

from billing.services import holds, rollups, usage
from ideplatform.kit import clock
from tests.billing.calls import SIMULATOR, publish
from tests.billing.console.desk import Desk
from tests.billing.funds import a_customer, a_reservation, the_call


@pytest.mark.parametrize("between", [rollups.fold, lambda: 0], ids=["folded", "not yet"])
def test_the_margin_is_what_was_paid_less_what_vendors_take(committed_db, between):
    """Two calls of 1,000 tokens in and 200 out at 1 and 2 USD per million."""
    publish(SIMULATOR)
    team = a_customer(paid="10")
    for _ in range(2):
        call = a_reservation(team, "1")
        holds.reserve(call)
        usage.settle(the_call(call, occurred_at=clock.now(), completed_at=clock.now()))
        between()
    viewer = Desk("billing_viewer")
    page = viewer.read(f"customer/{team.pk}/change/")
    assert "0.0028 paid, 0.0028 cost" in page
    cells = re.findall(r"<td>([^<]*)</td>", viewer.read("customer/reports/margin/"))
    assert cells[:5] == ["sim-echo", "2", "0.0028", "0.0028", "0.00"]
