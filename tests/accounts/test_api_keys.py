"""API keys: what they may do is the least of their scopes, their cut and their user's rights."""

from __future__ import annotations

import itertools

import pytest

from accounts.models import ApiKey
from accounts.types import SCOPE_PERMISSIONS, Actor, OrganizationRole, Permission, Scope
from ideplatform.kit import ids
from tests import factories
from tests.accounts.rest import bearer, call, signed_in

pytestmark = pytest.mark.django_db


def _create(pair, **form):
    form = {"name": "ci", "scopes": ["workspaces:read"]} | form
    return call("POST", "auth/api-keys", form, **bearer(pair.access))


def test_a_key_is_shown_once_and_listed_by_its_last_letters():
    user, pair = signed_in()
    made = _create(pair).json()
    assert made["key"].startswith("imk_")
    assert len(made["key"]) == len("imk_") + 26 + 52 + 6
    assert made["organization_id"] == str(user.personal_organization.pk)
    listed = call("GET", "auth/api-keys", **bearer(pair.access)).json()["items"]
    assert listed == [{name: value for name, value in made.items() if name != "key"}]
    assert listed[0]["last4"] == made["key"][-4:]


@pytest.mark.parametrize(
    ("form", "pointer"),
    [
        ({"scopes": []}, "/scopes"),
        ({"scopes": ["files:read", "root"]}, "/scopes/1"),
        ({"scopes": "files:read"}, "/scopes"),
        ({"name": ""}, "/name"),
        ({"name": "x" * 101}, "/name"),
        ({"kind": "other"}, "/kind"),
        ({"expires_at": "tomorrow"}, "/expires_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ({"workspace_id": "1"}, "/workspace_id"),
        ({"secret": "mine"}, "/secret"),
    ],
)
def test_a_wrong_key_is_pointed_at_and_not_made(form, pointer):
    _, pair = signed_in()
    answer = _create(pair, **form)
    assert answer.status_code == 422
    assert pointer in {error["pointer"] for error in answer.json()["errors"]}
    assert ApiKey.objects.count() == 0


def test_a_key_is_for_ones_own_organization_and_a_service_key_for_its_managers():
    _, pair = signed_in()
    owner, owner_pair = signed_in()
    team = str(factories.an_organization(owner).pk)
    assert _create(pair, organization_id=team).status_code == 404
    assert _create(owner_pair, organization_id=team, kind="service").status_code == 201
    member, member_pair = signed_in()
    factories.join_organization(ApiKey.objects.get().organization, member, OrganizationRole.MEMBER)
    assert _create(member_pair, organization_id=team, kind="service").status_code == 403
    assert _create(member_pair, organization_id=team).status_code == 201


def test_a_key_sees_its_own_organization_alone():
    owner, pair = signed_in()
    team = factories.an_organization(owner)
    key = _create(pair, organization_id=str(team.pk)).json()["key"]
    listed = call("GET", "organizations", x_api_key=key).json()["items"]
    assert [item["id"] for item in listed] == [str(team.pk)]
    personal = owner.personal_organization.pk
    assert call("GET", f"organizations/{personal}", x_api_key=key).status_code == 404


def test_a_key_of_one_workspace_reaches_no_organization():
    owner, pair = signed_in()
    workspace = factories.a_workspace(owner)
    key = _create(pair, workspace_id=str(workspace.pk)).json()["key"]
    path = f"organizations/{owner.personal_organization.pk}"
    assert call("GET", path, x_api_key=key).status_code == 403


def test_use_is_noted_at_most_once_a_minute():
    _, pair = signed_in()
    key = _create(pair).json()["key"]
    call("GET", "organizations", x_api_key=key)
    first = ApiKey.objects.get().last_used_at
    call("GET", "organizations", x_api_key=key)
    assert first is not None
    assert ApiKey.objects.get().last_used_at == first


@pytest.mark.parametrize("scope", Scope)
def test_a_scope_allows_its_permissions_and_nothing_else(scope):
    actor = Actor(user_id=ids.new(), api_key_id=ids.new(), scopes=frozenset({scope}))
    allowed = {permission for permission in Permission if actor.scope_allows(permission)}
    assert allowed == SCOPE_PERMISSIONS[scope]


def test_no_scopes_together_reach_what_needs_a_session():
    reached = set(itertools.chain.from_iterable(SCOPE_PERMISSIONS.values()))
    never = {
        Permission.SELF,
        Permission.ORGANIZATION_MANAGE,
        Permission.ORGANIZATION_DELETE,
        Permission.AUDIT_VIEW,
        Permission.BILLING_MANAGE,
        Permission.PLATFORM_MANAGE,
    }
    assert reached.isdisjoint(never)
