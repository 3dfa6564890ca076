"""The explorer: any two dimensions, with the API's numbers."""

from __future__ import annotations

import csv
import io
import re
from datetime import timedelta
from typing import Any

import pytest

from billing.types import BillingMode
from billing.web.charts import PATTERNS
from ideplatform.kit import ids
from tests.billing.calls import tokens
from tests.billing.web.stage import Team, a_day_of_this_month, reader, tables

pytestmark = pytest.mark.django_db

EXPLORER, API = "/billing/explorer", "/api/v1/billing"
NAMES = (
    "requests",
    "tokens_input",
    "tokens_output",
    "estimated_cost",
    "billed_cost",
    "saved_by_cache",
)


@pytest.fixture
def team() -> Team:
    team = Team()
    for number, who in enumerate(("editor", "lead", "owner", "editor")):
        team.call(
            who,
            occurred_at=a_day_of_this_month(number + 1),
            tokens=tokens(input=1_000 * (number + 1), output=3, cache_read=50),
            agent_id=("coder", "universal")[number % 2],
        )
    team.call("member", workspace_id=None, billing_mode=BillingMode.BYOK, agent_id="")
    return team


def shown(team: Team, query: str = "", role: str = "owner") -> str:
    answer = reader(team.people[role]).get(f"{EXPLORER}{team.query}&{query}")
    assert answer.status_code == 200, answer.content
    return answer.content.decode()


def told(team: Team, query: str) -> dict[str, Any]:
    path = f"{API}/summary?organization_id={team.organization.pk}&{query}"
    found: dict[str, Any] = reader(team.owner).get(path).json()
    return found


@pytest.mark.parametrize("by", ["model", "agent", "user", "workspace", "provider"])
def test_a_dimensions_rows_are_the_apis(team, by):
    api = told(team, f"group_by={by}")
    rows = tables(shown(team, f"by={by}"))["groups"]
    groups = [[str(group[name]) for name in NAMES] for group in api["groups"]]
    assert sorted(row[1:] for row in rows[1:-1]) == sorted(groups)
    assert rows[-1][1:] == [str(api["totals"][name]) for name in NAMES]


def test_two_dimensions_are_pairs(team):
    api = told(team, "group_by=agent,model")
    rows = tables(shown(team, "by=agent&then=model"))["groups"]
    assert [row[2:] for row in rows[1:-1]] == [
        [str(group[name]) for name in NAMES] for group in api["groups"]
    ]
    assert {(row[0], row[1]) for row in rows[1:-1]} == {
        (group["agent"] or "(none)", group["model"]) for group in api["groups"]
    }


def test_ids_are_shown_by_their_names(team):
    rows = tables(shown(team, "by=user"))["groups"]
    assert {row[0] for row in rows[1:-1]} == {
        team.people[role].email for role in ("editor", "lead", "owner", "member")
    }
    rows = tables(shown(team, "by=workspace"))["groups"]
    assert {row[0] for row in rows[1:-1]} == {"Checkout service", "(none)"}


def test_days_are_in_their_order(team):
    api = told(team, "group_by=day")
    rows = tables(shown(team, "by=day"))["groups"]
    assert [row[0] for row in rows[1:-1]] == sorted(group["day"] for group in api["groups"])


def test_the_series_is_the_apis(team):
    api = told(team, "group_by=model,day")
    rows = tables(shown(team, "by=model"))["series"]
    names = ("requests", "tokens_input", "tokens_output", "estimated_cost")
    assert [row[1:] for row in rows[1:]] == [
        [str(point[name]) for name in names] for point in api["series"]
    ]


@pytest.mark.parametrize(
    ("query", "api"),
    [
        ("agent_id=coder", "agent_id=coder"),
        ("billing_mode=byok", "billing_mode=byok"),
        ("outcome=ok&model=sim-echo", "outcome=ok&model=sim-echo"),
        ("user_id={editor}", "user_id={editor}"),
        ("workspace_id={workspace}", "workspace_id={workspace}"),
    ],
)
def test_filters_are_the_apis(team, query, api):
    named = {"editor": team.people["editor"].pk, "workspace": team.workspace.pk}
    rows = tables(shown(team, query.format(**named)))["groups"]
    totals = told(team, api.format(**named))["totals"]
    assert rows[-1][1:] == [str(totals[name]) for name in NAMES]
    assert totals["requests"] > 0


def test_the_form_keeps_what_was_asked(team):
    page = shown(team, "range=custom&from=2026-11-01&to=2026-11-30&by=agent&agent_id=coder")
    assert 'value="2026-11-01"' in page
    assert 'name="agent_id" value="coder"' in page
    assert '<option value="custom" selected>' in page
    assert "<details open>" in page


@pytest.mark.parametrize("name", ["month", "last_month", "today", "7d", "30d"])
def test_stretches_of_time_have_names(team, name):
    last_month = a_day_of_this_month(1).replace(hour=1) - timedelta(days=2)
    team.call(occurred_at=last_month, agent_id="last")
    page = shown(team, f"range={name}&by=agent")
    if name == "last_month":
        assert [row[0] for row in tables(page)["groups"][1:-1]] == ["last"]
    else:
        assert 'id="groups"' in page or "No calls match" in page


@pytest.mark.parametrize(
    "query",
    [
        "range=never",
        "range=custom&from=2026-13-01&to=2026-11-30",
        "range=custom&from=2026-11-30&to=2026-11-01",
        "range=custom&from=1999-01-01&to=2026-11-01",
        "range=custom&from=2024-01-01&to=2026-11-01",
        "by=colour",
        "billing_mode=barter",
        "outcome=perfect",
    ],
)
def test_nonsense_is_refused_with_a_reason(team, query):
    answer = reader(team.owner).get(f"{EXPLORER}{team.query}&{query}")
    assert answer.status_code == 422
    assert b'role="alert"' in answer.content


@pytest.mark.parametrize("name", ["workspace_id", "user_id", "api_key_id", "provider_id"])
def test_a_foreign_id_is_not_there(team, name):
    stranger = reader(team.people["stranger"])
    foreign = {"workspace_id": team.workspace.pk, "user_id": team.owner.pk}.get(name, ids.new())
    assert stranger.get(f"{EXPLORER}?{name}={foreign}").status_code == 404
    assert stranger.get(f"{EXPLORER}?{name}=x").status_code == 404


def test_an_editor_sees_and_chooses_only_their_own(team):
    answer = reader(team.people["editor"]).get(f"{EXPLORER}?workspace={team.workspace.pk}&by=user")
    rows = tables(answer.content.decode())["groups"]
    assert [row[0] for row in rows[1:-1]] == [team.people["editor"].email]
    assert team.people["lead"].email.encode() not in answer.content


def test_an_empty_answer_says_so(team):
    assert "No calls match" in shown(team, "agent_id=nobody")


def test_many_groups_become_others_in_the_chart(team):
    for number in range(PATTERNS + 2):
        team.call(agent_id=f"agent-{number}")
    page = shown(team, "by=agent")
    legend = page.split('<ul class="legend">')[1].split("</ul>")[0]
    assert legend.count("<li>") == PATTERNS
    assert "Others" in legend
    for number in range(PATTERNS):
        assert f'id="cost-p{number}"' in page


def test_the_csv_is_of_the_same_calls(team):
    page = shown(team, "agent_id=coder")
    (link,) = re.findall(r'<a href="(/api/v1/billing/usage[^"]+)" download>', page)
    answer = reader(team.owner).get(link.replace("&amp;", "&"))
    rows = list(csv.DictReader(io.StringIO(b"".join(answer).decode())))
    assert {row["agent_id"] for row in rows} == {"coder"}
    assert len(rows) == 2


def test_htmx_gets_the_answer_alone(team):
    client = reader(team.owner, **{"HX-Request-Type": "partial"})
    part = client.get(f"{EXPLORER}{team.query}").content
    assert b"<form" not in part
    assert b'id="groups"' in part


def test_a_name_cannot_break_out_of_the_page(team):
    team.call(agent_id='"><script>alert(1)</script>')
    page = shown(team, "by=agent")
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert(1)" in page
