"""Whatever is asked while calls, corrections, purges and folders run: equal to the rows, exactly.

Each summary is read in one snapshot with the rows, which plain Python then adds up.
"""

from __future__ import annotations

import random
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from django.db import connection, connections, transaction
from django.db.models import Q

from accounts.types import Actor, OrganizationRole, Scope
from billing.models import UsageCorrection, UsageEvent
from billing.selectors import summary
from billing.selectors.summaries import Totals
from billing.services import corrections, rollups, usage, verification
from billing.services.corrections import Change
from billing.types import BillingMode, CorrectionReason, Outcome, UnitClass, UsageFilters
from billing.windows import Window, before, between, of_period, zone_of
from ideplatform.kit import ids
from tests.billing.calls import SIMULATOR, a_call, publish, tokens, usd
from tests.factories import a_user, a_workspace, an_actor, an_organization, join_organization
from workspaces.models import Workspace

ZONES = [
    "UTC",
    "America/New_York",
    "Asia/Kathmandu",  # 45 minutes
    "Australia/Lord_Howe",  # clocks change by half an hour
    "America/St_Johns",  # half an hour off, and daylight saving
    "Pacific/Apia",
]
EDGES = [
    datetime(2026, 3, 8, 7, tzinfo=UTC),  # New York springs forward
    datetime(2026, 11, 1, 6, tzinfo=UTC),  # and falls back
    datetime(2026, 4, 4, 15, tzinfo=UTC),  # Lord Howe falls back
    datetime(2026, 3, 29, 1, tzinfo=UTC),
]
COLUMNS = {
    "model": "model",
    "agent": "agent_id",
    "workspace": "workspace_id",
    "user": "user_id",
    "provider": "provider_id",
    "api_key": "api_key_id",
}
FAILED = {"provider_error", "timeout", "crash_recovered"}
SUMMARIES = 200


@dataclass
class World:
    """Two organizations: in one the owner sees everything, in the other their own."""

    dice: random.Random
    owner: Actor
    whole: UUID
    partly: UUID
    shops: list[UUID | None]
    guest_shop: UUID
    strange_shop: UUID
    people: list[UUID | None]
    providers: list[UUID]
    keys: list[UUID | None]

    def call(self):
        dice = self.dice
        places = [(shop, self.whole) for shop in (*self.shops, *self.shops)]
        places += [(shop, self.partly) for shop in (self.guest_shop, self.strange_shop, None)]
        place, organization = dice.choice(places)
        model = dice.choice(["sim-echo", "sim-coder", "mystery"])
        spread = dice.choice([3_600, 40_000, 1_500_000])
        return a_call(
            organization_id=organization,
            workspace_id=place,
            user_id=dice.choice(self.people),
            provider_id=dice.choice(self.providers),
            api_key_id=dice.choice(self.keys),
            agent_id=dice.choice(["coder", ""]),
            requested_model=model,
            served_model=model,
            billing_mode=dice.choice(list(BillingMode)),
            outcome=dice.choice(list(Outcome)),
            tokens=tokens(
                input=dice.randrange(9_999),
                cache_read=dice.randrange(99),
                output=dice.randrange(50, 99),
                output_reasoning=dice.randrange(9),
            ),
            occurred_at=dice.choice(EDGES) + timedelta(seconds=dice.randrange(-spread, spread)),
        )

    def sees(self, event: UsageEvent) -> bool:
        if event.customer_id == self.whole:
            return True
        is_mine = event.user_id == self.owner.user_id
        return event.workspace_id == self.guest_shop or (is_mine and event.workspace_id is None)


@pytest.fixture
def world(committed_db) -> World:
    publish(SIMULATOR)
    owner, colleague = a_user(), a_user()
    partly = an_organization(colleague)
    join_organization(partly, owner, OrganizationRole.MEMBER)
    whole = owner.personal_organization
    return World(
        dice=random.Random(20_261_122),
        owner=an_actor(owner),
        whole=whole.pk,
        partly=partly.pk,
        shops=[a_workspace(owner).pk, a_workspace(owner).pk, None],
        guest_shop=a_workspace(owner, organization=partly).pk,
        strange_shop=a_workspace(colleague, organization=partly, visibility="private").pk,
        people=[owner.pk, colleague.pk, None],
        providers=[ids.new(), ids.new()],
        keys=[ids.new(), None],
    )


def correct_some(dice: random.Random, events: list[UsageEvent]) -> None:
    for event in dice.sample(events, min(len(events), 6)):
        priced = event.estimated_cost is not None
        back = Decimal(dice.randrange(5)) / 10 * (event.estimated_cost or 0)
        is_paid = event.billing_mode == BillingMode.PLATFORM
        corrections.correct(
            event_id=event.pk,
            change=Change(
                estimated_cost=-back if priced else usd("0.25"),
                billed_cost=-min(back, event.billed_cost) if is_paid else Decimal(0),
                saved_by_cache=usd("0.000000000001"),
                quantities={UnitClass.OUTPUT: -1},
            ),
            reason=CorrectionReason.PRICE_ERROR,
            key=str(ids.new()),
            approved_by_id=ids.new(),
        )


def added(events: list[UsageEvent], changes: dict[UUID, list[UsageCorrection]]) -> Totals:
    total: dict[str, int | Decimal] = defaultdict(int)
    money = dict.fromkeys(
        ["estimated_cost", "billed_cost", "byok_estimated_cost", "saved_by_cache"], Decimal(0)
    )
    for event in events:
        own = changes.get(event.pk, [])
        cost = (event.estimated_cost or 0) + sum(one.delta_estimated_cost for one in own)
        is_priced = event.estimated_cost is not None or any(one.gives_price for one in own)
        total["requests"] += 1
        total["failed_requests"] += event.outcome in FAILED
        total["unpriced_requests"] += not is_priced
        for name in ("input", "output", "cache_read", "cache_write", "reasoning"):
            delta = sum(getattr(one, f"delta_tokens_{name}") for one in own)
            total[f"tokens_{name}"] += getattr(event, f"tokens_{name}") + delta
        money["estimated_cost"] += cost
        money["billed_cost"] += event.billed_cost + sum(one.delta_billed_cost for one in own)
        money["byok_estimated_cost"] += cost if event.billing_mode == "byok" else 0
        money["saved_by_cache"] += event.saved_by_cache + sum(
            one.delta_saved_by_cache for one in own
        )
    return Totals(**dict(total), **money)  # type: ignore[arg-type]


@contextmanager
def snapshot() -> Iterator[tuple[list[UsageEvent], dict[UUID, list[UsageCorrection]]]]:
    """All rows of one moment; what is read inside is of the same."""
    connection.close()
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            cursor.execute("SET LOCAL transaction_timeout = 0")
        changes = defaultdict(list)
        for one in UsageCorrection.objects.all():
            changes[one.event_id].append(one)
        yield list(UsageEvent.objects.all()), changes


def a_window(dice: random.Random) -> Window:
    zone = zone_of(dice.choice(ZONES))
    moment = dice.choice(EDGES) + timedelta(seconds=dice.randrange(-200_000, 200_000))
    local = moment.astimezone(zone)
    return dice.choice(
        [
            of_period(f"day:{local:%F}", zone),
            of_period(f"week:{local:%G-W%V}", zone),
            of_period(f"month:{local:%Y-%m}", zone),
            between(moment, moment + timedelta(seconds=dice.randrange(1, 900_000)), zone),
            between(moment.replace(minute=0, second=0), moment + timedelta(hours=3, days=4), zone),
        ]
    )


def some_filters(world: World) -> UsageFilters:
    dice = world.dice
    columns = {
        "model": "sim-echo",
        "agent_id": "",
        "organization_id": dice.choice([world.whole, world.partly]),
        "workspace_id": dice.choice([world.shops[0], world.guest_shop]),
        "user_id": world.owner.user_id,
        "api_key_id": world.keys[0],
        "outcome": "ok",
        "min_cost": usd("0.001"),
    }
    chosen = dice.sample(sorted(columns), dice.choice([0, 0, 1, 1, 2]))
    return UsageFilters(**{name: columns[name] for name in chosen})  # type: ignore[arg-type]


def meets(event: UsageEvent, filters: UsageFilters) -> bool:
    equal = ("model", "agent_id", "workspace_id", "user_id", "api_key_id", "outcome")
    same = all(
        getattr(event, name) == value
        for name in equal
        if (value := getattr(filters, name)) is not None
    )
    dear = filters.min_cost is None or (
        event.estimated_cost is not None and event.estimated_cost >= filters.min_cost
    )
    return same and dear and filters.organization_id in (None, event.customer_id)


def key_of(event: UsageEvent, names: list[str], zone) -> tuple[tuple[str, object], ...]:
    local = event.occurred_at.astimezone(zone)
    times = {
        "day": local.date().isoformat(),
        "hour": f"{local:%FT%H}:00:00{local.isoformat()[-6:]}",
    }
    return tuple((n, times[n] if n in times else getattr(event, COLUMNS[n])) for n in names)


def check(world: World) -> None:
    """One random summary against a loop over the rows of its snapshot."""
    dice, window, filters = world.dice, a_window(world.dice), some_filters(world)
    names = dice.sample([*COLUMNS, "day"], dice.choice([0, 1, 1, 2]))
    if window.length.days < 20 and dice.random() < 0.5:
        names = ["hour" if name == "day" else name for name in names]
    with snapshot() as (rows, changes):
        found = summary(world.owner, window, filters=filters, group_by=names, compares=True)
    meant = [row for row in rows if world.sees(row) and meets(row, filters)]
    inside = [row for row in meant if window.start <= row.occurred_at < window.end]
    earlier = before(window)
    assert found.totals == added(inside, changes)
    assert found.previous == added(
        [row for row in meant if earlier.start <= row.occurred_at < earlier.end], changes
    )
    groups = defaultdict(list)
    for row in inside:
        groups[key_of(row, names, window.zone)].append(row)
    expected = {key: added(own, changes) for key, own in groups.items()} if names else {}
    assert {group.key: group.totals for group in found.groups} == expected
    for point in found.series:
        span = point.span
        at = [row for row in inside if span.start <= row.occurred_at < span.end]
        assert point.totals == added(at, changes)


def test_200_random_summaries_equal_the_rows_while_everything_moves(world):
    usage.settle_many([world.call() for _ in range(150)])
    correct_some(world.dice, list(UsageEvent.objects.all()))
    stop = threading.Event()
    faults: list[BaseException] = []
    workers = [
        threading.Thread(target=_until, args=(stop, faults, work))
        for work in (_writer(world), rollups.fold)
    ]
    for worker in workers:
        worker.start()
    try:
        for _ in range(SUMMARIES):
            check(world)
    finally:
        stop.set()
        for worker in workers:
            worker.join(30)
    assert faults == []
    rollups.fold()
    with connection.cursor() as cursor:
        cursor.execute("SET transaction_timeout = 0")
    assert verification.breaches() == []


def _until(stop: threading.Event, faults: list[BaseException], work) -> None:
    try:
        while not stop.wait(0.02):
            work()
    except BaseException as fault:  # noqa: BLE001  the test reports it
        faults.append(fault)
    finally:
        connections.close_all()


def _writer(world: World):
    """Calls, corrections and now and then a purge, from a dice of its own."""
    own = World(**(vars(world) | {"dice": random.Random(7)}))

    def write() -> None:
        if UsageEvent.objects.count() < 900:
            usage.settle_many([own.call() for _ in range(own.dice.randrange(1, 6))])
        if own.dice.random() < 0.2:
            recent = UsageEvent.objects.filter(corrections__isnull=True)
            correct_some(own.dice, list(recent.order_by("-created_at")[:2]))
        if own.dice.random() < 0.05:
            gone = Q(user_id=own.people[1]) | Q(workspace_id=own.shops[1])
            event = UsageEvent.objects.filter(gone).first()
            if event is not None:
                UsageEvent.objects.filter(pk=event.pk).update(user_id=None, workspace_id=None)

    return write


def test_a_key_of_one_workspace_adds_up_that_workspace(world):
    usage.settle_many([world.call() for _ in range(120)])
    rollups.fold()
    shop = world.shops[0]
    assert isinstance(shop, UUID)
    home = Workspace.objects.get(pk=shop).organization_id
    actor = Actor(
        user_id=world.owner.user_id,
        api_key_id=ids.new(),
        scopes=frozenset(Scope),
        key_organization_id=home,
        key_workspace_id=shop,
    )
    window = between(EDGES[0] - timedelta(days=20), EDGES[1] + timedelta(days=20), zone_of("UTC"))
    with snapshot() as (rows, changes):
        found = summary(actor, window, group_by=["model"])
    mine = [row for row in rows if row.workspace_id == shop]
    assert mine
    assert found.totals == added(mine, changes)
    for group in found.groups:
        of_model = [row for row in mine if row.model == dict(group.key)["model"]]
        assert group.totals == added(of_model, changes)
