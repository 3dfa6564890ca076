"""Every sentence that `billing_verify` can say is said of a corruption planted for it.

The sentences are read from the invariants, so a new one without a corruption fails here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection, transaction

from billing.models import UsageEvent
from billing.services import audit, corrections, holds, statements, usage, verification
from billing.services.corrections import Change
from billing.types import BillingMode, CorrectionReason, Source
from ideplatform.kit import clock, ids
from tests import databases
from tests.billing.calls import SIMULATOR, a_call, publish, usd
from tests.billing.folding import folded
from tests.billing.funds import a_budget, a_customer, a_reservation, the_call
from tests.billing.stripe.stage import Team, deliver
from tests.fakes.stripe import FakeStripe

TINY = "0.000000000001"
SETTLED = "(SELECT id FROM billing_holds WHERE state = 'settled' ORDER BY id LIMIT 1)"
AN_ENTRY = "(SELECT id FROM billing_ledger_entries WHERE account_seq IS NULL ORDER BY id LIMIT 1)"
COPY = (
    "INSERT INTO usage_events SELECT (jsonb_populate_record(e, jsonb_build_object({}))).*"
    " FROM usage_events e WHERE hold_id = " + SETTLED
)
ANEW = "'id', gen_random_uuid()"
FREE_REQUESTS = "ALTER TABLE usage_events DROP CONSTRAINT usage_events_request"
FREE_NAMES = "DROP INDEX usage_events_provider_request"

PLANTED = [
    (
        "I1",
        "transaction %s (%s) is off by %s %s",
        [f"UPDATE billing_ledger_entries SET amount = amount + {TINY} WHERE id = {AN_ENTRY}"],
    ),
    (
        "I1",
        "transaction %s (%s) is off by %s %s",
        [
            "INSERT INTO billing_ledger_txns SELECT (jsonb_populate_record(t, jsonb_build_object("
            f"{ANEW}, 'idempotency_key', 'no legs', 'reverses_id', NULL))).*"
            " FROM billing_ledger_txns t LIMIT 1"
        ],
    ),
    (
        "I1",
        "transaction %s (%s) is off by %s %s",
        [f"UPDATE billing_ledger_entries SET currency = 'EUR' WHERE id = {AN_ENTRY}"],
    ),
    *(
        (
            "I2",
            "%s %s of customer %s: posted %s, entries %s, last balance %s, seq %s of %s entries",
            [statement],
        )
        for statement in (
            f"UPDATE billing_ledger_accounts SET posted = posted + {TINY} WHERE kind = 'wallet'",
            "UPDATE billing_ledger_accounts SET posted = posted - 1 WHERE kind = 'wallet_promo'",
            "UPDATE billing_ledger_accounts SET seq = seq + 1 WHERE kind = 'wallet'",
            "UPDATE billing_ledger_entries SET account_seq = 100 WHERE account_seq = 1",
        )
    ),
    (
        "I2",
        "entry %s: balance %s does not follow from the one before",
        [f"UPDATE billing_ledger_entries SET balance_after = balance_after + {TINY}"],
    ),
    (
        "I3",
        "wallet %s of customer %s: held %s, live holds %s",
        ["UPDATE billing_ledger_accounts SET held = held + 1 WHERE held > 0"],
    ),
    (
        "I3",
        "wallet %s of customer %s: held %s, live holds %s",
        ["UPDATE billing_holds SET state = 'voided', ended_at = now() WHERE state = 'dispatched'"],
    ),
    (
        "I3",
        "budget period %s of budget %s: held %s, live holds %s",
        [f"UPDATE billing_budget_periods SET held = held + {TINY}"],
    ),
    (
        "I4",
        "budget period %s of budget %s: spent %s, its calls %s",
        [f"UPDATE billing_budget_periods SET spent = spent + {TINY}"],
    ),
    *(
        (
            "I5",
            "hold %s of customer %s: granted %s with %s left",
            [
                "ALTER TABLE billing_holds DROP CONSTRAINT holds_covered",
                f"UPDATE billing_holds SET headroom = {left} WHERE state = 'dispatched'",
            ],
        )
        for left in (f"-{TINY}", "NULL")
    ),
    (
        "I6",
        "request %s attempt %s has %s events",
        [FREE_REQUESTS, FREE_NAMES, COPY.format(ANEW)],
    ),
    (
        "I6",
        "request %s of provider %s has %s events",
        [FREE_NAMES, COPY.format(ANEW + ", 'request_id', gen_random_uuid()")],
    ),
    (
        "I7",
        "hold %s (%s, request %s/%s) has no event",
        [
            "UPDATE billing_holds SET dispatched_at = now() - interval '3 min',"
            " expires_at = now() - interval '2 min' WHERE state = 'dispatched'"
        ],
    ),
    (
        "I7",
        "hold %s (%s, request %s/%s) has no event",
        [f"DELETE FROM usage_events WHERE hold_id = {SETTLED}"],
    ),
    (
        "I7",
        "hold %s is %s and has an event",
        [f"UPDATE billing_holds SET state = 'expired' WHERE id = {SETTLED}"],
    ),
    (
        "I7",
        "event %s cost %s and moved no money",
        [f"UPDATE usage_events SET txn_id = NULL WHERE hold_id = {SETTLED}"],
    ),
    *(
        (
            "I7",
            "event %s was billed %s, its transaction moved %s",
            [f"UPDATE usage_events SET {cost} = {cost} + {TINY} WHERE hold_id = {SETTLED}"],
        )
        for cost in ("billed_cost", "estimated_cost")
    ),
    *(
        (
            "I7",
            "correction %s left %s billed and %s of cost, its transaction moved %s and %s",
            [f"UPDATE billing_usage_corrections SET {delta} = {delta} - {TINY}"],
        )
        for delta in ("delta_billed_cost", "delta_estimated_cost")
    ),
    (
        "I7",
        "event %s was not counted by the platform and moved money",
        [
            "UPDATE usage_events SET txn_id = (SELECT id FROM billing_ledger_txns LIMIT 1)"
            " WHERE source = 'client'"
        ],
    ),
    (
        "I8",
        "%s %s of customer %s: posted %s, lots %s",
        [f"UPDATE billing_credit_lots SET remaining = remaining - {TINY} WHERE kind = 'paid'"],
    ),
    (
        "I8",
        "lot %s: %s of %s remain, %s was used",
        [f"UPDATE billing_lot_uses SET amount = amount + {TINY}"],
    ),
    *(
        ("I9", "%s %s: %s is %s, its rows add up to %s", [statement])
        for statement in (
            f"UPDATE usage_hourly SET billed_cost = billed_cost + {TINY}",
            "DELETE FROM usage_hourly",
            *(
                f"UPDATE usage_daily SET tokens_output = 7 WHERE dimension = '{dimension}'"
                for dimension in (
                    *("agent", "api_key", "model", "provider"),
                    *("user", "workspace", "workspace_model"),
                )
            ),
        )
    ),
    (
        "I10",
        "top-up %s brought %s, its transaction %s",
        [f"UPDATE billing_top_ups SET credited = credited + {TINY}"],
    ),
    (
        "I10",
        "transaction %s (%s) is of no top-up",
        ["UPDATE billing_top_ups SET state = 'created', txn_id = NULL"],
    ),
    (
        "I10",
        "transaction %s (%s) is of no clawback",
        ["DELETE FROM billing_clawbacks WHERE state = 'standing'"],
    ),
    *(
        (
            "I10",
            "%s %s is %s, its transaction is %s",
            [f"UPDATE billing_clawbacks SET state = '{one}' WHERE state = '{other}'"],
        )
        for one, other in (("undone", "standing"), ("standing", "undone"))
    ),
    (
        "I12",
        "entry %s (%s) is not what was written",
        ["UPDATE billing_audit SET target = 'another' WHERE seq = 2"],
    ),
    (
        "I12",
        "entry %s (%s) does not follow entry %s",
        ["DELETE FROM billing_audit WHERE seq = 2"],
    ),
    (
        "I12",
        "the audit ends in entry %s, its last entry was %s",
        ["DELETE FROM billing_audit WHERE seq = 3"],
    ),
    (
        "I13",
        "statement %s (%s) closes with %s, its lines with %s",
        [f"UPDATE billing_statements SET closing = closing + {TINY}"],
    ),
    (
        "I13",
        "statement %s (%s) opens with %s, the one before closed with %s",
        [
            f"UPDATE billing_statements SET opening = opening + {TINY}"
            " WHERE month = (SELECT max(month) FROM billing_statements)"
        ],
    ),
    (
        "I13",
        "statement %s (%s) closes with %s, the wallets with %s",
        ["UPDATE billing_statements SET wallet_seq = wallet_seq - 1 WHERE wallet_seq > 1"],
    ),
]


@pytest.fixture(scope="module")
def books(django_db_setup, django_db_blocker, stripe_server: FakeStripe) -> Iterator[None]:
    """A database with something of everything, in order."""
    with django_db_blocker.unblock(), databases.clone():
        _fill(stripe_server)
        assert verification.breaches() == []
        yield


def _fill(stripe: FakeStripe) -> None:
    publish(SIMULATOR)
    team = a_customer(paid="10", promo="0.001")
    a_budget(team)
    calls = [a_reservation(team, "1") for _ in range(3)]
    holds.reserve_many(calls)
    first = usage.settle(the_call(calls[0], provider_request_id="first"))
    usage.settle(the_call(calls[1], provider_request_id="second"))
    own = a_call(team, billing_mode=BillingMode.BYOK)
    usage.settle_many([own], source=Source.CLIENT)
    corrections.correct(
        event_id=UsageEvent.objects.get(pk=first.event_id).pk,
        key="one",
        change=Change(estimated_cost=usd("-0.0004"), billed_cost=usd("-0.0004")),
        reason=CorrectionReason.PRICE_ERROR,
        created_by_id=ids.new(),
        approved_by_id=ids.new(),
    )
    stripe.reset()
    payer = Team(stripe)
    _, payment = payer.buy("25")
    stripe.refund(payment, 1_000)
    dispute = stripe.dispute(payment, 500)
    deliver(stripe)
    stripe.set_dispute(dispute["id"], "won")
    deliver(stripe)
    for number in range(3):
        audit.record(action="customer.noted", customer_id=team.pk, target=number)
    statements.close_due(now=clock.now() + timedelta(days=70))
    folded()


def _says(template: str, row: str) -> bool:
    return re.fullmatch(re.escape(template).replace("%s", ".*"), row) is not None


@pytest.mark.usefixtures("books")
@pytest.mark.parametrize(("code", "template", "plants"), PLANTED)
def test_a_planted_corruption_is_named(code, template, plants):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")  # no trigger stands guard
        for statement in plants:
            cursor.execute(statement)
        assert cursor.rowcount > 0
        found = verification.breaches()
        transaction.set_rollback(True)
    named = [breach for breach in found if breach.code == code and _says(template, breach.row)]
    assert named, [(breach.code, breach.row) for breach in found]


@pytest.mark.usefixtures("books")
def test_nothing_was_wrong_and_nothing_is_left_wrong():
    assert verification.breaches() == []


def test_every_sentence_has_its_corruption():
    sentences = {
        (invariant.code, template)
        for invariant in verification.INVARIANTS
        for template in re.findall(r"format\('([^']*)'", invariant.sql)
    }
    assert {(code, template) for code, template, _ in PLANTED} == sentences
