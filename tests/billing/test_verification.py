"""`billing_verify` names each planted corruption, and nothing else."""

from __future__ import annotations

import io

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from billing.services import holds, usage, verification
from tests.billing.calls import SIMULATOR, publish
from tests.billing.funds import a_budget, a_customer, a_reservation, the_call

PLANTED = {
    "I1": [
        "UPDATE billing_ledger_entries SET amount = amount + 0.000000000001"
        " WHERE account_seq IS NULL AND id = (SELECT min(id::text)::uuid"
        " FROM billing_ledger_entries WHERE account_seq IS NULL)",
    ],
    "I2": ["UPDATE billing_ledger_accounts SET posted = posted + 1 WHERE kind = 'wallet'"],
    "I3": ["UPDATE billing_budget_periods SET held = held + 1"],
    "I4": ["UPDATE billing_budget_periods SET spent = spent + 0.000000000001"],
    "I5": [
        "ALTER TABLE billing_holds DROP CONSTRAINT holds_covered",
        "UPDATE billing_holds SET headroom = -1 WHERE state = 'dispatched'",
    ],
    "I6": [
        "ALTER TABLE usage_events DROP CONSTRAINT usage_events_request",
        "INSERT INTO usage_events SELECT (e).* FROM (SELECT jsonb_populate_record(u,"
        " jsonb_build_object('id', gen_random_uuid())) AS e FROM usage_events u) AS twice",
    ],
    "I7": [
        "UPDATE billing_holds SET dispatched_at = now() - interval '3 min',"
        " expires_at = now() - interval '2 min' WHERE state = 'dispatched'"
    ],
    "I8": ["UPDATE billing_credit_lots SET remaining = remaining - 0.5 WHERE kind = 'paid'"],
}


@pytest.fixture
def busy(db):
    """A customer with a settled and a running call, inside a budget."""
    publish(SIMULATOR)
    team = a_customer(paid="10", promo="0.001")
    a_budget(team)
    done = a_reservation(team, "1")
    holds.reserve_many([done, a_reservation(team, "2")])
    usage.settle(the_call(done))
    connection.check_constraints()
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")  # no trigger stands guard
    return team


def _report() -> list[str]:
    out = io.StringIO()
    with pytest.raises(CommandError, match="rows are broken"):
        call_command("billing_verify", stdout=out)
    return out.getvalue().splitlines()


def test_sound_money_passes(busy):
    out = io.StringIO()
    call_command("billing_verify", stdout=out)
    words = [line.split()[1] for line in out.getvalue().splitlines()]
    assert words == ["ok"] * len(verification.INVARIANTS)


@pytest.mark.parametrize("code", sorted(PLANTED))
def test_a_planted_corruption_is_named(busy, code):
    with connection.cursor() as cursor:
        for statement in PLANTED[code]:
            cursor.execute(statement)
    assert code in {breach.code for breach in verification.breaches()}
    lines = _report()
    at = next(n for n, line in enumerate(lines) if line.startswith(f"{code}  BROKEN"))
    assert lines[at + 1].startswith("    ")


def test_the_row_is_named(busy):
    with connection.cursor() as cursor:
        cursor.execute("UPDATE billing_ledger_accounts SET held = 7 WHERE held = 2")
    (breach,) = verification.breaches()
    assert breach.code == "I3"
    assert f"customer {busy.pk}: held 7" in breach.row
    assert "live holds 2.0" in breach.row
