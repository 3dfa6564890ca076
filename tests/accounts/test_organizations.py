"""Teams and their members."""

from __future__ import annotations

import threading

import pytest
from django.db import connections

from accounts.errors import LastOwner
from accounts.models import AccessChange, ApiKey, Organization, OrganizationMembership
from accounts.services import members
from accounts.types import Actor, OrganizationRole
from tests import factories
from tests.accounts.rest import bearer, call, signed_in
from workspaces.models import Workspace


def _roles(organization: Organization) -> dict[str, str]:
    rows = OrganizationMembership.objects.filter(organization=organization)
    return dict(rows.values_list("user__email", "role"))


@pytest.fixture
def team(db):
    """A team with its owner, an admin, a member, and the owner's and the admin's headers."""
    owner, owner_pair = signed_in()
    admin, admin_pair = signed_in()
    organization = factories.an_organization(owner)
    factories.join_organization(organization, admin, OrganizationRole.ADMIN)
    member = factories.a_user()
    factories.join_organization(organization, member, OrganizationRole.MEMBER)
    return {
        "organization": organization,
        "owner": (owner, bearer(owner_pair.access)),
        "admin": (admin, bearer(admin_pair.access)),
        "member": member,
        "path": f"organizations/{organization.pk}",
    }


@pytest.mark.django_db
def test_whoever_starts_a_team_owns_it():
    user, pair = signed_in()
    form = {"name": "Team", "slug": "the-team"}
    answer = call("POST", "organizations", form, **bearer(pair.access))
    assert (answer.status_code, answer.json()["role"]) == (201, "owner")
    taken = call("POST", "organizations", form, **bearer(pair.access))
    assert (taken.status_code, taken.json()["code"]) == (409, "slug_taken")
    listed = call("GET", "organizations", **bearer(pair.access)).json()["items"]
    assert [item["kind"] for item in listed] == ["personal", "team"]
    assert _roles(Organization.objects.get(slug="the-team")) == {user.email: "owner"}


@pytest.mark.django_db
@pytest.mark.parametrize("slug", ["", "Upper", "with space", "-edge", "edge-", "ü", "a" * 61])
def test_a_slug_is_plain(slug):
    _, pair = signed_in()
    answer = call("POST", "organizations", {"name": "T", "slug": slug}, **bearer(pair.access))
    assert answer.json()["errors"][0]["pointer"] == "/slug"
    assert Organization.objects.filter(kind="team").count() == 0


def test_a_person_is_added_by_address_or_id(team):
    _, headers = team["admin"]
    by_mail, by_id = factories.a_user(), factories.a_user()
    for who in ({"email": by_mail.email.upper()}, {"user_id": str(by_id.pk)}):
        answer = call("POST", f"{team['path']}/members", who | {"role": "billing"}, **headers)
        assert answer.status_code == 201
    roles = _roles(team["organization"])
    assert (roles[by_mail.email], roles[by_id.email]) == ("billing", "billing")


@pytest.mark.parametrize(
    ("form", "status", "code"),
    [
        ({"email": "nobody@example.test", "role": "member"}, 404, "not_found"),
        ({"role": "member"}, 422, "invalid_input"),
        ({"email": "a@b.test", "user_id": "x", "role": "member"}, 422, "invalid_input"),
        ({"email": "a@b.test", "role": "god"}, 422, "invalid_input"),
    ],
)
def test_a_wrong_addition_adds_nobody(team, form, status, code):
    _, headers = team["admin"]
    answer = call("POST", f"{team['path']}/members", form, **headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert len(_roles(team["organization"])) == 3


def test_a_member_is_not_added_twice(team):
    _, headers = team["admin"]
    form = {"email": team["member"].email, "role": "admin"}
    answer = call("POST", f"{team['path']}/members", form, **headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "already_member")
    assert _roles(team["organization"])[team["member"].email] == "member"


def test_probing_for_addresses_is_slow(team):
    _, headers = team["admin"]
    codes = [
        call(
            "POST",
            f"{team['path']}/members",
            {"email": f"p{n}@x.test", "role": "member"},
            **headers,
        )
        for n in range(members.ADD.count + 1)
    ]
    assert [a.status_code for a in codes] == [404] * members.ADD.count + [429]


def test_a_personal_organization_stays_personal(team):
    owner, headers = team["owner"]
    path = f"organizations/{owner.personal_organization.pk}"
    form = {"email": team["member"].email, "role": "member"}
    for method, suffix, body in (
        ("POST", "/members", form),
        ("DELETE", "", None),
        ("DELETE", f"/members/{owner.pk}", None),
    ):
        answer = call(method, path + suffix, body, **headers)
        assert (answer.status_code, answer.json()["code"]) == (409, "personal_organization")


@pytest.mark.parametrize("role", ["admin", "billing", "member"])
def test_only_owners_make_change_and_remove_owners(team, role):
    owner, owner_headers = team["owner"]
    _, admin_headers = team["admin"]
    member = team["member"]
    path = f"{team['path']}/members"
    refused = [
        call("PUT", f"{path}/{member.pk}", {"role": "owner"}, **admin_headers),
        call("PUT", f"{path}/{owner.pk}", {"role": role}, **admin_headers),
        call("DELETE", f"{path}/{owner.pk}", **admin_headers),
        call("POST", path, {"email": factories.a_user().email, "role": "owner"}, **admin_headers),
    ]
    assert [answer.status_code for answer in refused] == [403] * 4
    assert _roles(team["organization"])[owner.email] == "owner"
    assert call("PUT", f"{path}/{member.pk}", {"role": "owner"}, **owner_headers).status_code == 200
    assert call("PUT", f"{path}/{owner.pk}", {"role": role}, **owner_headers).status_code == 200
    assert _roles(team["organization"])[owner.email] == role


def test_the_last_owner_neither_leaves_nor_steps_down(team):
    owner, headers = team["owner"]
    path = f"{team['path']}/members/{owner.pk}"
    for answer in (
        call("DELETE", path, **headers),
        call("PUT", path, {"role": "admin"}, **headers),
    ):
        assert (answer.status_code, answer.json()["code"]) == (409, "last_owner")
    assert _roles(team["organization"])[owner.email] == "owner"


def test_everybody_may_leave_and_is_out_with_their_keys(team):
    admin, headers = team["admin"]
    organization = team["organization"]
    form = {"name": "ci", "scopes": ["workspaces:read"], "organization_id": str(organization.pk)}
    key = call("POST", "auth/api-keys", form, **headers).json()["key"]
    assert call("GET", team["path"], x_api_key=key).status_code == 200
    assert call("DELETE", f"{team['path']}/members/{admin.pk}", **headers).status_code == 204
    assert call("GET", team["path"], **headers).status_code == 404
    assert call("GET", team["path"], x_api_key=key).status_code == 401
    assert ApiKey.objects.get().revoked_at is not None
    assert AccessChange.objects.filter(user_id=admin.pk, organization_id=organization.pk).exists()


def test_a_demotion_counts_for_the_next_request(team):
    _owner, owner_headers = team["owner"]
    admin, headers = team["admin"]
    assert call("PATCH", team["path"], {"name": "A"}, **headers).status_code == 200
    path = f"{team['path']}/members/{admin.pk}"
    assert call("PUT", path, {"role": "member"}, **owner_headers).status_code == 200
    assert call("PATCH", team["path"], {"name": "B"}, **headers).status_code == 403
    assert Organization.objects.get(pk=team["organization"].pk).name == "A"


def test_a_team_with_workspaces_is_not_deleted(team):
    owner, headers = team["owner"]
    factories.a_workspace(owner, organization=team["organization"])
    answer = call("DELETE", team["path"], **headers)
    assert (answer.status_code, answer.json()["code"]) == (409, "organization_in_use")
    Workspace.objects.all().delete()
    assert call("DELETE", team["path"], **headers).status_code == 204
    assert not Organization.objects.filter(pk=team["organization"].pk).exists()


@pytest.mark.usefixtures("committed_db")
def test_of_two_owners_who_leave_at_once_one_stays():
    users = [factories.a_user(), factories.a_user()]
    organization = factories.an_organization()
    for user in users:
        factories.join_organization(organization, user, OrganizationRole.OWNER)
    gate, refused = threading.Barrier(2), []

    def leave(user) -> None:
        gate.wait()
        try:
            members.remove(
                actor=Actor(user_id=user.pk), organization_id=organization.pk, user_id=user.pk
            )
        except LastOwner:
            refused.append(user.email)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=leave, args=[user]) for user in users]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert list(_roles(organization)) == refused
    assert len(refused) == 1
