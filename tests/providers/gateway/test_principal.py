"""Who is let in, who pays, and how fast that ends."""

from __future__ import annotations

import time

import pytest

from accounts.services import api_keys
from accounts.types import Actor, OrganizationRole, Scope
from tests import factories
from tests.providers.builders import a_provider
from tests.providers.gateway.clients import Door, a_chat, a_message
from tests.waiting import eventually
from workspaces.types import WorkspaceRole

CHAT = "/v1/chat/completions"
WRONG = "imk_00000000000000000000000000_wrong"
HOSTILE = [
    "",
    " ",
    "Bearer",
    "Bearer ",
    "Basic YTpi",
    "Bearer a b",
    "Bearer " + "x" * 8_000,
    "Bearer " + WRONG,
    "Bearer imk_",
    "Bearer ..",
    "Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiIxIn0.",
    "Bearer \xff\xfe\xfd",
    "Bearer ' OR 1=1 --",
    "Bearer %00%0a",
    "bearer\t" + WRONG,
]


@pytest.mark.parametrize("name", ["Authorization", "x-api-key", "api-key"])
@pytest.mark.parametrize("value", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_credentials_are_refused_cleanly(door: Door, name: str, value: str):
    reply = door.send("POST", CHAT, a_chat(), headers={name: value})
    assert reply.status == 401
    assert reply.json()["error"]["type"] == "authentication_error"
    assert reply.headers["x-should-retry"] == "false"
    assert door.vendor.ledger() == []


@pytest.mark.parametrize("name", ["x-api-key", "api-key", "Authorization"])
def test_every_spelling_of_a_key_opens(door: Door, name: str):
    value = f"Bearer {door.key}" if name == "Authorization" else door.key
    assert door.send("GET", "/v1/models", headers={name: value}).status == 200


def test_two_different_credentials_are_one_too_many(door: Door):
    headers = {"Authorization": f"Bearer {door.key}", "x-api-key": WRONG}
    assert door.send("GET", "/v1/models", headers=headers).status == 401
    same = {"Authorization": f"Bearer {door.key}", "x-api-key": door.key}
    assert door.send("GET", "/v1/models", headers=same).status == 200


def test_a_key_in_the_url_is_refused_and_ended(door: Door):
    assert door.send("GET", f"/v1/models?key={door.key}").status == 401
    assert door.send("GET", "/v1/models").status == 401


def test_a_cookie_opens_nothing(door: Door):
    assert door.send("GET", "/v1/models", headers={"Cookie": "sessionid=abc"}).status == 401


def test_a_key_needs_the_gateway_s_scope(door: Door):
    a_provider()
    key = door.another_key(Scope.PROVIDERS_READ, Scope.FILES_READ)
    reply = door.send("POST", CHAT, a_chat(), headers={"x-api-key": key})
    assert reply.status == 403
    assert reply.json()["error"]["code"] == "scope_missing"
    message = door.send("POST", "/v1/messages", a_message(), headers={"x-api-key": key})
    assert message.json()["error"]["type"] == "permission_error"
    assert door.vendor.ledger() == []
    assert door.events() == []


def test_a_revoked_key_opens_nothing_within_a_second(door: Door):
    assert door.send("GET", "/v1/models").status == 200
    actor = Actor(user_id=door.user.pk)
    began = time.monotonic()
    api_keys.revoke(actor=actor, key_id=door.key_row.pk)
    eventually(lambda: door.send("GET", "/v1/models").status == 401, within_s=1)
    assert time.monotonic() - began < 1


def test_a_token_pays_from_the_personal_organization(door: Door):
    a_provider()
    headers = {"Authorization": f"Bearer {door.token()}"}
    assert door.send("POST", CHAT, a_chat(), headers=headers).status == 200
    (event,) = door.events()
    assert event.customer_id == door.organization.pk
    assert event.api_key_id is None


def test_a_workspace_s_organization_pays_when_it_is_named(door: Door):
    a_provider()
    team = factories.an_organization(door.user)
    workspace = factories.a_workspace(door.user, organization=team)
    headers = {"Authorization": f"Bearer {door.token()}", "x-mundial-workspace": str(workspace.pk)}
    assert door.send("POST", CHAT, a_chat(), headers=headers).status == 200
    (event,) = door.events()
    assert (event.customer_id, event.workspace_id) == (team.pk, workspace.pk)


def test_an_organization_pays_when_it_is_named(door: Door):
    a_provider()
    team = factories.an_organization(door.user)
    headers = {"Authorization": f"Bearer {door.token()}", "x-mundial-organization": str(team.pk)}
    assert door.send("POST", CHAT, a_chat(), headers=headers).status == 200
    (event,) = door.events()
    assert (event.customer_id, event.workspace_id) == (team.pk, None)


@pytest.mark.parametrize("name", ["x-mundial-workspace", "x-mundial-organization"])
@pytest.mark.parametrize("value", ["nonsense", "00000000-0000-7000-8000-000000000000"])
def test_a_place_that_is_not_the_caller_s_does_not_exist(door: Door, name: str, value: str):
    a_provider()
    reply = door.send("POST", CHAT, a_chat(), headers={"x-api-key": door.key, name: value})
    assert reply.status == 404
    assert door.vendor.ledger() == []


def test_a_foreign_workspace_is_hidden_and_a_viewer_may_not_spend(door: Door):
    a_provider()
    foreign = factories.a_workspace()
    headers = {"Authorization": f"Bearer {door.token()}", "x-mundial-workspace": str(foreign.pk)}
    assert door.send("POST", CHAT, a_chat(), headers=headers).status == 404
    factories.join_workspace(foreign, door.user, WorkspaceRole.VIEWER)
    assert door.send("POST", CHAT, a_chat(), headers=headers).status == 403
    assert door.events() == []


def test_whoever_leaves_an_organization_stops_spending_its_money(door: Door):
    from accounts.services import members

    a_provider()
    owner = factories.a_user()
    team = factories.an_organization(owner)
    factories.join_organization(team, door.user, OrganizationRole.MEMBER)
    headers = {"Authorization": f"Bearer {door.token()}", "x-mundial-organization": str(team.pk)}
    assert door.send("POST", CHAT, a_chat(), headers=headers).status == 200
    members.remove(actor=factories.an_actor(owner), organization_id=team.pk, user_id=door.user.pk)
    eventually(lambda: door.send("POST", CHAT, a_chat(), headers=headers).status == 404, within_s=1)
