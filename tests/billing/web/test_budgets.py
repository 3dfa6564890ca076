"""Keys with what they spend, and budgets set by plain forms."""

from __future__ import annotations

import pytest

from accounts.services import api_keys, sessions
from accounts.types import Scope
from billing.models import Budget
from ideplatform.kit import ids
from tests.billing.calls import usd
from tests.billing.funds import a_budget
from tests.billing.web.stage import Team, reader, tables
from tests.factories import an_actor

pytestmark = pytest.mark.django_db

PATH = "/billing/budgets"
EVERY_FIELD = {
    "name": "Pilot",
    "subject": "customer:",
    "period": "month",
    "tz": "Europe/Lisbon",
    "hard": "12.5",
    "soft": "10",
    "alert_steps": "50, 90 %",
    "on_hard": "degrade",
    "degrade_to": "sim-echo",
    "counts_byok": "on",
    "is_enabled": "on",
}


@pytest.fixture
def team() -> Team:
    return Team()


def send(team: Team, path: str = "", role: str = "owner", **fields: str):
    form = {"organization": str(team.organization.pk)} | fields
    return reader(team.people[role]).post(f"{PATH}{path}", form)


def a_key(team: Team, role: str, name: str):
    user = team.people[role]
    actor = an_actor(user, session_id=sessions.begin(user=user).pk)
    key, _ = api_keys.create(
        actor=actor, organization_id=team.organization.pk, name=name, scopes={Scope.AGENTS_RUN}
    )
    return key


def test_each_key_shows_what_it_spends(team):
    busy, idle = a_key(team, "owner", "deploys"), a_key(team, "member", "idle")
    team.call("owner", api_key_id=busy.pk)
    team.call("owner", api_key_id=busy.pk)
    page = reader(team.owner).get(PATH + team.query).content.decode()
    rows = tables(page)["keys"]
    assert rows[1] == [f"deploys …{busy.last4}", team.owner.email, "never", "2", "0.002800000000",
                       "0"]  # fmt: skip
    assert rows[2][0] == f"idle …{idle.last4}"
    assert rows[2][3:] == ["0", "0", "0"]
    own = reader(team.people["member"]).get(PATH + team.query).content.decode()
    assert [row[0] for row in tables(own)["keys"][1:]] == [f"idle …{idle.last4}"]


def test_without_keys_and_budgets_the_page_says_what_they_are_for(team):
    page = reader(team.owner).get(PATH + team.query).content.decode()
    assert "There is no API key here yet." in page
    assert "No limit is set" in page


def test_a_form_sets_a_budget(team):
    answer = send(team, **EVERY_FIELD)
    assert answer.status_code == 303
    assert answer["Location"] == f"{PATH}{team.query}&done=created"
    row = Budget.objects.get()
    assert (row.name, row.scope, row.scope_id, row.period) == ("Pilot", "customer", "", "month")
    assert (row.hard, row.soft, row.alert_steps) == (usd("12.5"), usd("10"), [50, 90])
    assert (row.on_hard, row.degrade_to, row.counts_byok) == ("degrade", "sim-echo", True)
    assert (row.is_enabled, row.tz) == (True, "Europe/Lisbon")
    page = reader(team.owner).get(answer["Location"]).content.decode()
    assert "The budget counts from the next call on." in page
    assert "Pilot" in page


@pytest.mark.parametrize(
    ("subject", "named", "scope", "scope_id"),
    [
        ("user:*", "", "user", "*"),
        ("workspace:{workspace}", "", "workspace", "{workspace}"),
        ("model_glob", "sim-*", "model_glob", "sim-*"),
        ("agent", "coder", "agent", "coder"),
    ],
)
def test_many_things_can_be_limited(team, subject, named, scope, scope_id):
    known = {"workspace": str(team.workspace.pk)}
    answer = send(team, subject=subject.format(**known), named=named, hard="1")
    assert answer.status_code == 303
    row = Budget.objects.get()
    assert (row.scope, row.scope_id) == (scope, scope_id.format(**known))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"hard": "", "soft": ""}, "give a hard or a soft limit"),
        ({"hard": "1", "soft": "2"}, "at most the hard limit"),
        ({"hard": "-1"}, "greater than or equal to 0"),
        ({"hard": "a lot"}, "A valid number is required."),
        ({"alert_steps": "many"}, "A valid integer is required."),
        ({"tz": "Mars/Olympus"}, "IANA time zone"),
        ({"subject": "planet:*"}, "One of customer"),
        ({"subject": "agent", "named": " "}, "Name the models or the agent."),
        ({"degrade_to": ""}, "name a model"),
        ({"period": "eon"}, "One of hour"),
    ],
)
def test_a_wrong_form_comes_back_as_it_was_sent_and_says_why(team, wrong, said):
    answer = send(team, **(EVERY_FIELD | wrong))
    page = answer.content.decode()
    assert answer.status_code == 422
    assert said in page
    assert 'value="Pilot"' in page
    assert not Budget.objects.exists()


def test_a_wrong_form_keeps_what_was_chosen(team):
    subject = f"workspace:{team.workspace.pk}"
    answer = send(team, **(EVERY_FIELD | {"subject": subject, "hard": "", "soft": ""}))
    assert answer.status_code == 422
    assert f'<option value="{subject}" selected>Checkout service' in answer.content.decode()


def test_what_is_foreign_cannot_be_limited(team):
    answer = send(team, **(EVERY_FIELD | {"subject": f"workspace:{ids.new()}"}))
    assert answer.status_code == 404
    assert not Budget.objects.exists()


def test_a_budget_is_changed(team):
    row = a_budget(team.organization, "5", name="Before")
    page = reader(team.owner).get(f"{PATH}/{row.pk}").content.decode()
    assert 'name="hard" type="number" min="0" step="any" inputmode="decimal" value="5"' in page
    answer = send(team, f"/{row.pk}", name="After", hard="", soft="3", alert_steps="100")
    assert answer.status_code == 303
    row.refresh_from_db()
    assert (row.name, row.hard, row.soft, row.is_enabled) == ("After", None, usd("3"), False)
    page = reader(team.owner).get(answer["Location"]).content.decode()
    assert "not in force" in page


def test_a_wrong_change_changes_nothing(team):
    row = a_budget(team.organization, "5", name="Before")
    answer = send(team, f"/{row.pk}", name="After", hard="", soft="")
    assert answer.status_code == 422
    assert b"give a hard or a soft limit" in answer.content
    row.refresh_from_db()
    assert (row.name, row.hard) == ("Before", usd("5"))


def test_a_budget_ends(team):
    row = a_budget(team.organization, "5", name="Old")
    answer = send(team, f"/{row.pk}/end")
    assert answer["Location"] == f"{PATH}{team.query}&done=deleted"
    row.refresh_from_db()
    assert row.deleted_at is not None
    assert b"Old" not in reader(team.owner).get(PATH + team.query).content
    assert reader(team.owner).get(f"{PATH}/{row.pk}").status_code == 404


def test_who_may_only_look_finds_no_form(team):
    a_budget(team.organization, "5", name="Pilot")
    page = reader(team.people["admin"]).get(PATH + team.query).content.decode()
    assert "Pilot" in page
    assert 'action="/billing/budgets"' not in page
    page = reader(team.people["member"]).get(PATH + team.query).content.decode()
    assert "Pilot" not in page
