"""Sums of usage against a plain loop over the rows."""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from billing.errors import QueryTooBroad
from billing.models import UsageEvent
from billing.selectors import summary
from billing.selectors.summaries import Totals
from billing.services import usage
from billing.types import BillingMode, UsageFilters
from billing.windows import before, between, of_period, zone_of
from ideplatform.kit import ids
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
