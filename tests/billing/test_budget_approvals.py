"""Beyond a hard limit: a refusal asks, one person grants, once, for that window and amount."""

from __future__ import annotations

import threading
from datetime import UTC, datetime

import msgspec
import pytest
from django.db import IntegrityError, connection, transaction
from django.test import Client

from accounts.models import AuditEvent
from accounts.services import sessions
from accounts.types import OrganizationRole, Permission
from billing import errors
from billing.models import BudgetApproval, BudgetPeriod
from billing.services import budget_approvals, customers, holds, usage, verification
from billing.types import Held, PeriodKind
from ideplatform.kit import ids
from ideplatform.kit.errors import InvalidInput
from tests.billing.calls import SIMULATOR, publish, usd
from tests.billing.funds import a_budget, a_customer, a_reservation, money_of, period_of, the_call
from tests.billing.web.stage import Team, reader
from tests.factories import a_user, an_actor, an_organization, join_organization
from tests.house import matrix
from tests.house.matrix import Route, World

P = Permission
BUDGETS = "/api/v1/billing/budgets"


@pytest.fixture
def owner(db):
    publish(SIMULATOR)
    return a_user()


@pytest.fixture
def team(owner):
    """An organization of 5 USD of welcome credit and its owner."""
    return an_organization(owner)


def actor_of(user):
    return an_actor(user, session_id=sessions.begin(user=user).pk)


def a_limit(team, hard="2", **columns):
    return a_budget(team, hard, on_hard="approve", **columns)


def refused(team, amount="1.5", **facts):
    """A call that the limit refuses, and what it asked for."""
    with pytest.raises((errors.BudgetExceeded, errors.ExceedsLimit)) as refusal:
        holds.reserve(a_reservation(team, amount, **facts))
    found = BudgetApproval.objects.get(state="open")
    assert refusal.value.extra["approval_id"] == str(found.pk)
    assert refusal.value.extra["remedy_hint"] == "ask_for_approval"
    return found


def spend(team, amount="1"):
    """A call that is over: 0.0014 USD of the window are spent."""
    call = a_reservation(team, amount)
    holds.reserve(call)
    usage.settle(the_call(call))


def test_what_is_granted_lets_calls_go_on_in_that_window(owner, team):
    budget = a_limit(team)
    spend(team)
    asked = refused(team, "1.9987")
    assert asked.needs == usd("0.0001")
    done = budget_approvals.grant(
        actor=actor_of(owner), budget_id=budget.pk, approval_id=asked.pk, amount_usd=usd("0.5")
    )
    assert (done.state, done.granted, done.decided_by_id) == ("granted", usd("0.5"), owner.pk)
    held = holds.reserve(a_reservation(team, "2.4986"))
    assert held.amount_usd == usd("2.4986")
    assert period_of(budget) == (usd("0.0014"), usd("2.4986"))
    event = AuditEvent.objects.get(action="budget.granted")
    assert (event.actor_id, event.organization_id, event.target) == (
        owner.pk,
        team.pk,
        str(asked.pk),
    )
    assert event.details["amount_usd"] == "0.500000000000"
    assert verification.breaches() == []


def test_by_default_the_call_that_was_refused_fits_exactly(owner, team):
    budget = a_limit(team)
    spend(team)
    asked = refused(team, "2.25")
    assert asked.needs == usd("0.2514")
    budget_approvals.grant(actor=actor_of(owner), budget_id=budget.pk, approval_id=asked.pk)
    holds.reserve(a_reservation(team, "2.25"))
    assert BudgetPeriod.objects.get().granted == usd("0.2514")


def test_one_window_asks_once_and_for_the_most_that_lacked(team):
    a_limit(team)
    spend(team)
    first = refused(team, "1.9991")
    again = refused(team, "2")
    assert (again.pk, first.needs, again.needs) == (first.pk, usd("0.0005"), usd("0.0014"))
    assert refused(team, "1.9991").needs == usd("0.0014")
    assert BudgetApproval.objects.count() == 1


def test_a_call_larger_than_the_limit_asks_too(owner, team):
    budget = a_limit(team, "1")
    asked = refused(team, "3")
    assert asked.needs == 2
    budget_approvals.grant(actor=actor_of(owner), budget_id=budget.pk, approval_id=asked.pk)
    holds.reserve(a_reservation(team, "3"))
    assert period_of(budget) == (0, 3)


def test_what_runs_may_give_its_money_back_so_nobody_is_asked(team):
    a_limit(team)
    holds.reserve(a_reservation(team, "1.5"))
    with pytest.raises(errors.InFlightExhausted):
        holds.reserve(a_reservation(team, "1.5"))
    assert not BudgetApproval.objects.exists()


@pytest.mark.parametrize("columns", [{}, {"on_hard": "degrade", "degrade_to": "sim-mini"}])
def test_other_budgets_ask_nobody(team, columns):
    a_budget(team, "1", **columns)
    with pytest.raises(errors.ExceedsLimit):
        holds.reserve(a_reservation(team, "2"))
    assert not BudgetApproval.objects.exists()


def test_a_call_that_outruns_its_quote_asks_in_the_middle(owner, team):
    budget = a_limit(team)
    held = holds.reserve(a_reservation(team, "1.5"))
    with pytest.raises(errors.BudgetExceeded):
        holds.extend(hold_id=held.hold_id, amount_usd=usd("2.25"))
    asked = BudgetApproval.objects.get()
    assert asked.needs == usd("0.25")
    budget_approvals.grant(actor=actor_of(owner), budget_id=budget.pk, approval_id=asked.pk)
    holds.extend(hold_id=held.hold_id, amount_usd=usd("2.25"))
    assert period_of(budget) == (0, usd("2.25"))


def test_the_refused_row_names_the_approval(team):
    """What the function answers is what the 402 is made of."""
    a_limit(team, "1")
    asked = refused(team, "2")
    call = a_reservation(team, "2")
    document = msgspec.json.encode(holds._asked([call])).decode()
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT refusal, limit_source, approval_id FROM billing_reserve(%s)", [document]
        )
        assert cursor.fetchall() == [("exceeds_limit", "budget", asked.pk)]


def test_the_grant_is_of_one_subject_and_one_window(owner, team):
    budget = a_limit(team, "1", scope="agent", scope_id="*", period=PeriodKind.DAY)
    asked = refused(team, "1.5", agent_id="coder")
    assert asked.period.subject == "coder"
    budget_approvals.grant(actor=actor_of(owner), budget_id=budget.pk, approval_id=asked.pk)
    with pytest.raises(errors.ExceedsLimit):
        holds.reserve(a_reservation(team, "1.5", agent_id="tester"))
    holds.reserve(a_reservation(team, "1.5", agent_id="coder"))
    BudgetPeriod.objects.filter(subject="coder").update(
        starts_at=datetime(2026, 1, 1, tzinfo=UTC), ends_at=datetime(2026, 1, 2, tzinfo=UTC)
    )
    with pytest.raises(errors.ExceedsLimit):
        holds.reserve(a_reservation(team, "1.5", agent_id="coder"))


def test_it_is_decided_once(owner, team):
    budget = a_limit(team, "1")
    asked = refused(team, "1.5")
    about = {"actor": actor_of(owner), "budget_id": budget.pk, "approval_id": asked.pk}
    budget_approvals.grant(**about)
    for again in (budget_approvals.grant, budget_approvals.refuse):
        with pytest.raises(errors.BudgetApprovalClosed), transaction.atomic():
            again(**about)
    assert BudgetPeriod.objects.get().granted == usd("0.5")
    assert AuditEvent.objects.filter(action__startswith="budget.").count() == 1


def test_the_limit_stands_when_it_is_refused_and_the_next_call_asks_anew(owner, team):
    budget = a_limit(team, "1")
    first = refused(team, "1.5")
    done = budget_approvals.refuse(actor=actor_of(owner), budget_id=budget.pk, approval_id=first.pk)
    assert (done.state, done.granted) == ("refused", 0)
    assert refused(team, "1.5").pk != first.pk
    assert period_of(budget) == (0, 0)
    assert AuditEvent.objects.filter(action="budget.refused").count() == 1


def test_a_window_that_is_over_grants_nothing(owner, team):
    budget = a_limit(team, "1", period=PeriodKind.DAY)
    asked = refused(team, "1.5")
    BudgetPeriod.objects.update(ends_at=datetime(2026, 1, 2, tzinfo=UTC))
    with pytest.raises(errors.BudgetApprovalClosed), transaction.atomic():
        budget_approvals.grant(actor=actor_of(owner), budget_id=budget.pk, approval_id=asked.pk)
    assert BudgetPeriod.objects.get().granted == 0


@pytest.mark.parametrize("amount", ["0", "-1", "1000000000000.000000000001"])
def test_a_senseless_amount_is_refused(owner, team, amount):
    budget = a_limit(team, "1")
    asked = refused(team, "1.5")
    with pytest.raises(InvalidInput), transaction.atomic():
        budget_approvals.grant(
            actor=actor_of(owner),
            budget_id=budget.pk,
            approval_id=asked.pk,
            amount_usd=usd(amount),
        )
    assert BudgetApproval.objects.get().state == "open"


# --- the database has the last word


SHELL = {
    "the window alone": "UPDATE billing_budget_periods SET granted = granted + 1",
    "a window born granted": "INSERT INTO billing_budget_periods (id, budget_id, subject,"
    " starts_at, spent, held, granted) SELECT gen_random_uuid(), budget_id, 'x', now(), 0, 0, 1"
    " FROM billing_budget_periods LIMIT 1",
    "twice": "UPDATE billing_budget_approvals SET granted = 9 WHERE state = 'granted'",
    "a decided one again": "UPDATE billing_budget_approvals SET state = 'open', granted = 0,"
    " decided_at = NULL, decided_by_id = NULL WHERE state = 'granted'",
    "born granted": "INSERT INTO billing_budget_approvals (id, period_id, needs, state, granted,"
    " decided_by_id, decided_at) SELECT gen_random_uuid(), period_id, 1, 'granted', 1,"
    " gen_random_uuid(), now() FROM billing_budget_approvals LIMIT 1",
    "nobody decided": "UPDATE billing_budget_approvals SET state = 'granted', granted = 1"
    " WHERE state = 'open'",
    "forgotten": "DELETE FROM billing_budget_approvals",
    "emptied": "TRUNCATE billing_budget_approvals",
}


@pytest.mark.parametrize("statement", SHELL.values(), ids=SHELL)
def test_no_other_way_leads_beyond_the_limit(owner, team, statement):
    budget = a_limit(team, "1")
    asked = refused(team, "1.5")
    budget_approvals.grant(actor=actor_of(owner), budget_id=budget.pk, approval_id=asked.pk)
    refused(team, "3")
    connection.check_constraints()
    before = list(BudgetApproval.objects.order_by("pk").values())
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)
    assert list(BudgetApproval.objects.order_by("pk").values()) == before
    assert BudgetPeriod.objects.get().granted == usd("0.5")


def test_two_who_grant_at_once_grant_once(committed_db):
    team, owner = a_customer(paid="10"), a_user()
    join_organization(team, owner, OrganizationRole.OWNER)
    budget = a_limit(team, "1")
    asked = refused(team, "1.5")
    actor, start, ended = actor_of(owner), threading.Barrier(2), []

    def one() -> None:
        start.wait(10)
        try:
            budget_approvals.grant(actor=actor, budget_id=budget.pk, approval_id=asked.pk)
            ended.append("granted")
        except errors.BudgetApprovalClosed:
            ended.append("closed")
        finally:
            connection.close()

    people = [threading.Thread(target=one) for _ in range(2)]
    for person in people:
        person.start()
    for person in people:
        person.join(30)
    assert sorted(ended) == ["closed", "granted"]
    assert BudgetPeriod.objects.get().granted == usd("0.5")


def test_a_batch_is_served_up_to_what_was_granted(owner, team):
    budget = a_limit(team, "1")
    asked = refused(team, "3")
    budget_approvals.grant(actor=actor_of(owner), budget_id=budget.pk, approval_id=asked.pk)
    answers = holds.reserve_many([a_reservation(team, "1") for _ in range(4)])
    assert [isinstance(one, Held) for one in answers] == [True, True, True, False]
    assert money_of(team) == (0, 5, 3)


# --- REST and the dashboard


def client(user):
    pair = sessions.sign_in(user=user, ip="", user_agent="test")
    return Client(headers={"Authorization": f"Bearer {pair.access}"})


def test_over_rest_the_owner_sees_and_grants(owner, team):
    budget = a_limit(team, "1", period=PeriodKind.DAY)
    asked = refused(team, "1.5")
    mine = client(owner)
    (shown,) = mine.get(f"{BUDGETS}/{budget.pk}/approvals").json()["items"]
    assert (shown["id"], shown["needs"], shown["state"]) == (
        str(asked.pk),
        "0.500000000000",
        "open",
    )
    one = f"{BUDGETS}/{budget.pk}/approvals/{asked.pk}"
    body = {"action": "grant", "amount": "1"}
    done = mine.post(one, body, content_type="application/json")
    assert (done.status_code, done.json()["granted"]) == (200, "1.000000000000")
    again = mine.post(one, body, content_type="application/json")
    assert (again.status_code, again.json()["code"]) == (409, "budget_approval_closed")
    holds.reserve(a_reservation(team, "1.5"))
    (fill,) = mine.get(f"{BUDGETS}/{budget.pk}").json()["fills"]
    assert (fill["granted"], fill["held"], fill["pct"]) == (
        "1.000000000000",
        "1.500000000000",
        75,
    )
    (line,) = mine.get("/api/v1/billing/summary", {"organization_id": str(team.pk)}).json()[
        "budgets"
    ]
    assert (line["limit"], line["pct"]) == ("2.000000000000", 75)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/action"),
        ({"action": "double"}, "/action"),
        ({"action": "grant", "amount": "0"}, "/amount"),
        ({"action": "grant", "amount": "much"}, "/amount"),
        ({"action": "grant", "granted": "1"}, "/granted"),
    ],
)
def test_a_senseless_decision_is_refused_with_a_pointer(owner, team, body, pointer):
    budget = a_limit(team, "1")
    asked = refused(team, "1.5")
    answer = client(owner).post(
        f"{BUDGETS}/{budget.pk}/approvals/{asked.pk}", body, content_type="application/json"
    )
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert BudgetApproval.objects.get().state == "open"


def test_an_approval_of_another_budget_is_not_found(owner, team):
    a_limit(team, "1")
    asked = refused(team, "1.5")
    other = a_budget(team, "100")
    foreign = a_budget(a_customer(), "1")
    for budget in (other, foreign):
        path = f"{BUDGETS}/{budget.pk}/approvals/{asked.pk}"
        answer = client(owner).post(path, {"action": "grant"}, content_type="application/json")
        assert answer.status_code == 404
    path = f"{BUDGETS}/{other.pk}/approvals/{ids.new()}"
    assert (
        client(owner).post(path, {"action": "grant"}, content_type="application/json").status_code
        == 404
    )
    assert BudgetApproval.objects.get().state == "open"


def _asked(world: World) -> dict[str, str]:
    customer = world.organization
    customers.ensure([customer.pk])
    budget = a_limit(customer, "1")
    asked = refused(customer, "1.5")
    return {"budget_id": str(budget.pk), "approval_id": str(asked.pk)}


ROUTES = [
    Route("GET", f"{BUDGETS}/{{budget_id}}/approvals", P.BILLING_VIEW, at="organization",
          prepare=_asked),
    Route("POST", f"{BUDGETS}/{{budget_id}}/approvals/{{approval_id}}", P.BILLING_MANAGE,
          at="organization", prepare=_asked, body={"action": "grant"}),
    Route("POST", "/billing/budgets/{budget_id}/approvals/{approval_id}", P.BILLING_MANAGE,
          at="organization", prepare=_asked, body={"action": "refuse"}, session_only=True,
          headers={"Content-Type": matrix.FORM}, nobody={303}, ok={303}),
]  # fmt: skip


@pytest.mark.django_db
@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_actor_meets_the_answer_of_the_matrix(route):
    matrix.check(route)


@pytest.mark.parametrize(
    ("sent", "said", "state", "granted"),
    [
        ({"action": "grant", "amount": "0.75"}, "calls go on", "granted", "0.75"),
        ({"action": "grant", "amount": ""}, "calls go on", "granted", "0.5"),
        ({"action": "grant", "amount": "0"}, "more than 0 USD", "open", "0"),
        ({"action": "refuse"}, "The limit stands.", "refused", "0"),
    ],
)
@pytest.mark.django_db
def test_on_the_dashboard_it_is_one_form(sent, said, state, granted):
    team = Team()
    budget = a_limit(team.organization, "1", name="Pilot")
    asked = refused(team.organization, "1.5")
    page = reader(team.owner).get(f"/billing/budgets{team.query}").content.decode()
    assert "Calls were refused: grant more?" in page
    assert f'data-approval="{asked.pk}"' in page
    assert 'inputmode="decimal" value="0.5"' in page
    hidden = reader(team.people["admin"]).get(f"/billing/budgets{team.query}").content.decode()
    assert "data-approval" not in hidden
    answer = reader(team.owner).post(
        f"/billing/budgets/{budget.pk}/approvals/{asked.pk}",
        {"organization": str(team.organization.pk)} | sent,
    )
    assert answer.status_code == 303
    assert said in reader(team.owner).get(answer["Location"]).content.decode()
    asked.refresh_from_db()
    assert (asked.state, asked.granted) == (state, usd(granted))
