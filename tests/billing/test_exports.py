"""Usage too long for one answer: queued, written by a worker, read by who asked."""

from __future__ import annotations

import csv
import hashlib
import io
import json
from datetime import timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from django.test import Client

from accounts.models import ApiKey
from accounts.services import sessions
from accounts.types import OrganizationRole, Permission
from billing import tasks
from billing.models import Export, ExportChunk
from billing.services import exports, usage
from billing.types import ExportState
from ideplatform.kit import clock, failpoints, ids
from ideplatform.outbox.models import Fact
from tests.billing.calls import NOON, SIMULATOR, a_call, publish, tokens, usd
from tests.factories import a_user, an_organization, join_organization
from tests.house import matrix
from tests.house.matrix import Route

HERE = "/api/v1/billing/exports"
P = Permission
ROUTES = [
    Route("GET", HERE, P.BILLING_VIEW, at="listing"),
    Route("POST", HERE, P.BILLING_VIEW, at="listing", body={}),
    Route(
        "POST",
        HERE,
        P.BILLING_VIEW,
        body={"workspace_id": "{workspace_id}"},
    ),
]


@pytest.mark.django_db
@pytest.mark.parametrize("route", ROUTES, ids=["list", "all", "workspace"])
def test_every_actor_meets_the_answer_of_the_matrix(route):
    matrix.check(route)


def client(user) -> Client:
    pair = sessions.sign_in(user=user, ip="", user_agent="test")
    return Client(headers={"Authorization": f"Bearer {pair.access}"})


class House:
    def __init__(self):
        publish(SIMULATOR)
        self.owner, self.member = a_user(), a_user()
        self.team = an_organization(self.owner)
        join_organization(self.team, self.member, OrganizationRole.MEMBER)
        self.web = client(self.owner)

    def calls(self, count: int, **facts: Any) -> None:
        usage.settle_many(
            [
                a_call(
                    self.team,
                    tokens=tokens(input=number),
                    occurred_at=NOON + timedelta(seconds=number // 7),
                    **facts,
                )
                for number in range(1, count + 1)
            ]
        )

    def ask(self, web: Client | None = None, **filters: str):
        body = {"organization_id": str(self.team.pk)} | filters
        return (web or self.web).post(HERE, json.dumps(body), content_type="application/json")


@pytest.fixture
def house(db):
    return House()


def rows_of(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode(), newline="")))


def test_an_export_holds_what_the_list_shows(house):
    house.calls(1_234, agent_id="a")
    house.calls(3, agent_id="=b")
    asked = house.ask(agent_id="a")
    assert asked.status_code == 202
    told = asked.json()
    assert (told["state"], told["url"], told["rows"]) == ("queued", None, 0)
    assert asked["Location"] == f"{HERE}/{told['id']}"
    fact = Fact.objects.get(topic="export.requested")
    tasks.run_export(fact.payload)
    done = house.web.get(asked["Location"]).json()
    assert (done["state"], done["rows"]) == ("done", 1_234)
    answer = house.web.get(done["url"])
    content = answer.getvalue()
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    assert done["bytes"] == len(content)
    assert done["sha256"] == hashlib.sha256(content).hexdigest()
    rows = rows_of(content)
    assert sum(int(row["tokens_input"]) for row in rows) == 1_234 * 1_235 // 2
    assert sum(usd(row["billed_cost"]) for row in rows) == 1_234 * 1_235 // 2 * usd("0.000001")
    assert {row["agent_id"] for row in rows} == {"a"}
    streamed = house.web.get("/api/v1/billing/usage", {"format": "csv", "agent_id": "a"})
    assert streamed.getvalue() == content


def test_the_same_export_asked_again_is_one_until_it_ended(house):
    first, again, other = house.ask(), house.ask(), house.ask(model="sim-echo")
    assert first.json()["id"] == again.json()["id"] != other.json()["id"]
    exports.run(export_id=first.json()["id"])
    assert house.ask().json()["id"] != first.json()["id"]


def test_five_at_once_are_enough(house):
    for number in range(exports.MOST_ACTIVE):
        assert house.ask(model=f"m{number}").status_code == 202
    refused = house.ask(model="m5")
    assert (refused.status_code, refused.json()["code"]) == (409, "too_many_exports")
    assert Export.objects.count() == exports.MOST_ACTIVE


def test_only_who_asked_sees_it(house):
    told = house.ask().json()
    exports.run(export_id=told["id"])
    admin = a_user()
    join_organization(house.team, admin, OrganizationRole.ADMIN)
    for web in (client(admin), client(house.member), client(a_user())):
        assert web.get(HERE).json()["items"] == []
        assert web.get(f"{HERE}/{told['id']}").status_code == 404
        assert web.get(f"{HERE}/{told['id']}/content").status_code == 404
    assert house.web.get(f"{HERE}/{ids.new()}").status_code == 404
    assert [one["id"] for one in house.web.get(HERE).json()["items"]] == [told["id"]]


def a_key(house, scopes: list[str]) -> Client:
    answer = house.web.post(
        "/api/v1/auth/api-keys",
        {"name": "k", "organization_id": str(house.team.pk), "scopes": scopes},
        content_type="application/json",
    )
    return Client(headers={"x-api-key": answer.json()["key"]})


def test_a_key_sees_its_own_exports_alone_and_needs_the_scope(house):
    told = house.ask().json()
    key, other = a_key(house, ["billing:read"]), a_key(house, ["files:read"])
    assert key.get(f"{HERE}/{told['id']}").status_code == 404
    for path in (HERE, f"{HERE}/{told['id']}", f"{HERE}/{told['id']}/content"):
        assert other.get(path).status_code == 403
    own = house.ask(key).json()
    assert [one["id"] for one in key.get(HERE).json()["items"]] == [own["id"]]
    assert house.web.get(f"{HERE}/{own['id']}").status_code == 200


def test_an_export_of_a_key_that_ended_fails(house):
    own = house.ask(a_key(house, ["billing:read"])).json()
    ApiKey.objects.update(revoked_at=Now())
    tasks.run_export({"export_id": own["id"]})
    told = house.web.get(f"{HERE}/{own['id']}").json()
    assert (told["state"], told["problem"]["code"]) == ("failed", "forbidden")
    assert house.web.get(f"{HERE}/{own['id']}/content").json()["code"] == "export_not_ready"


def test_an_export_of_a_key_that_lost_its_scope_fails(house):
    own = house.ask(a_key(house, ["billing:read"])).json()
    ApiKey.objects.update(scopes=["files:read"])
    tasks.run_export({"export_id": own["id"]})
    assert (Export.objects.get().problem or {})["code"] == "scope_missing"


def test_the_rights_are_those_of_the_worker_s_moment(house):
    house.calls(5)
    told = house.ask(client(house.owner)).json()
    house.team.memberships.filter(user=house.owner).delete()
    exports.run(export_id=told["id"])
    row = Export.objects.get(pk=told["id"])
    assert (row.state, (row.problem or {})["code"]) == (ExportState.FAILED, "not_found")
    assert ExportChunk.objects.count() == 0


def test_foreign_ids_are_refused_before_anything_is_queued(house):
    for filters in (
        {"organization_id": str(an_organization(a_user()).pk)},
        {"user_id": str(a_user().pk)},
        {"run_id": str(ids.new())},
    ):
        assert house.ask(**filters).status_code == 404
    assert Export.objects.count() == 0


@pytest.mark.parametrize("state", ["queued", "running", "failed"])
def test_what_is_not_whole_cannot_be_read(house, state):
    told = house.ask().json()
    ended = clock.now() if state == "failed" else None
    Export.objects.update(state=state, finished_at=ended, expires_at=ended)
    answer = house.web.get(f"{HERE}/{told['id']}/content")
    assert (answer.status_code, answer.json()["code"]) == (409, "export_not_ready")


def test_a_worker_that_died_is_followed_by_another(house):
    house.calls(10)
    told = house.ask().json()
    with failpoints.armed("export.mid:raise"), pytest.raises(failpoints.FailpointRaised):
        exports.run(export_id=told["id"])
    assert ExportChunk.objects.count() == 1
    exports.run(export_id=told["id"])  # owned still
    assert Export.objects.get().fence == 1
    Export.objects.update(lease_until=Now() - timedelta(seconds=1))
    assert exports.resume() == 1
    tasks.run_export({"export_id": told["id"]})
    row = Export.objects.get()
    assert (row.state, row.fence, row.rows) == (ExportState.DONE, 2, 10)
    assert len(rows_of(house.web.get(f"{HERE}/{row.pk}/content").getvalue())) == 10


def test_after_three_attempts_it_has_failed(house):
    told = house.ask().json()
    Export.objects.update(
        state="running", fence=exports.MAX_ATTEMPTS, lease_until=Now() - timedelta(seconds=1)
    )
    exports.run(export_id=told["id"])
    assert (Export.objects.get().problem or {})["code"] == "export_failed"


def test_what_nobody_picked_up_is_queued_again(house):
    house.ask()
    assert exports.resume() == 0
    Export.objects.update(created_at=Now() - exports.LEASE - timedelta(seconds=1))
    Fact.objects.all().delete()
    tasks.resume_exports()
    assert Fact.objects.filter(topic="export.requested").count() == 1


def test_what_expired_is_gone(house):
    told = house.ask().json()
    exports.run(export_id=told["id"])
    assert exports.forget() == 0
    row = Export.objects.get()
    assert row.expires_at is not None
    assert row.finished_at is not None
    assert row.expires_at - row.finished_at == exports.KEPT
    Export.objects.update(expires_at=Now() - timedelta(seconds=1))
    assert exports.forget() == 1
    assert (Export.objects.count(), ExportChunk.objects.count()) == (0, 0)
    assert house.web.get(f"{HERE}/{told['id']}").status_code == 404


def test_pieces_are_whole_lines_of_about_a_mebibyte(house):
    house.calls(4_000, agent_id="x" * 100)
    told = house.ask().json()
    exports.run(export_id=told["id"])
    pieces = [bytes(one.data) for one in ExportChunk.objects.order_by("no")]
    assert len(pieces) > 1
    assert all(piece.endswith(b"\r\n") for piece in pieces)
    assert all(2**20 <= len(piece) < 2 * 2**20 for piece in pieces[:-1])
