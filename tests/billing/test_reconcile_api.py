"""The routes of reconciliation: who may, and what they answer."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.test import Client

from accounts.models import User
from accounts.services import sessions
from accounts.types import Permission as P
from billing.models import ReconLine, ReconRun
from ideplatform.kit import ids
from ideplatform.outbox.models import Fact
from providers.services.access import Home
from providers.types import ProviderScope
from tests.billing.reports import DAY, compared, page
from tests.factories import a_user, an_organization
from tests.house import matrix
from tests.house.matrix import Route
from tests.providers.builders import a_provider

pytestmark = pytest.mark.django_db
R = "/api/v1/billing/reconcile"
DAYS = {"from": "2026-11-01", "to": "2026-11-02"}


def an_account(owner: User, organization: Any) -> Any:
    home = Home(scope=ProviderScope.ORGANIZATION, organization_id=organization.pk)
    return a_provider("openai", home=home, owner=owner)


def _account(world):
    row = an_account(world.users["org_owner"], world.organization)
    return {"provider_id": str(row.pk)}


def _comparison(world):
    run = compared(an_account(world.users["org_owner"], world.organization).pk)
    return {"recon_id": str(run.pk), "line_id": str(run.lines.get().pk)}


ROUTES = [
    Route(
        "POST",
        R,
        P.RECONCILIATION_RUN,
        at="organization",
        body={"provider_id": "{provider_id}"} | DAYS,
        prepare=_account,
    ),
    Route("GET", R + "/{recon_id}", P.RECONCILIATION_RUN, at="organization", prepare=_comparison),
    Route(
        "POST",
        R + "/{recon_id}/lines/{line_id}",
        P.BILLING_OPERATE,
        at="organization",
        body={"action": "ignore"},
        prepare=_comparison,
    ),
]


@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_actor_meets_the_answer_of_the_matrix(route):
    matrix.check(route)


class Caller:
    """Sends requests as a person."""

    def __init__(self, user: User) -> None:
        pair = sessions.sign_in(user=user, ip="", user_agent="test")
        self._headers = {"Authorization": f"Bearer {pair.access}"}
        self._client = Client(raise_request_exception=False)

    def send(self, method: str, path: str = "", body: Any = None, **headers: str) -> Any:
        return self._client.generic(
            method,
            R + path,
            b"" if body is None else json.dumps(body),
            content_type="application/json",
            headers=self._headers | {name.replace("_", "-"): v for name, v in headers.items()},
        )


@pytest.fixture
def operator() -> Caller:
    user = a_user(is_staff=True)
    user.groups.add(Group.objects.get(name="recon_analyst"))
    return Caller(user)


@pytest.fixture
def account() -> str:
    return str(a_provider("openai").pk)


def test_a_comparison_is_asked_for_and_read(operator, account):
    answer = operator.send("POST", "", {"provider_id": account} | DAYS)
    body = answer.json()
    assert (answer.status_code, body["state"]) == (202, "queued")
    assert body["url"] == f"{R}/{body['run_id']}"
    assert Fact.objects.filter(topic="reconcile.requested", key=body["run_id"]).count() == 1
    read = operator.send("GET", f"/{body['run_id']}").json()
    assert (read["state"], read["from"], read["to"]) == ("queued", "2026-11-01", "2026-11-02")
    assert (read["lines"]["items"], read["totals"]) == ([], None)


def test_an_uploaded_report_is_compared_at_once_and_again_it_is_the_same_run(operator, account):
    pages = [{"kind": "openai_costs", "content": page("openai_costs").decode()}]
    body = {"provider_id": account, "source": "upload", "pages": pages} | DAYS
    first, again = operator.send("POST", "", body), operator.send("POST", "", body)
    assert (first.status_code, again.status_code) == (202, 200)
    assert first.json()["run_id"] == again.json()["run_id"]
    read = operator.send("GET", f"/{first.json()['run_id']}").json()
    assert (read["state"], read["totals"]["open"]) == ("done", 1)
    (line,) = read["lines"]["items"]
    assert (line["class"], line["status"], line["theirs_cost"]) == (
        "unknown_model",
        "open",
        "0.001500000000",
    )


def test_a_line_is_decided_once(operator, account):
    run = compared(ids.parse(account))
    path = f"/{run.pk}/lines/{run.lines.get().pk}"
    decided = operator.send("POST", path, {"action": "ignore", "note": "a test"})
    assert (decided.status_code, decided.json()["status"]) == (200, "ignored")
    again = operator.send("POST", path, {"action": "accept"})
    assert (again.status_code, again.json()["code"]) == (409, "line_decided")
    assert ReconLine.objects.get().note == "a test"
    other = operator.send("POST", f"/{ids.new()}/lines/{run.lines.get().pk}", {"action": "accept"})
    assert other.status_code == 404


def test_an_idempotency_key_is_one_run(operator, account):
    body = {"provider_id": account} | DAYS
    first = operator.send("POST", "", body, Idempotency_Key="k1")
    again = operator.send("POST", "", body, Idempotency_Key="k1")
    other = operator.send("POST", "", body | {"dry_run": True}, Idempotency_Key="k1")
    assert [one.status_code for one in (first, again, other)] == [202, 200, 409]
    assert first.json()["run_id"] == again.json()["run_id"]
    assert ReconRun.objects.count() == 1


def test_all_is_every_account_of_the_platform_and_for_operators(operator, account):
    owner = a_user()
    an_account(owner, an_organization(owner))
    body = {"provider_id": "all"} | DAYS
    refused = Caller(owner).send("POST", "", body)
    assert (refused.status_code, ReconRun.objects.count()) == (403, 0)
    found = operator.send("POST", "", body).json()["runs"]
    assert [one["provider_id"] for one in found] == [account]


def test_lines_are_paged_and_filtered(operator, account):
    run = compared(ids.parse(account))
    assert operator.send("GET", f"/{run.pk}?class=match").json()["lines"]["items"] == []
    shown = operator.send("GET", f"/{run.pk}?class=unknown_model&status=open&limit=1").json()
    assert len(shown["lines"]["items"]) == 1
    assert operator.send("GET", f"/{run.pk}?class=nonsense").status_code == 422


@pytest.mark.parametrize(
    ("change", "pointers"),
    [
        ({"provider_id": "nobody"}, None),
        ({"from": "yesterday"}, ["/from"]),
        ({"to": "2026-11-01"}, ["/to"]),
        ({"to": str(DAY + timedelta(days=32))}, ["/to"]),
        ({"source": "rumour"}, ["/source"]),
        ({"source": "upload"}, ["/pages"]),
        ({"granularity": "hour"}, ["/granularity"]),
        ({"pages": [{"kind": "openai_costs", "content": "{}"}]}, ["/pages"]),
        ({"because": "why"}, ["/because"]),
    ],
)
def test_a_mistaken_question_changes_nothing(operator, account, change, pointers):
    answer = operator.send("POST", "", {"provider_id": account} | DAYS | change)
    told = [one["pointer"] for one in answer.json().get("errors", [])] or None
    assert (answer.status_code, told) == (404 if pointers is None else 422, pointers)
    assert ReconRun.objects.count() == 0
