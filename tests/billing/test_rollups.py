"""Sums by hour and day equal the rows they are made from, whatever happens meanwhile."""

from __future__ import annotations

import random
import threading
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from django.db import DatabaseError, connection, connections, transaction

from billing.models import RollupWatermark, UsageDaily, UsageEvent, UsageHourly
from billing.services import corrections, rollups, usage, verification
from billing.services.corrections import Change
from billing.types import BillingMode, CorrectionReason, Outcome, UnitClass
from ideplatform.kit import ids
from ideplatform.observability import metrics
from ideplatform.subscriptions import LISTENERS
from tests import databases
from tests.billing.calls import NOON, PROVIDER, SIMULATOR, a_call, publish, tokens, usd
from tests.billing.folding import folded
from tests.billing.funds import a_customer
from tests.factories import a_user, a_workspace

LATE = datetime(2026, 11, 20, 23, 59, 59, 999_999, tzinfo=UTC)


@pytest.fixture
def team(committed_db):
    publish(SIMULATOR)
    return a_customer(paid="100")


def settle(*calls) -> list[UsageEvent]:
    events = [usage.settle(call).event_id for call in calls]
    return list(UsageEvent.objects.filter(pk__in=events).order_by("occurred_at"))


def give_back(event: UsageEvent, key: str = "one", **change) -> None:
    corrections.correct(
        event_id=event.pk,
        change=Change(**change),
        reason=CorrectionReason.PRICE_ERROR,
        key=key,
        approved_by_id=ids.new(),
    )


def watermark() -> int:
    return int(RollupWatermark.objects.get().folded_before)


def sums(row) -> dict[str, object]:
    return {name: getattr(row, name) for name in rollups.SUMS}


def sound() -> bool:
    return verification.breaches() == []


def test_an_hour_and_its_dimensions_are_summed(team):
    person, key = ids.new(), ids.new()
    settle(
        a_call(team, agent_id="coder", api_key_id=key),
        a_call(team, agent_id="", occurred_at=LATE, outcome=Outcome.TIMEOUT, status=504),
        a_call(team, occurred_at=LATE + timedelta(microseconds=1), user_id=None),
        a_call(team, billing_mode=BillingMode.BYOK, requested_model="x", served_model="x"),
    )
    assert person
    assert folded() == 4
    hours = {row.hour: sums(row) for row in UsageHourly.objects.filter(customer_id=team.pk)}
    assert sorted(hours) == [NOON, NOON + timedelta(hours=11), NOON + timedelta(hours=12)]
    assert hours[NOON] == {
        "requests": 2,
        "failed_requests": 0,
        "unpriced_requests": 1,
        "tokens_input": 2_000,
        "tokens_output": 400,
        "tokens_cache_read": 0,
        "tokens_cache_write": 0,
        "tokens_reasoning": 0,
        "estimated_cost": usd("0.0014"),
        "billed_cost": usd("0.0014"),
        "byok_estimated_cost": 0,
        "saved_by_cache": 0,
    }
    assert hours[NOON + timedelta(hours=11)]["failed_requests"] == 1
    days = {
        (row.dimension, f"{row.day:%d}", row.key): row.requests
        for row in UsageDaily.objects.filter(customer_id=team.pk)
    }
    assert days == {
        ("model", "20", "sim-echo"): 2,
        ("model", "20", "x"): 1,
        ("model", "21", "sim-echo"): 1,
        ("agent", "20", "coder"): 1,
        ("agent", "20", ""): 1,
        ("agent", "20", "universal"): 1,
        ("agent", "21", "universal"): 1,
        ("workspace", "20", ""): 3,
        ("workspace", "21", ""): 1,
        ("user", "20", ""): 3,
        ("user", "21", ""): 1,
        ("api_key", "20", str(key)): 1,
        ("api_key", "20", ""): 2,
        ("api_key", "21", ""): 1,
        ("provider", "20", str(PROVIDER)): 3,
        ("provider", "21", str(PROVIDER)): 1,
        ("workspace_model", "20", "/sim-echo"): 2,
        ("workspace_model", "20", "/x"): 1,
        ("workspace_model", "21", "/sim-echo"): 1,
    }
    assert sound()


def test_folding_again_changes_nothing(team):
    settle(a_call(team), a_call(team))
    assert folded() == 2
    before, mark = sums(UsageHourly.objects.get()), watermark()
    assert rollups.fold() == 0
    assert (sums(UsageHourly.objects.get()), watermark()) == (before, mark)


def test_small_batches_add_up_to_the_same(team):
    dice = random.Random(1)
    settle(*[a_call(team, tokens=tokens(input=dice.randrange(9_999))) for _ in range(17)])
    assert folded(batch=3) == 17
    assert UsageHourly.objects.get().requests == 17
    assert sound()


def test_what_one_transaction_wrote_is_folded_together(team):
    usage.settle_many([a_call(team) for _ in range(9)])
    assert folded(batch=2) == 9
    assert sound()


def test_a_transaction_that_still_runs_is_left_for_later_and_never_lost(team, committed_db):
    """Its number is lower than that of others which ended before it."""
    other = databases.connect(committed_db)
    other.execute("SELECT pg_current_xact_id()")
    other.execute("CREATE TABLE slow ()")
    settle(a_call(team))
    assert rollups.fold() == 0
    other.commit()
    other.close()
    assert folded() == 1
    assert sound()


def test_one_folder_at_a_time(team, committed_db):
    settle(a_call(team))
    with databases.connect(committed_db) as other:
        other.execute("SELECT 1 FROM billing_rollup_watermark FOR NO KEY UPDATE")
        assert rollups.fold() == 0
        assert UsageHourly.objects.count() == 0
    assert folded() == 1


def test_many_folders_and_writers_count_everything_once(team):
    writers = [threading.Thread(target=_write, args=(team, 12)) for _ in range(3)]
    folders = [threading.Thread(target=_fold_often) for _ in range(3)]
    for thread in (*writers, *folders):
        thread.start()
    for thread in (*writers, *folders):
        thread.join(60)
    folded()
    assert UsageHourly.objects.get().requests == 36
    assert sound()


def _write(team, number: int) -> None:
    try:
        for _ in range(number):
            usage.settle(a_call(team))
    finally:
        connections.close_all()


def _fold_often() -> None:
    try:
        for _ in range(20):
            rollups.fold(batch=2)
    finally:
        connections.close_all()


def test_a_correction_is_folded_into_the_hour_and_day_of_its_event(team):
    (event,) = settle(a_call(team))
    folded()
    give_back(
        event,
        estimated_cost=usd("-0.0004"),
        billed_cost=usd("-0.0004"),
        quantities={UnitClass.OUTPUT: -50},
    )
    assert folded() == 1
    row = UsageHourly.objects.get()
    assert (row.requests, row.tokens_output, row.billed_cost) == (1, 150, usd("0.001"))
    assert {row.billed_cost for row in UsageDaily.objects.all()} == {usd("0.001")}
    assert sound()


def test_pricing_an_unpriced_call_takes_it_off_the_unpriced(team):
    (event,) = settle(
        a_call(team, billing_mode=BillingMode.BYOK, requested_model="x", served_model="x")
    )
    folded()
    assert UsageHourly.objects.get().unpriced_requests == 1
    give_back(event, estimated_cost=usd("0.5"))
    folded()
    row = UsageHourly.objects.get()
    assert (row.unpriced_requests, row.byok_estimated_cost) == (0, usd("0.5"))
    assert sound()


@pytest.mark.parametrize("folds_first", [True, False])
def test_sums_follow_a_purged_workspace_and_user(team, folds_first):
    owner = a_user()
    shop, other = a_workspace(owner).pk, a_workspace(owner).pk
    person = a_user().pk
    first, *_ = settle(
        a_call(team, workspace_id=shop, user_id=person),
        a_call(team, workspace_id=other, user_id=person),
        a_call(team, workspace_id=shop, user_id=None),
        a_call(team),
    )
    give_back(first, billed_cost=usd("-0.0004"))
    if folds_first:
        folded()
    UsageEvent.objects.filter(workspace_id=shop).update(workspace_id=None)
    UsageEvent.objects.filter(user_id=person).update(user_id=None)
    assert sound()
    folded()
    assert sound()
    found = UsageDaily.objects.filter(dimension__in=["workspace", "user", "workspace_model"])
    assert {(row.dimension, row.key): (row.requests, row.billed_cost) for row in found} == {
        ("user", ""): (4, usd("0.0052")),
        ("workspace", ""): (3, usd("0.0038")),
        ("workspace", str(other)): (1, usd("0.0014")),
        ("workspace_model", "/sim-echo"): (3, usd("0.0038")),
        ("workspace_model", f"{other}/sim-echo"): (1, usd("0.0014")),
    }


def test_a_purge_waits_for_the_folder_and_the_sums_still_agree(team, committed_db):
    shop = a_workspace(a_user()).pk
    settle(a_call(team, workspace_id=shop))
    with databases.connect(committed_db) as purge:
        purge.execute("UPDATE usage_events SET workspace_id = NULL")
        assert rollups.fold() == 0  # the purge has the watermark
    assert folded() == 1
    assert sound()


def test_rebuilding_makes_the_same_sums_anew(team):
    settle(a_call(team), a_call(team, occurred_at=LATE))
    folded()
    with connection.cursor() as cursor:
        cursor.execute("UPDATE usage_hourly SET billed_cost = billed_cost + 1")
        cursor.execute("DELETE FROM usage_daily WHERE dimension = 'model'")
    assert not sound()
    rollups.rebuild()
    folded()
    assert sound()


def test_a_watermark_of_another_servers_future_starts_over(team):
    """A restored dump brings one; without this no new call would ever be summed."""
    settle(a_call(team))
    folded()
    RollupWatermark.objects.update(folded_before=str(10**15))
    settle(a_call(team))
    folded()
    assert watermark() < 10**15
    assert sound()


PLANTED = {
    "UPDATE usage_hourly SET billed_cost = billed_cost + 0.000000000001": "billed_cost",
    "DELETE FROM usage_hourly": "requests is missing",
    "UPDATE usage_daily SET tokens_input = 7 WHERE dimension = 'agent'": "tokens_input is 7",
    "UPDATE usage_daily SET key = 'other' WHERE dimension = 'model'": "other",
    "INSERT INTO usage_hourly SELECT (jsonb_populate_record(h, jsonb_build_object('customer_id',"
    " '00000000-0000-7000-8000-000000000009'))).* FROM usage_hourly h": "7000-8000-000000000009",
}


@pytest.mark.parametrize("statement", PLANTED)
def test_a_planted_corruption_is_named(team, statement):
    settle(a_call(team))
    folded()
    assert sound()
    with connection.cursor() as cursor:
        cursor.execute(statement)
    found = verification.breaches()
    assert {breach.code for breach in found} == {"I9"}
    assert any(PLANTED[statement] in breach.row for breach in found)


def test_a_row_that_is_folded_late_is_named(team):
    """A watermark that passed a row without its sums is the fault that watermarks have."""
    settle(a_call(team))
    folded()
    settle(a_call(team), a_call(team))
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE billing_rollup_watermark SET folded_before ="
            " (SELECT max(commit_xid) FROM usage_events)"
        )
    assert {breach.code for breach in verification.breaches()} == {"I9"}


def test_the_watermark_is_never_lost(team):
    for statement in ("DELETE FROM billing_rollup_watermark", "TRUNCATE billing_rollup_watermark"):
        with (
            pytest.raises(DatabaseError, match="refused"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement)
    assert RollupWatermark.objects.count() == 1


def test_the_lag_is_the_age_of_the_oldest_row_that_waits(team):
    folded()
    assert metrics.rollup_lag_seconds._value.get() == 0
    settle(a_call(team))
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE usage_events DISABLE TRIGGER keep_fact")
        cursor.execute("UPDATE usage_events SET created_at = now() - interval '90 s'")
        cursor.execute("ALTER TABLE usage_events ENABLE TRIGGER keep_fact")
    rollups.measure()
    assert 90 <= metrics.rollup_lag_seconds._value.get() < 120
    folded()
    assert metrics.rollup_lag_seconds._value.get() == 0


def test_calls_and_corrections_wake_the_folder():
    assert LISTENERS["usage.settled"] == ("billing.tasks.fold_rollups",)
    assert LISTENERS["usage.corrected"] == ("billing.tasks.fold_rollups",)


def test_amounts_are_exact(team):
    settle(*[a_call(team, requested_model="sim-embed", served_model="", tokens=tokens(embedding=1))
             for _ in range(30)])  # fmt: skip
    folded()
    assert UsageHourly.objects.get().estimated_cost == 30 * Decimal("0.00000002")
