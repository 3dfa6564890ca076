"""A budget that takes its limit from another one's, now and whenever that one changes."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, transaction
from django.test import Client

from accounts.services import sessions
from billing import errors
from billing.models import Budget
from billing.services import customers, holds
from billing.types import PeriodKind
from ideplatform.kit import clock, ids
from tests.billing.calls import usd
from tests.billing.funds import a_budget, a_customer, a_reservation
from tests.factories import a_user, an_organization

BUDGETS = "/api/v1/billing/budgets"


@pytest.fixture
def owner(db):
    return a_user()


@pytest.fixture
def team(owner):
    organization = an_organization(owner)
    customers.ensure([organization.pk])
    return organization


class Rest:
    """The owner's budgets over REST."""

    def __init__(self, user, organization) -> None:
        pair = sessions.sign_in(user=user, ip="", user_agent="test")
        self.client = Client(headers={"Authorization": f"Bearer {pair.access}"})
        self.organization = organization

    def make(self, **body):
        whole = {"organization_id": str(self.organization.pk), "scope": "customer"} | body
        return self.client.post(BUDGETS, whole, content_type="application/json")

    def change(self, budget, **body):
        return self.client.patch(f"{BUDGETS}/{budget}", body, content_type="application/json")


@pytest.fixture
def rest(owner, team):
    return Rest(owner, team)


def test_the_limits_are_the_other_budget_s_and_follow_it(rest, team):
    giver = rest.make(hard="2", soft="1").json()
    heir = rest.make(scope="agent", scope_id="coder", period="day", inherit_from=giver["id"])
    assert heir.status_code == 201
    made = heir.json()
    assert (made["hard"], made["soft"], made["inherit_from"]) == (
        "2.000000000000",
        "1.000000000000",
        giver["id"],
    )
    with pytest.raises(errors.ExceedsLimit):
        holds.reserve(a_reservation(team, "2.5", agent_id="coder"))
    assert rest.change(giver["id"], hard="3", soft=None).status_code == 200
    row = Budget.objects.get(pk=made["id"])
    assert (row.hard, row.soft) == (3, None)
    holds.reserve(a_reservation(team, "2.5", agent_id="coder"))
    named = rest.change(made["id"], name="Coder").json()
    assert (named["name"], named["hard"]) == ("Coder", "3.000000000000")


def test_each_counts_for_itself(rest, team):
    giver = rest.make(hard="2", scope="agent", scope_id="tester").json()
    rest.make(scope="agent", scope_id="coder", inherit_from=giver["id"])
    for agent in ("tester", "coder"):
        holds.reserve(a_reservation(team, "2", agent_id=agent))
        with pytest.raises(errors.InFlightExhausted):
            holds.reserve(a_reservation(team, "1", agent_id=agent))


def test_a_budget_parts_with_what_it_inherited(rest):
    giver = rest.make(hard="2").json()
    heir = rest.make(period="day", inherit_from=giver["id"]).json()
    assert rest.change(heir["id"], inherit_from=None).status_code == 422
    own = rest.change(heir["id"], inherit_from=None, hard="9").json()
    assert (own["hard"], own["inherit_from"]) == ("9.000000000000", None)
    rest.change(giver["id"], hard="1")
    assert Budget.objects.get(pk=heir["id"]).hard == 9


def test_whoever_has_heirs_does_not_end_before_them(rest):
    giver = rest.make(hard="2").json()
    heir = rest.make(period="day", inherit_from=giver["id"]).json()
    refused = rest.client.delete(f"{BUDGETS}/{giver['id']}")
    assert (refused.status_code, refused.json()["code"]) == (409, "budget_inherited")
    assert rest.client.delete(f"{BUDGETS}/{heir['id']}").status_code == 204
    assert rest.client.delete(f"{BUDGETS}/{giver['id']}").status_code == 204


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"hard": "1"}, "/hard"),
        ({"soft": "1"}, "/soft"),
        ({"inherit_from": "{heir}"}, "/inherit_from"),
        ({"inherit_from": "no id"}, "/inherit_from"),
        ({"on_hard": "degrade"}, "/degrade_to"),
    ],
)
def test_a_senseless_inheritance_is_refused_with_a_pointer(rest, body, pointer):
    giver = rest.make(hard="2").json()["id"]
    heir = rest.make(period="day", inherit_from=giver).json()["id"]
    sent = {"inherit_from": giver} | {k: v.format(heir=heir) for k, v in body.items()}
    answer = rest.make(period="week", **sent)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == pointer
    assert Budget.objects.count() == 2


def test_no_budget_inherits_from_itself_or_while_it_has_heirs(rest):
    giver, other = rest.make(hard="2").json()["id"], rest.make(hard="4").json()["id"]
    rest.make(period="day", inherit_from=giver)
    for source in (giver, other):
        answer = rest.change(giver, hard=None, inherit_from=source)
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == "/inherit_from"
    assert Budget.objects.get(pk=giver).hard == 2


def test_a_foreign_budget_gives_nothing(rest):
    foreign = a_budget(a_customer(), "7")
    gone = rest.make(hard="2").json()["id"]
    rest.client.delete(f"{BUDGETS}/{gone}")
    for source in (foreign.pk, gone, ids.new()):
        assert rest.make(inherit_from=str(source)).status_code == 404
    assert Budget.objects.filter(customer=rest.organization.pk, deleted_at=None).count() == 0


def test_an_approving_budget_needs_a_hard_limit_its_own_or_not(rest):
    soft = rest.make(soft="2").json()["id"]
    answer = rest.make(on_hard="approve", inherit_from=soft)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, "/on_hard")
    assert rest.make(on_hard="approve", soft="1").status_code == 422
    hard = rest.make(hard="2").json()["id"]
    made = rest.make(on_hard="approve", inherit_from=hard)
    assert (made.status_code, made.json()["on_hard"]) == (201, "approve")


# --- the database keeps it


def inherits(team, giver, **columns):
    return a_budget(team, None, soft=usd("1"), inherit_from=giver, **columns)


def test_the_database_copies_whatever_is_written(team):
    giver = a_budget(team, "5")
    heir = inherits(team, giver, period=PeriodKind.DAY)
    Budget.objects.filter(pk=heir.pk).update(hard=99)
    heir.refresh_from_db()
    assert (heir.hard, heir.soft) == (5, None)
    Budget.objects.filter(pk=giver.pk).update(hard=usd("6.5"))
    heir.refresh_from_db()
    assert heir.hard == usd("6.5")


def of_another_customer(team, giver):
    inherits(a_customer(), giver)


def of_an_heir(team, giver):
    inherits(team, inherits(team, giver))


def an_heir_of_itself(team, giver):
    Budget.objects.filter(pk=giver.pk).update(inherit_from=giver.pk)


def while_it_has_heirs(team, giver):
    inherits(team, giver)
    Budget.objects.filter(pk=giver.pk).update(inherit_from=a_budget(team, "9").pk)


def of_one_that_ended(team, giver):
    Budget.objects.filter(pk=giver.pk).update(deleted_at=clock.now())
    inherits(team, giver)


def ended_with_heirs(team, giver):
    inherits(team, giver)
    Budget.objects.filter(pk=giver.pk).update(deleted_at=clock.now())


WRONG = (
    of_another_customer, of_an_heir, an_heir_of_itself, while_it_has_heirs, of_one_that_ended,
    ended_with_heirs,
)  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=lambda one: one.__name__)
def test_the_database_refuses_what_makes_no_sense(team, wrong):
    giver = a_budget(team, "5")
    with pytest.raises(IntegrityError, match="take"), transaction.atomic():
        wrong(team, giver)
    assert list(Budget.objects.values_list("hard", flat=True)) == [5]
