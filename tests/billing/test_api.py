"""`/api/v1/billing/usage` and `/summary` as a client sees them."""

from __future__ import annotations

import asyncio
import csv
import io
from datetime import UTC, datetime, timedelta

import aiohttp
import pytest
from django.test import Client

from accounts.services import sessions
from accounts.types import OrganizationRole, Permission
from billing.models import UsageEvent
from billing.services import cards, usage
from billing.types import BillingMode
from ideplatform.kit import ids
from tests.billing.calls import NOON, PROVIDER, SIMULATOR, a_call, publish, tokens, usd
from tests.factories import (
    a_user,
    a_workspace,
    an_organization,
    join_organization,
    join_workspace,
)
from tests.house import matrix
from tests.house.matrix import Route
from workspaces.types import Visibility, WorkspaceRole

USAGE, SUMMARY = "/api/v1/billing/usage", "/api/v1/billing/summary"
P = Permission
ROUTES = [
    Route("GET", USAGE, P.BILLING_VIEW, at="listing"),
    Route("GET", USAGE + "?workspace_id={workspace_id}", P.BILLING_VIEW),
    Route("GET", USAGE + "?format=csv&workspace_id={workspace_id}", P.BILLING_VIEW),
    Route("GET", SUMMARY, P.BILLING_VIEW, at="listing"),
    Route("GET", SUMMARY + "?workspace_id={workspace_id}", P.BILLING_VIEW),
]


@pytest.mark.django_db
@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_actor_meets_the_answer_of_the_matrix(route):
    matrix.check(route)


class House:
    """A team with a workspace, and one call of each of its people."""

    def __init__(self):
        publish(SIMULATOR)
        self.owner = a_user()
        self.organization = an_organization(self.owner)
        self.people = {name: a_user() for name in ("admin", "billing", "member", "lead", "editor")}
        for name in ("admin", "billing", "member"):
            join_organization(self.organization, self.people[name], OrganizationRole(name))
        self.workspace = a_workspace(self.people["lead"], organization=self.organization)
        join_workspace(self.workspace, self.people["editor"], WorkspaceRole.EDITOR)
        self.people |= {"owner": self.owner, "stranger": a_user()}

    def call(self, name, **facts):
        where = {"workspace_id": self.workspace.pk} | facts
        return usage.settle(a_call(self.organization, user_id=self.people[name].pk, **where))


@pytest.fixture
def house(db):
    return House()


def client(user) -> Client:
    pair = sessions.sign_in(user=user, ip="", user_agent="test")
    return Client(headers={"Authorization": f"Bearer {pair.access}"})


def seen(user, query="") -> set[str]:
    answer = client(user).get(f"{USAGE}?limit=500&{query}")
    assert answer.status_code == 200, answer.content
    return {item["id"] for item in answer.json()["items"]}


def test_roles_see_what_they_may(house):
    by = {name: str(house.call(name).event_id) for name in ("owner", "lead", "editor")}
    outside = str(house.call("member", workspace_id=None).event_id)
    everything = {*by.values(), outside}
    assert seen(house.owner) == everything
    assert seen(house.people["admin"]) == everything
    assert seen(house.people["billing"]) == everything
    assert seen(house.people["lead"]) == set(by.values())
    assert seen(house.people["editor"]) == {by["editor"]}
    assert seen(house.people["member"]) == {outside}
    assert seen(house.people["stranger"]) == set()


def test_a_visible_workspaces_default_editor_sees_their_own(house):
    own = str(house.call("member").event_id)
    house.call("lead")
    assert seen(house.people["member"]) == set()
    house.workspace.visibility, house.workspace.default_role = Visibility.ORGANIZATION, "editor"
    house.workspace.save()
    assert seen(house.people["member"]) == {own}


def test_an_event_is_shown_with_its_columns(house):
    settled = house.call("editor", provider_request_id="r1", agent_id="coder")
    (item,) = client(house.people["editor"]).get(USAGE).json()["items"]
    assert item["id"] == str(settled.event_id)
    assert item["request_id"] == str(settled.request_id)
    assert (item["estimated_cost"], item["billed_cost"]) == ("0.001400000000", "0.001400000000")
    assert (item["tokens_input"], item["tokens_output"], item["status"]) == (1_000, 200, 200)
    assert item["occurred_at"] == "2026-11-20T12:00:00Z"
    assert item["quantities"] == {"input": 1_000, "output": 200}
    assert item["lines"][0]["amount"] == "0.001000000000000"
    assert (item["agent_id"], item["organization_id"]) == ("coder", str(house.organization.pk))


def test_pages_follow_each_other_newest_first(house):
    moments = [NOON + timedelta(minutes=n) for n in (3, 1, 2, 2, 5)]
    for moment in moments:
        house.call("owner", occurred_at=moment)
    reader, cursor = client(house.owner), ""
    found: list[dict[str, str]] = []
    for size in (2, 2, 1):
        page = reader.get(f"{USAGE}?limit=2&cursor={cursor}").json()
        assert len(page["items"]) == size
        found += page["items"]
        cursor = page["next_cursor"]
    assert cursor == ""
    assert [item["occurred_at"] for item in found] == [
        f"2026-11-20T12:0{minute}:00Z" for minute in (5, 3, 2, 2, 1)
    ]
    assert len({item["id"] for item in found}) == 5


def test_a_cursor_opens_no_other_list(house):
    for _ in range(3):
        house.call("owner")
    cursor = client(house.owner).get(USAGE, {"limit": 1}).json()["next_cursor"]
    for reader, query in ((house.people["admin"], {}), (house.owner, {"model": "sim-echo"})):
        answer = client(reader).get(USAGE, {"limit": 1, "cursor": cursor} | query)
        assert answer.status_code == 404
    assert client(house.owner).get(USAGE, {"cursor": "AAAA"}).status_code == 404


@pytest.mark.parametrize(
    ("query", "mine"),
    [
        ("agent_id=coder", True),
        ("agent_id=other", False),
        ("model=sim-echo", True),
        ("status=200", True),
        ("status=500", False),
        ("outcome=ok", True),
        ("source=client", False),
        ("billing_mode=platform", True),
        ("min_cost=0.0014", True),
        ("min_cost=0.001400000001", False),
        ("from=2026-11-20T12:00:00Z", True),
        ("from=2026-11-20T12:00:01Z", False),
        ("to=2026-11-20T12:00:00Z", False),
        ("to=2026-11-20T13:00:01%2B01:00", True),
    ],
)
def test_a_filter_keeps_what_it_means(house, query, mine):
    settled = house.call("editor", agent_id="coder")
    assert seen(house.people["editor"], query) == ({str(settled.event_id)} if mine else set())


def test_ids_narrow_the_list_and_foreign_ones_are_not_found(house):
    facts = {name: ids.new() for name in ("api_key_id", "conversation_id", "run_id", "provider_id")}
    settled = house.call("editor", **facts)
    house.call("editor")
    names = facts | {"request_id": settled.request_id}
    stranger = a_workspace(house.people["stranger"])
    for name, value in names.items():
        assert seen(house.people["editor"], f"{name}={value}") == {str(settled.event_id)}
        for path in (USAGE, SUMMARY):
            foreign = client(house.people["stranger"]).get(f"{path}?{name}={value}")
            unknown = client(house.people["stranger"]).get(f"{path}?{name}={ids.new()}")
            assert (foreign.status_code, unknown.status_code) == (404, 404)
            assert foreign.json()["code"] == unknown.json()["code"] == "not_found"
    for query in (
        f"organization_id={house.people['stranger'].personal_organization.pk}",
        f"workspace_id={stranger.pk}",
        f"user_id={house.people['stranger'].pk}",
    ):
        assert client(house.owner).get(f"{USAGE}?{query}").status_code == 404


def test_who_may_be_named_may_have_used_nothing(house):
    cards.write(
        provider_id=PROVIDER,
        organization_id=house.organization.pk,
        owner_id=None,
        provider_type="openai",
        name="Ours",
        billing_mode=BillingMode.BYOK,
    )
    assert seen(house.owner, f"user_id={house.people['member'].pk}") == set()
    assert seen(house.people["lead"], f"user_id={house.people['editor'].pk}") == set()
    assert seen(house.owner, f"provider_id={PROVIDER}") == set()
    assert seen(house.owner, f"organization_id={house.organization.pk}") == set()
    answer = client(house.people["editor"]).get(f"{USAGE}?provider_id={PROVIDER}")
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("limit=0", "/limit"),
        ("limit=501", "/limit"),
        ("limit=x", "/limit"),
        ("workspace_id=1", "/workspace_id"),
        ("status=-1", "/status"),
        ("outcome=fine", "/outcome"),
        ("min_cost=-1", "/min_cost"),
        ("min_cost=NaN", "/min_cost"),
        ("min_cost=0.0000000000001", "/min_cost"),
        ("from=yesterday", "/from"),
        ("model=%00", "/model"),
        ("modle=x", "/modle"),
        ("model=a&model=b", "/model"),
    ],
)
def test_a_wrong_parameter_is_named(house, query, pointer):
    answer = client(house.owner).get(f"{USAGE}?{query}")
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("period=month:2026-13", "/period"),
        ("period=month:2026-11&from=2026-11-01T00:00:00Z", "/period"),
        ("tz=Mars", "/tz"),
        ("from=2026-11-01T00:00:00Z", "/to"),
        ("to=2026-11-01T00:00:00Z", "/from"),
        ("from=2026-11-02T00:00:00Z&to=2026-11-01T00:00:00Z", "/to"),
        ("from=2020-11-02T00:00:00Z&to=2026-11-01T00:00:00Z", "/to"),
        ("from=0001-01-01T00:00:00%2B14:00&to=2026-11-01T00:00:00Z", "/from"),
        ("group_by=colour", "/group_by"),
        ("group_by=model,agent,user", "/group_by"),
        ("group_by=model,model", "/group_by"),
        ("group_by=day,hour", "/group_by"),
        ("group_by=hour&period=year:2026", "/group_by"),
        ("compare=next", "/compare"),
        ("cursor=x", "/cursor"),
    ],
)
def test_a_wrong_parameter_of_the_summary_is_named(house, query, pointer):
    answer = client(house.owner).get(f"{SUMMARY}?{query}")
    assert answer.status_code == 422
    assert [fault["pointer"] for fault in answer.json()["errors"]] == [pointer]


def test_a_summary_adds_up_and_compares(house):
    house.call("editor", agent_id="coder")
    house.call("lead", agent_id="coder", billing_mode=BillingMode.BYOK)
    house.call("lead", agent_id="universal", served_model="?", requested_model="?")
    house.call("lead", occurred_at=NOON - timedelta(days=30))
    query = {"period": "month:2026-11", "group_by": "agent,day", "compare": "previous"}
    body = client(house.owner).get(SUMMARY, query).json()
    assert body["totals"] == {
        "requests": 3,
        "failed_requests": 0,
        "tokens_input": 3_000,
        "tokens_output": 600,
        "tokens_cache_read": 0,
        "tokens_cache_write": 0,
        "tokens_reasoning": 0,
        "estimated_cost": "0.002800000000",
        "billed_cost": "0.001400000000",
        "byok_estimated_cost": "0.001400000000",
        "saved_by_cache": "0.000000000000",
        "unpriced_requests": 1,
    }
    assert [(g["agent"], g["day"], g["requests"]) for g in body["groups"]] == [
        ("coder", "2026-11-20", 2),
        ("universal", "2026-11-20", 1),
    ]
    assert sum(usd(group["billed_cost"]) for group in body["groups"]) == usd("0.0014")
    assert body["period"] == {
        "name": "month:2026-11",
        "from": "2026-11-01T00:00:00Z",
        "to": "2026-12-01T00:00:00Z",
        "tz": "UTC",
    }
    assert (len(body["series"]), body["interval"], body["exact"]) == (30, "day", True)
    assert (
        body["series"][19]
        == {
            "key": "2026-11-20",
            "from": "2026-11-20T00:00:00Z",
            "to": "2026-11-21T00:00:00Z",
        }
        | body["totals"]
    )
    assert body["previous"]["period"]["name"] == "month:2026-10"
    assert body["previous"]["totals"]["requests"] == 1


def test_a_summary_forecasts_what_will_have_been_billed(house):
    house.call("owner", occurred_at=datetime(2020, 6, 1, tzinfo=UTC))
    over = client(house.owner).get(SUMMARY, {"period": "year:2020"}).json()
    spent = over["totals"]["billed_cost"]
    assert usd(spent) == usd("0.0014")
    assert over["forecast"] == {"low": spent, "mid": spent, "high": spent, "method": "closed"}
    coming = client(house.owner).get(SUMMARY, {"period": "year:2099"}).json()["forecast"]
    assert set(coming) == {"low", "mid", "high", "method"}
    assert usd(coming["low"]) <= usd(coming["mid"]) <= usd(coming["high"])


def test_a_day_of_another_place_begins_there(house):
    house.call("owner", occurred_at=NOON.replace(hour=4))
    query = {"period": "day:2026-11-19", "tz": "America/New_York"}
    assert client(house.owner).get(SUMMARY, query).json()["totals"]["requests"] == 1
    assert client(house.owner).get(SUMMARY, query | {"tz": "UTC"}).json()["totals"]["requests"] == 0


def test_without_a_window_the_summary_is_of_this_month(house):
    body = client(house.owner).get(SUMMARY).json()
    assert body["period"]["name"].startswith("month:")
    assert body["totals"]["estimated_cost"] == "0"


def test_csv_quotes_what_a_spreadsheet_would_run(house):
    for text in ('=1+1"', "+1", "-1", "@x", "\tx", "plain,text"):
        house.call("owner", agent_id=text)
    answer = client(house.owner).get(USAGE, {"format": "csv"})
    assert answer["Content-Type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(io.StringIO(answer.getvalue().decode(), newline="")))
    assert {row["agent_id"] for row in rows} == {
        "'=1+1\"",
        "'+1",
        "'-1",
        "'@x",
        "'\tx",
        "plain,text",
    }
    assert sum(usd(row["billed_cost"]) for row in rows) == 6 * usd("0.0014")
    assert rows[0]["occurred_at"] == "2026-11-20T12:00:00Z"
    assert rows[0]["first_token_ms"] == ""


def test_csv_by_accept_header_and_with_filters(house):
    house.call("owner", agent_id="a")
    house.call("owner", agent_id="b")
    answer = client(house.owner).get(USAGE, {"agent_id": "b"}, headers={"Accept": "text/csv"})
    assert answer.getvalue().decode().count("\r\n") == 2


def test_a_long_csv_streams_from_a_live_server(live_web):
    house = House()
    calls = [
        a_call(house.organization, tokens=tokens(input=n), occurred_at=NOON + timedelta(0, n // 7))
        for n in range(2_345)
    ]
    for first in range(0, len(calls), 500):
        usage.settle_many(calls[first : first + 500])
    pair = sessions.sign_in(user=house.owner, ip="", user_agent="test")

    async def read() -> list[bytes]:
        headers = {"Authorization": f"Bearer {pair.access}"}
        url = f"{live_web.url}{USAGE}?format=csv"
        async with aiohttp.ClientSession() as reader, reader.get(url, headers=headers) as answer:
            assert answer.status == 200
            return [part async for part, _ in answer.content.iter_chunks()]

    parts = asyncio.run(read())
    rows = list(csv.DictReader(io.StringIO(b"".join(parts).decode(), newline="")))
    assert len(parts) > 1
    assert len({row["id"] for row in rows}) == 2_345
    assert sum(int(row["tokens_input"]) for row in rows) == sum(range(2_345))
    assert UsageEvent.objects.count() == 2_345
