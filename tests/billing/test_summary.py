"""Sums of usage against a plain loop over the rows."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, datetime, time, timedelta
from decimal import Decimal

import pytest

from billing.errors import QueryTooBroad
from billing.forecasting import ForecastMethod
from billing.models import UsageEvent
from billing.selectors import summary
from billing.selectors.summaries import Totals
from billing.services import corrections, usage
from billing.services.corrections import Change
from billing.types import BillingMode, CorrectionReason, UsageFilters
from billing.windows import before, between, of_period, zone_of
from ideplatform.kit import clock, ids
from tests import databases
from tests.billing.calls import NOON, SIMULATOR, a_call, publish, tokens, usd
from tests.factories import a_user, a_workspace, an_actor, an_organization

COLUMNS = {
    "model": "model",
    "agent": "agent_id",
    "workspace": "workspace_id",
    "user": "user_id",
    "provider": "provider_id",
    "api_key": "api_key_id",
}
ZONES = ["UTC", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Europe/Lisbon"]


@pytest.fixture
def owner(db):
    publish(SIMULATOR)
    return a_user()


def a_year_of_usage(owner, dice: random.Random, number: int) -> None:
    """Random calls around the year's clock changes."""
    organization = owner.personal_organization
    workspaces = [a_workspace(owner).pk, None]
    people, providers, keys = [owner.pk, a_user().pk], [ids.new(), ids.new()], [ids.new(), None]
    models = ["sim-echo", "sim-coder", "mystery"]
    changes = [datetime(2026, 3, 8, tzinfo=UTC), datetime(2026, 11, 1, tzinfo=UTC)]
    calls = []
    for _ in range(number):
        model = dice.choice(models)
        moment = dice.choice(changes) + timedelta(seconds=dice.randrange(-400_000, 400_000))
        calls.append(
            a_call(
                organization,
                workspace_id=dice.choice(workspaces),
                user_id=dice.choice(people),
                provider_id=dice.choice(providers),
                api_key_id=dice.choice(keys),
                agent_id=dice.choice(["coder", ""]),
                requested_model=model,
                served_model=model,
                billing_mode=dice.choice(list(BillingMode)),
                tokens=tokens(
                    input=dice.randrange(9_999),
                    cache_read=dice.randrange(99),
                    output=dice.randrange(99),
                ),
                occurred_at=moment,
            )
        )
    usage.settle_many(calls)


def added(rows: list[UsageEvent]) -> Totals:
    known = [row for row in rows if row.estimated_cost is not None]
    return Totals(
        requests=len(rows),
        tokens_reasoning=sum(row.tokens_reasoning for row in rows),
        tokens_input=sum(row.tokens_input for row in rows),
        tokens_output=sum(row.tokens_output for row in rows),
        tokens_cache_read=sum(row.tokens_cache_read for row in rows),
        estimated_cost=sum((row.estimated_cost for row in known), Decimal(0)),
        billed_cost=sum((row.billed_cost for row in rows), Decimal(0)),
        byok_estimated_cost=sum(
            (row.estimated_cost for row in known if row.billing_mode == "byok"), Decimal(0)
        ),
        saved_by_cache=sum((row.saved_by_cache for row in rows), Decimal(0)),
        unpriced_requests=len(rows) - len(known),
    )


def key_of(row: UsageEvent, group_by: list[str], zone):
    local = row.occurred_at.astimezone(zone)
    times = {
        "day": local.date().isoformat(),
        "hour": f"{local:%FT%H}:00:00{local.isoformat()[-6:]}",
    }
    return tuple((n, times[n] if n in times else getattr(row, COLUMNS[n])) for n in group_by)


def within(rows: list[UsageEvent], window) -> list[UsageEvent]:
    return [row for row in rows if window.start <= row.occurred_at < window.end]


@pytest.mark.parametrize("seed", range(4))
def test_random_summaries_equal_a_loop_over_the_rows(owner, seed):
    dice = random.Random(seed)
    a_year_of_usage(owner, dice, 150)
    rows = list(UsageEvent.objects.all())
    for _ in range(25):
        zone = zone_of(dice.choice(ZONES))
        start = dice.choice(rows).occurred_at + timedelta(seconds=dice.randrange(-9_999, 9_999))
        window = dice.choice(
            [
                of_period(f"day:{start.astimezone(zone):%F}", zone),
                of_period(f"month:{start.astimezone(zone):%Y-%m}", zone),
                between(start, start + timedelta(seconds=dice.randrange(1, 900_000)), zone),
            ]
        )
        names = dice.sample([*COLUMNS, "day"], dice.randrange(3))
        names = [
            "hour" if name == "day" and window.length.days < 50 and dice.random() < 0.5 else name
            for name in names
        ]
        found = summary(an_actor(owner), window, group_by=names, compares=True)
        meant = within(rows, window)
        assert found.totals == added(meant)
        assert found.previous == added(within(rows, before(window)))
        groups = defaultdict(list)
        for row in meant:
            groups[key_of(row, names, zone)].append(row)
        expected = {key: added(of_key) for key, of_key in groups.items()} if names else {}
        assert {group.key: group.totals for group in found.groups} == expected
        for point in found.series:
            at = [r for r in meant if point.span.start <= r.occurred_at < point.span.end]
            assert point.totals == added(at)
        assert sum(point.totals.requests for point in found.series) == len(meant)


def test_an_empty_window_adds_up_to_zero(owner):
    found = summary(an_actor(owner), of_period("day:2026-01-01", zone_of("UTC")), compares=True)
    assert (found.totals, found.previous, found.groups) == (Totals(), Totals(), ())
    assert len(found.series) == 24


def test_who_sees_nothing_gets_zeros(owner):
    usage.settle(a_call(owner.personal_organization, user_id=owner.pk))
    window = of_period("month:2026-11", zone_of("UTC"))
    assert summary(an_actor(a_user()), window).totals == Totals()
    assert summary(an_actor(owner), window).totals.requests == 1


def test_filters_narrow_the_summary(owner):
    organization = owner.personal_organization
    usage.settle_many(
        [a_call(organization, agent_id="a"), a_call(organization, agent_id="b", status=500)]
    )
    window = of_period("month:2026-11", zone_of("UTC"))
    found = summary(an_actor(owner), window, filters=UsageFilters(agent_id="b"))
    assert found.totals.requests == 1


def test_the_dearest_group_comes_first(owner):
    organization = owner.personal_organization
    counts = {"a": 1, "b": 3, "c": 2}
    usage.settle_many(
        [a_call(organization, agent_id=a, tokens=tokens(input=n)) for a, n in counts.items()]
    )
    window = of_period("month:2026-11", zone_of("UTC"))
    found = summary(an_actor(owner), window, group_by=["agent"])
    assert [group.key for group in found.groups] == [
        (("agent", "b"),),
        (("agent", "c"),),
        (("agent", "a"),),
    ]


def test_a_million_tiny_costs_would_not_vanish_in_the_sum(owner):
    """NUMERIC adds what DECIMAL(10,6) would have stored as zero."""
    call = {"requested_model": "sim-embed", "served_model": "", "tokens": tokens(embedding=1)}
    usage.settle_many([a_call(owner.personal_organization, **call) for _ in range(500)])
    found = summary(an_actor(owner), of_period("month:2026-11", zone_of("UTC")))
    assert found.totals.estimated_cost == 500 * usd("0.00000002")


def test_too_many_groups_are_refused(owner):
    calls = [a_call(owner.personal_organization, agent_id=str(n)) for n in range(12)]
    usage.settle_many(calls)
    window = of_period("month:2026-11", zone_of("UTC"))
    assert len(summary(an_actor(owner), window, group_by=["agent"], most_groups=12).groups) == 12
    with pytest.raises(QueryTooBroad):
        summary(an_actor(owner), window, group_by=["agent"], most_groups=11)


def test_organizations_do_not_see_each_other(owner):
    other = an_organization(a_user())
    usage.settle_many([a_call(other), a_call(owner.personal_organization)])
    found = summary(an_actor(owner), between(NOON, NOON + timedelta(1), zone_of("UTC")))
    assert found.totals.requests == 1


def test_what_takes_too_long_is_refused_and_names_the_export(committed_db):
    """A lock that somebody else holds takes as long as it likes."""
    with databases.connect(committed_db) as other:
        other.execute("LOCK TABLE usage_events IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(QueryTooBroad, match="export") as refused:
            summary(an_actor(a_user()), of_period("month:2026-11", zone_of("UTC")), timeout_ms=100)
    assert refused.value.extra["export"] == "/api/v1/billing/usage?format=csv"
    assert (refused.value.status, refused.value.code) == (422, "query_too_broad")


def test_a_correction_counts_on_the_day_of_its_event(owner):
    organization = owner.personal_organization
    month = of_period("month:2026-11", zone_of("UTC"))
    event = usage.settle(a_call(organization))
    usage.settle(a_call(organization, occurred_at=NOON + timedelta(days=1)))
    corrections.correct(
        event_id=event.event_id,
        change=Change(estimated_cost=usd("-0.0004"), billed_cost=usd("-0.0004")),
        reason=CorrectionReason.GOODWILL,
        key="one",
        approved_by_id=ids.new(),
    )
    found = summary(an_actor(owner), month, group_by=["day"])
    assert {dict(group.key)["day"]: group.totals.billed_cost for group in found.groups} == {
        "2026-11-20": usd("0.001"),
        "2026-11-21": usd("0.0014"),
    }
    assert (found.totals.requests, found.totals.billed_cost) == (2, usd("0.0024"))


def test_the_forecast_rests_on_the_days_before_today(owner):
    """The rows of four weeks, summed by whole days: three of them cost something."""
    now = clock.now()
    today = datetime.combine(now.date(), time.min, tzinfo=UTC)
    for days in (1, 2, 3):
        call = a_call(owner.personal_organization, occurred_at=today - timedelta(days=days))
        usage.settle(call)
    window = between(today, today + timedelta(days=400) // 4, zone_of("UTC"))
    found = summary(an_actor(owner), window)
    assert found.forecast.method is ForecastMethod.MEAN_OF_DAYS
    assert found.forecast.low == found.forecast.mid == found.forecast.high
    assert usd("0.0014") * 99 <= found.forecast.mid <= usd("0.0014") * 100
