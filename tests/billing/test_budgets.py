"""What budgets refuse, count and tell, and who may set them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from django.db import IntegrityError, connection
from django.test import Client

from accounts.services import sessions
from accounts.types import OrganizationRole, Permission
from billing import errors, windows
from billing.models import Budget, BudgetAlert, BudgetPeriod
from billing.services import holds, usage, verification
from billing.types import BillingMode, BudgetScope, Held, PeriodKind
from ideplatform.kit import ids
from ideplatform.outbox.models import Fact
from tests.billing.calls import SIMULATOR, publish, tokens, usd
from tests.billing.funds import (
    a_budget,
    a_customer,
    a_reservation,
    give,
    money_of,
    period_of,
    the_call,
)
from tests.factories import a_user, a_workspace, an_organization, join_organization
from tests.house import matrix
from tests.house.matrix import Route, World

P = Permission
BUDGETS, BALANCE = "/api/v1/billing/budgets", "/api/v1/billing/balance"
ONE = BUDGETS + "/{budget_id}"
NEW = {"organization_id": "{organization_id}", "scope": "customer", "hard": "5"}


def _budget(world: World) -> dict[str, str]:
    return {"budget_id": str(a_budget_of(world.organization).pk)}


def a_budget_of(organization) -> Budget:
    from billing.services import customers

    customers.ensure([organization.pk])
    return a_budget(organization)


ROUTES = [
    Route("GET", BALANCE + "?organization_id={organization_id}", P.BILLING_VIEW, at="organization"),
    Route("GET", BUDGETS, P.BILLING_VIEW, at="listing"),
    Route("GET", BUDGETS + "?organization_id={organization_id}", P.BILLING_VIEW, at="organization"),
    Route("POST", BUDGETS, P.BILLING_MANAGE, at="organization", body=NEW, ok={201}),
    Route("GET", ONE, P.BILLING_VIEW, at="organization", prepare=_budget),
    Route("PATCH", ONE, P.BILLING_MANAGE, at="organization", body={"hard": "9"}, prepare=_budget),
    Route("DELETE", ONE, P.BILLING_MANAGE, at="organization", prepare=_budget, ok={204}),
]


@pytest.mark.django_db
@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_actor_meets_the_answer_of_the_matrix(route):
    matrix.check(route)


@pytest.fixture
def team(db):
    publish(SIMULATOR)
    yield a_customer(paid="100")
    assert verification.breaches() == []


def _spend(team, **facts):
    call = a_reservation(team, "1", **facts)
    holds.reserve(call)
    return usage.settle(the_call(call))


def test_a_call_counts_in_every_budget_that_means_it(team):
    workspace, person, key, run = (ids.new() for _ in range(4))
    meant = {
        BudgetScope.CUSTOMER: "",
        BudgetScope.WORKSPACE: str(workspace),
        BudgetScope.USER: str(person),
        BudgetScope.API_KEY: str(key),
        BudgetScope.RUN: str(run),
        BudgetScope.AGENT: "coder",
        BudgetScope.MODEL_GLOB: "sim-*",
        BudgetScope.PROVIDER: "*",
    }
    ours = [a_budget(team, scope=scope, scope_id=name) for scope, name in meant.items()]
    others = [
        a_budget(team, scope=scope, scope_id=str(ids.new()))
        for scope in (BudgetScope.WORKSPACE, BudgetScope.USER, BudgetScope.API_KEY, BudgetScope.RUN)
    ] + [
        a_budget(team, scope=BudgetScope.AGENT, scope_id="universal"),
        a_budget(team, scope=BudgetScope.MODEL_GLOB, scope_id="sim_*"),
        a_budget(team, is_enabled=False),
        a_budget(a_customer()),
    ]
    facts = {"workspace_id": None, "user_id": person, "api_key_id": key, "run_id": run}
    call = a_reservation(team, "1", **(facts | {"workspace_id": workspace}))
    holds.reserve(call)
    assert [period_of(budget) for budget in ours] == [(0, 1)] * 8
    usage.settle(the_call(call, **facts))
    assert [period_of(budget) for budget in ours] == [(usd("0.0014"), 0)] * 8
    assert not BudgetPeriod.objects.filter(budget__in=others).exists()


def test_a_star_limits_each_one_by_itself(team):
    budget = a_budget(team, "1", scope=BudgetScope.USER, scope_id="*")
    one, other = ids.new(), ids.new()
    holds.reserve(a_reservation(team, "1", user_id=one))
    holds.reserve(a_reservation(team, "1", user_id=other))
    with pytest.raises(errors.InFlightExhausted):
        holds.reserve(a_reservation(team, "1", user_id=one))
    holds.reserve(a_reservation(team, "1", user_id=None))
    subjects = set(BudgetPeriod.objects.filter(budget=budget).values_list("subject", flat=True))
    assert subjects == {str(one), str(other)}


def test_a_full_budget_refuses_with_the_contract(team):
    budget = a_budget(team, "0.002", period=PeriodKind.MONTH, tz="America/Sao_Paulo")
    call = a_reservation(team, "0.001")
    holds.reserve(call)
    usage.settle(the_call(call))
    with pytest.raises(errors.BudgetExceeded) as refused:
        holds.reserve(a_reservation(team, "0.001"))
    end = BudgetPeriod.objects.get(budget=budget).ends_at
    assert end is not None
    assert refused.value.extra == {
        "limit_source": "budget",
        "limit_id": str(budget.pk),
        "remedy_hint": "raise_budget",
        "resets_at": end.isoformat().replace("+00:00", "Z"),
    }
    assert money_of(team) == (usd("99.9986"), 0, 0)
    assert period_of(budget) == (usd("0.0014"), 0)


def test_a_call_larger_than_its_limit_is_told_so(team):
    a_budget(team, "1")
    with pytest.raises(errors.ExceedsLimit) as refused:
        holds.reserve(a_reservation(team, "1.000000000001"))
    assert refused.value.extra["remedy_hint"] == "shorten_call"


def test_what_runs_inside_a_budget_may_come_back(team):
    a_budget(team, "1")
    holds.reserve(a_reservation(team, "0.6"))
    with pytest.raises(errors.InFlightExhausted):
        holds.reserve(a_reservation(team, "0.6"))


def test_a_degrading_budget_names_the_cheaper_model(team):
    a_budget(team, "1", on_hard="degrade", degrade_to="sim-mini")
    holds.reserve(a_reservation(team, "1"))
    with pytest.raises(errors.InFlightExhausted) as refused:
        holds.reserve(a_reservation(team, "1"))
    assert refused.value.extra["degrade_to"] == "sim-mini"
    assert refused.value.extra["remedy_hint"] == "use_other_model"


def test_the_fullest_budget_decides_and_the_others_stay(team):
    wide, narrow = a_budget(team, "50"), a_budget(team, "2", scope="agent", scope_id="coder")
    with pytest.raises(errors.ExceedsLimit) as refused:
        holds.reserve(a_reservation(team, "3"))
    assert refused.value.extra["limit_id"] == str(narrow.pk)
    assert period_of(wide) == period_of(narrow) == (0, 0)


def test_an_own_key_counts_only_where_the_budget_says_so(team):
    plain, counting = a_budget(team), a_budget(team, "1", counts_byok=True)
    call = a_reservation(team, "1", billing_mode=BillingMode.BYOK)
    holds.reserve(call)
    with pytest.raises(errors.InFlightExhausted):
        holds.reserve(a_reservation(team, "1", billing_mode=BillingMode.BYOK))
    usage.settle(the_call(call))
    assert period_of(counting) == (usd("0.0014"), 0)
    assert not BudgetPeriod.objects.filter(budget=plain).exists()
    assert money_of(team) == (100, 0, 0)


def test_a_soft_limit_only_tells(team):
    budget = a_budget(team, None, soft=usd("0.001"), alert_steps=[50])
    _spend(team)
    _spend(team)
    assert list(BudgetAlert.objects.order_by("kind").values_list("kind", "step")) == [
        ("soft", 0),
        ("step", 50),
    ]
    assert period_of(budget) == (usd("0.0028"), 0)


def test_each_step_is_told_once_ever(team):
    budget = a_budget(team, "0.0056", alert_steps=[20, 50, 100])
    told = []
    for _ in range(4):
        call = a_reservation(team, "0.0014")
        holds.reserve(call)
        usage.settle(the_call(call))
        usage.settle(the_call(call))
        told.append(list(BudgetAlert.objects.order_by("step").values_list("step", flat=True)))
    assert told == [[20], [20, 50], [20, 50], [20, 50, 100]]
    facts = Fact.objects.filter(topic="budget.reached").order_by("id")
    assert [fact.payload["step"] for fact in facts] == [20, 50, 100]
    assert {fact.payload["budget_id"] for fact in facts} == {str(budget.pk)}


def test_what_a_call_froze_is_where_it_counts(team):
    """A call that leaves in one window and ends in the next counts in the one it left in."""
    budget = a_budget(team, period=PeriodKind.DAY)
    call = a_reservation(team, "1")
    holds.reserve(call)
    BudgetPeriod.objects.update(
        starts_at=datetime(2026, 1, 1, tzinfo=UTC), ends_at=datetime(2026, 1, 2, tzinfo=UTC)
    )
    later = a_reservation(team, "1")
    holds.reserve(later)
    usage.settle(the_call(call))
    first, second = BudgetPeriod.objects.filter(budget=budget).order_by("starts_at")
    assert (first.spent, first.held) == (usd("0.0014"), 0)
    assert (second.spent, second.held) == (0, 1)


def test_a_batch_shares_the_room_of_a_budget(team):
    a_budget(team, "2")
    answers = holds.reserve_many([a_reservation(team, "1") for _ in range(3)])
    assert [isinstance(answer, Held) for answer in answers] == [True, True, False]


ZONES = [
    "UTC", "America/Sao_Paulo", "Asia/Kathmandu", "America/Havana", "Australia/Lord_Howe",
    "Africa/Cairo", "Asia/Beirut", "America/Asuncion", "Pacific/Apia", "Europe/Lisbon",
]  # fmt: skip


@pytest.mark.django_db
@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("kind", ["day", "week", "month"])
def test_windows_are_those_of_the_calendar(zone, kind):
    """Every three hours of two years, through every change of clocks, against `windows`."""
    names = {"day": "day:%Y-%m-%d", "week": "week:%G-W%V", "month": "month:%Y-%m"}
    place = ZoneInfo(zone)
    moments = [datetime(2024, 1, 1, tzinfo=UTC) + timedelta(hours=3 * n) for n in range(5_848)]
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT w.starts_at, w.ends_at"
            " FROM unnest(%s::timestamptz[]) WITH ORDINALITY AS m(t, n)"
            " CROSS JOIN LATERAL billing_window(%s, m.t, %s) AS w ORDER BY m.n",
            [moments, kind, zone],
        )
        found = cursor.fetchall()
    wrong = []
    for moment, window in zip(moments, found, strict=True):
        own = windows.of_period(moment.astimezone(place).strftime(names[kind]), place)
        if window != (own.start, own.end):
            wrong.append((moment, window, own))
    assert wrong == []


@pytest.mark.django_db
def test_the_database_refuses_a_senseless_budget():
    team = a_customer()
    with pytest.raises(IntegrityError, match="budgets_limit"):
        Budget.objects.create(customer_id=team.pk, scope="customer", period="day")


# --- over REST


def client(user) -> Client:
    pair = sessions.sign_in(user=user, ip="", user_agent="test")
    return Client(headers={"Authorization": f"Bearer {pair.access}"})


@pytest.fixture
def owner(db):
    return a_user()


@pytest.fixture
def organization(owner):
    return an_organization(owner)


def _post(user, organization, **body):
    return client(user).post(
        BUDGETS,
        {"organization_id": str(organization.pk), "scope": "customer"} | body,
        content_type="application/json",
    )


def test_a_budget_is_made_read_changed_and_ended(owner, organization):
    made = _post(owner, organization, hard="20", soft="10.5", period="day", tz="Europe/Lisbon")
    assert made.status_code == 201
    budget = made.json()
    assert (budget["hard"], budget["soft"]) == ("20.000000000000", "10.500000000000")
    assert (budget["alert_steps"], budget["on_hard"]) == ([50, 80, 100], "block")
    (fill,) = budget["fills"]
    assert (fill["spent"], fill["held"], fill["pct"]) == ("0", "0", 0)
    holds.reserve(a_reservation(organization, "4"))
    reader = client(owner)
    one = f"{BUDGETS}/{budget['id']}"
    shown = reader.get(one).json()["fills"][0]
    assert (shown["spent"], shown["held"], shown["pct"]) == ("0.000000000000", "4.000000000000", 20)
    changed = reader.patch(one, {"hard": "8", "soft": None}, content_type="application/json").json()
    assert (changed["hard"], changed["soft"], changed["period"]) == ("8.000000000000", None, "day")
    assert changed["fills"][0]["pct"] == 50
    assert [item["id"] for item in reader.get(BUDGETS).json()["items"]] == [budget["id"]]
    assert reader.delete(one).status_code == 204
    assert reader.get(one).status_code == 404
    assert reader.get(BUDGETS).json()["items"] == []
    holds.reserve(a_reservation(organization, "1"))


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/hard"),
        ({"hard": "1", "soft": "2"}, "/soft"),
        ({"hard": "-1"}, "/hard"),
        ({"hard": "1", "on_hard": "degrade"}, "/degrade_to"),
        ({"hard": "1", "degrade_to": "sim-echo"}, "/degrade_to"),
        ({"hard": "1", "alert_steps": [0]}, "/alert_steps/0"),
        ({"hard": "1", "alert_steps": list(range(1, 12))}, "/alert_steps"),
        ({"hard": "1", "tz": "Mars/Base"}, "/tz"),
        ({"hard": "1", "scope_id": "x"}, "/scope_id"),
        ({"hard": "1", "scope": "user"}, "/scope_id"),
        ({"hard": "1", "spent": "0"}, "/spent"),
    ],
)
def test_a_senseless_budget_is_refused_with_a_pointer(owner, organization, body, pointer):
    answer = _post(owner, organization, **body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"].startswith(pointer)
    assert not Budget.objects.exists()


@pytest.mark.parametrize("scope", ["workspace", "user", "api_key", "provider"])
def test_a_foreign_subject_is_not_found(owner, organization, scope):
    stranger = a_user()
    foreign = {"workspace": a_workspace(stranger).pk, "user": stranger.pk}.get(scope, ids.new())
    answer = _post(owner, organization, hard="1", scope=scope, scope_id=str(foreign))
    assert answer.status_code == 404
    assert not Budget.objects.exists()


def test_a_member_of_the_organization_can_be_limited(owner, organization):
    member = a_user()
    join_organization(organization, member, OrganizationRole.MEMBER)
    assert (
        _post(owner, organization, hard="1", scope="user", scope_id=str(member.pk)).status_code
        == 201
    )


def test_an_organization_has_at_most_a_hundred(owner, organization):
    budget = a_budget_of(organization)
    Budget.objects.bulk_create(
        [
            Budget(customer_id=organization.pk, scope="customer", period="day", hard=budget.hard)
            for _ in range(99)
        ]
    )
    answer = _post(owner, organization, hard="1")
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_budgets")


def test_a_balance_is_exact_and_counts_the_credit_that_waits(owner, organization):
    shown = client(owner).get(BALANCE).json()
    assert (shown["posted"], shown["promo"], shown["available"]) == ("5.000000000000",) * 3
    give_to = {"organization_id": str(organization.pk)}
    holds.reserve(a_reservation(organization, "1.25"))
    give(organization, usd("0.000000000001"))
    shown = client(owner).get(BALANCE, give_to).json()
    assert shown == {
        "organization_id": str(organization.pk),
        "status": "active",
        "currency": "USD",
        "posted": "5.000000000001",
        "paid": "0.000000000001",
        "promo": "5.000000000000",
        "held": "1.250000000000",
        "limit": "0.000000000000",
        "available": "3.750000000001",
    }


def test_a_summary_of_an_organization_shows_its_money(owner, organization):
    publish(SIMULATOR)
    budget = a_budget_of(organization)
    call = a_reservation(organization, "1")
    holds.reserve(call)
    usage.settle(the_call(call, tokens=tokens(input=1_000_000)))
    holds.reserve(a_reservation(organization, "2"))
    summary = "/api/v1/billing/summary"
    shown = client(owner).get(summary, {"organization_id": str(organization.pk)}).json()
    assert (shown["balance"]["posted"], shown["balance"]["available"]) == (
        "4.000000000000",
        "2.000000000000",
    )
    assert shown["budgets"] == [
        {
            "id": str(budget.pk),
            "scope": "customer",
            "subject": "",
            "limit": "10.000000000000",
            "spent": "1.000000000000",
            "held": "2.000000000000",
            "pct": 30,
            "resets_at": None,
        }
    ]
    member = a_user()
    join_organization(organization, member, OrganizationRole.MEMBER)
    blind = client(member).get(summary, {"organization_id": str(organization.pk)}).json()
    assert (blind["balance"], blind["budgets"]) == (None, [])
