"""`billing_verify` names every planted corruption of payments."""

from __future__ import annotations

import pytest
from django.db import connection

from billing.services import verification
from tests.billing.stripe.stage import deliver

PLANTED = [
    "UPDATE billing_top_ups SET credited = credited + 1",
    "UPDATE billing_top_ups SET payment_intent = 'pi_of_another'",
    "UPDATE billing_top_ups SET state = 'created', txn_id = NULL",
    "UPDATE billing_clawbacks SET state = 'undone' WHERE state = 'standing'",
    "UPDATE billing_clawbacks SET state = 'standing' WHERE state = 'undone'",
    "DELETE FROM billing_clawbacks WHERE state = 'standing'",
]


@pytest.fixture
def busy(team, stripe):
    """A top-up with a refund, and a dispute that was won."""
    _, payment = team.buy("25")
    stripe.refund(payment, 1_000)
    dispute = stripe.dispute(payment, 500)
    deliver(stripe)
    stripe.set_dispute(dispute["id"], "won")
    deliver(stripe)
    connection.check_constraints()
    return team


@pytest.mark.usefixtures("busy")
def test_nothing_is_wrong_at_first():
    assert verification.breaches() == []


@pytest.mark.usefixtures("busy")
@pytest.mark.parametrize("fault", PLANTED)
def test_a_planted_fault_is_named(fault):
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")  # no trigger stands guard
        cursor.execute(fault)
        assert cursor.rowcount == 1
    found = verification.breaches()
    assert {breach.code for breach in found} == {"I10"}
    assert len(found) == 1
