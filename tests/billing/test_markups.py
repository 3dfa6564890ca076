"""What customers pay beside the vendor's price, from the rule to the ledger."""

from __future__ import annotations

import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import DatabaseError, connection, transaction
from psycopg.types.range import Range

from billing.models import LedgerEntry, MarkupRule, UsageEvent
from billing.services import holds, usage, verification
from billing.types import Accuracy, ApprovalKind, BillingMode, MarkupKind, Outcome
from ideplatform.kit import clock
from tests.billing.calls import NOON, SIMULATOR, a_call, publish, tokens, usd
from tests.billing.console.people import a_markup, approved
from tests.billing.funds import a_customer, a_reservation, money_of, the_call

PERCENT, PER_UNIT, PER_REQUEST = MarkupKind.PERCENT, MarkupKind.PER_UNIT, MarkupKind.PER_REQUEST


def a_rule(kind: MarkupKind = PERCENT, value: str = "20", **columns: Any) -> MarkupRule:
    values: dict[str, Any] = {
        "effective": Range(NOON - timedelta(days=30), None),
    } | columns
    return a_markup(kind, value, **values)


@pytest.fixture
def team(db):
    publish(SIMULATOR)
    return a_customer(paid="10")


def bill(team, **facts: Any) -> Decimal:
    return usage.settle(a_call(team, **facts)).billed_usd


def test_a_marked_up_call_is_charged_and_the_vendor_is_owed_its_price(team):
    a_rule(PERCENT, "20")
    a_rule(PER_UNIT, "0.0000001")
    a_rule(PER_REQUEST, "0.01")
    settled = usage.settle(a_call(team))
    assert settled.cost_usd == usd("0.0014")
    assert settled.billed_usd == usd("0.0014") * usd("1.2") + 1_200 * usd("0.0000001") + usd("0.01")
    assert money_of(team) == (usd("10") - settled.billed_usd, 0, 0)
    legs = dict(
        LedgerEntry.objects.filter(txn__kind="usage").values_list("account__kind", "amount")
    )
    assert legs == {
        "wallet": -settled.billed_usd,
        "revenue_usage": settled.billed_usd,
        "provider_cogs": -usd("0.0014"),
        "provider_payable:openai_compatible": usd("0.0014"),
    }
    assert verification.breaches() == []


def test_the_highest_priority_of_a_kind_decides_alone(team):
    a_rule(PERCENT, "20")
    a_rule(PERCENT, "50", priority=1)
    a_rule(PERCENT, "300", priority=2, provider_type="anthropic")
    assert bill(team) == usd("0.0014") * usd("1.5")


def test_of_equal_priority_the_more_particular_decides(team):
    a_rule(PERCENT, "20")
    a_rule(PERCENT, "30", model_glob="sim-*")
    a_rule(PERCENT, "40", provider_type="openai_compatible")
    assert bill(team) == usd("0.0014") * usd("1.4")
    a_rule(PERCENT, "50", customer_id=team.pk)
    assert bill(team) == usd("0.0014") * usd("1.5")
    assert bill(a_customer(paid="1")) == usd("0.0014") * usd("1.4")


@pytest.mark.parametrize(
    ("columns", "is_marked_up"),
    [
        ({"model_glob": "sim-?cho"}, True),
        ({"model_glob": "sim-c*"}, False),
        ({"effective": Range(NOON, None)}, True),
        ({"effective": Range(NOON - timedelta(days=2), NOON)}, False),
        ({"effective": Range(NOON + timedelta(seconds=1), None)}, False),
    ],
)
def test_a_rule_counts_for_its_models_and_its_time(team, columns, is_marked_up):
    a_rule(PERCENT, "100", **columns)
    assert bill(team) == usd("0.0028" if is_marked_up else "0.0014")


def test_a_discount_can_be_whole(team):
    a_rule(PERCENT, "-100")
    settled = usage.settle(a_call(team))
    assert settled.billed_usd == 0
    assert settled.cost_usd == usd("0.0014")
    assert verification.breaches() == []


def test_own_keys_and_calls_that_used_nothing_bear_no_fee(team):
    a_rule(PER_REQUEST, "1")
    assert bill(team, billing_mode=BillingMode.BYOK) == 0
    failed = {"status": 500, "outcome": Outcome.PROVIDER_ERROR, "tokens": tokens()}
    assert bill(team, **failed) == 0
    lost = {"status": 0, "outcome": Outcome.TIMEOUT, "accuracy": Accuracy.ESTIMATED}
    assert bill(team, **lost) == 0
    unknown = {"requested_model": "nobody-prices-it", "served_model": "nobody-prices-it"}
    assert bill(team, **unknown) == 0
    assert money_of(team) == (10, 0, 0)


def test_a_model_that_costs_nothing_still_bears_the_fee(team):
    a_rule(PER_REQUEST, "0.5")
    publish_free()
    free = {"requested_model": "sim-free", "served_model": "sim-free"}
    settled = usage.settle(a_call(team, occurred_at=clock.now(), **free))
    assert settled.cost_usd == 0
    assert settled.billed_usd == usd("0.5")
    assert money_of(team) == (usd("9.5"), 0, 0)
    assert verification.breaches() == []


def publish_free() -> None:
    free = {
        "litellm_provider": "openai_compatible",
        "mode": "chat",
        "input_cost_per_token": "0",
        "output_cost_per_token": "0",
    }
    publish(json.dumps({"models": {"openai_compatible/sim-free": free}, "aliases": {}}))


def test_a_recovered_call_is_billed_as_it_would_have_been(team):
    a_rule(PERCENT, "100", effective=Range(clock.now() - timedelta(days=1), None))
    held = a_reservation(team, "1")
    holds.reserve(held)
    settled = usage.settle(the_call(held, occurred_at=clock.now()))
    assert settled.billed_usd == usd("0.0028")
    assert money_of(team) == (usd("9.9972"), 0, 0)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE billing_markup_rules SET value = 1",
        "UPDATE billing_markup_rules SET priority = 1",
        "UPDATE billing_markup_rules SET effective = tstzrange(lower(effective), '2026-01-01')",
        "DELETE FROM billing_markup_rules",
        "TRUNCATE billing_markup_rules",
    ],
)
def test_a_rule_never_changes(team, statement):
    rule = a_rule()
    with pytest.raises(DatabaseError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert MarkupRule.objects.get().value == rule.value


def test_a_rule_ends_from_now_on(team):
    a_rule()
    tomorrow = clock.now() + timedelta(days=1)
    rule_id = str(MarkupRule.objects.get().pk)
    approved(ApprovalKind.MARKUP, ended_id=rule_id, value=None, ends_at=clock.rfc3339(tomorrow))
    MarkupRule.objects.update(effective=Range(NOON - timedelta(days=30), tomorrow))
    connection.check_constraints()
    assert MarkupRule.objects.get().effective.upper == tomorrow


@pytest.mark.parametrize(
    "columns",
    [
        {"kind": PERCENT, "value": "-101"},
        {"kind": PERCENT, "value": "1001"},
        {"kind": PER_UNIT, "value": "-0.1"},
        {"kind": PER_UNIT, "value": "2"},
        {"kind": PER_REQUEST, "value": "101"},
        {"kind": "other", "value": "1"},
        {"kind": PERCENT, "value": "20"},
    ],
    ids=str,
)
def test_a_senseless_or_contradicting_rule_is_refused(team, columns):
    a_rule(PERCENT, "20")
    with pytest.raises(DatabaseError), transaction.atomic():
        a_rule(**columns)
    assert MarkupRule.objects.count() == 1


def test_a_bill_of_a_tenth_of_a_picodollar_is_rounded_once(team):
    a_rule(PERCENT, "50")
    settled = [usage.settle(a_call(team, tokens=tokens(input=1))) for _ in range(3)]
    assert {one.billed_usd for one in settled} == {usd("0.0000015")}
    assert UsageEvent.objects.count() == 3
