"""The seed's five endpoints, and members."""

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.models import AccessChange, AuditEvent
from accounts.types import OrganizationRole
from ideplatform.outbox.models import Fact
from tests.factories import (
    a_user,
    a_workspace,
    an_organization,
    join_organization,
    join_workspace,
)
from tests.workspaces.rest import Caller
from workspaces.models import Workspace, WorkspaceMembership
from workspaces.types import WorkspaceRole

pytestmark = pytest.mark.django_db


@pytest.fixture
def owner():
    return a_user()


@pytest.fixture
def me(owner):
    return Caller(owner)


def test_a_workspace_is_created_in_the_personal_organization(me, owner):
    answer = me.send("POST", "", {"name": "Mine", "settings": {"editor.theme": "dark"}})
    row = Workspace.objects.get()
    body = answer.json()
    assert (answer.status_code, answer["ETag"]) == (201, '"r1"')
    assert body | {"created_at": "", "updated_at": ""} == {
        "id": str(row.pk),
        "name": "Mine",
        "owner_id": str(owner.pk),
        "organization_id": str(owner.personal_organization.pk),
        "settings": {"editor.theme": "dark"},
        "visibility": "private",
        "default_role": "viewer",
        "role": "owner",
        "revision": 1,
        "file_count": 0,
        "bytes_used": 0,
        "created_at": "",
        "updated_at": "",
    }
    assert me.send("GET", f"/{row.pk}").json() == body
    assert AuditEvent.objects.filter(action="workspace.created", workspace_id=row.pk).count() == 1


def test_the_list_is_paged_newest_first_and_shows_each_role(me, owner):
    names = [a_workspace(owner).name for _ in range(3)]
    guest_in = a_workspace()
    join_workspace(guest_in, owner, WorkspaceRole.VIEWER)
    a_workspace()  # somebody else's
    first = me.send("GET", "?limit=3").json()
    second = me.send("GET", f"?limit=3&cursor={first['next_cursor']}").json()
    found = [(row["name"], row["role"]) for row in first["items"] + second["items"]]
    assert found == [(guest_in.name, "viewer"), *((name, "owner") for name in reversed(names))]
    assert second["next_cursor"] == ""


def test_a_change_counts_the_revision_and_a_stale_one_is_refused(me, owner):
    workspace = a_workspace(owner)
    changed = me.send("PUT", f"/{workspace.pk}", {"name": "Second"}, If_Match='"r1"')
    assert (changed.status_code, changed["ETag"], changed.json()["revision"]) == (200, '"r2"', 2)
    stale = me.send("PUT", f"/{workspace.pk}", {"name": "Third"}, If_Match='"r1"')
    assert (stale.status_code, stale.json()["current"]) == (409, {"revision": 2, "name": "Second"})
    assert Workspace.objects.get().name == "Second"
    last_wins = me.send("PUT", f"/{workspace.pk}", {"name": "Fourth"})
    assert last_wins.json()["revision"] == 3


@pytest.mark.parametrize(
    ("body", "pointer"),
    [({"name": ""}, "/name"), ({"name": "a\nb"}, "/name"), ({"name": "a\x85b"}, "/name"),
     ({"name": "x" * 256}, "/name"), ({"nam": "x"}, "/nam"),
     ({"visibility": "public"}, "/visibility"), ({"default_role": "owner"}, "/default_role"),
     ({"settings": []}, "/settings"), ({"settings": {"a b": 1}}, "/settings/a b"),
     ({"settings": {"memory.external_embedding": "no"}}, "/settings/memory.external_embedding"),
     ({"settings": {"x": "y" * 65_536}}, "/settings"), ({"owner_id": "x"}, "/owner_id")],
)  # fmt: skip
def test_a_wrong_change_is_named_and_changes_nothing(me, owner, body, pointer):
    workspace = a_workspace(owner)
    before = Workspace.objects.values().get()
    answer = me.send("PUT", f"/{workspace.pk}", body)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert Workspace.objects.values().get() == before


def test_a_deleted_workspace_is_gone_for_everybody_at_once(me, owner):
    workspace = a_workspace(owner)
    assert me.send("DELETE", f"/{workspace.pk}").status_code == 204
    assert me.send("GET", f"/{workspace.pk}").status_code == 404
    assert me.send("GET").json()["items"] == []
    upload = me.send("POST", f"/{workspace.pk}/files/upload?path=a", b"x")
    assert upload.status_code == 404
    minute_ago = timezone.now() - timedelta(minutes=1)
    assert Workspace.objects.filter(deleted_at__gt=minute_ago).count() == 1
    assert AccessChange.objects.filter(workspace_id=workspace.pk).count() == 1
    assert Fact.objects.filter(topic="workspace.deleted", key=str(workspace.pk)).count() == 1


def test_making_a_workspace_visible_lets_colleagues_in_with_the_default_role(me, owner):
    team = an_organization(owner)
    colleague = a_user()
    join_organization(team, colleague, OrganizationRole.MEMBER)
    workspace = a_workspace(owner, organization=team)
    theirs = Caller(colleague)
    assert theirs.send("GET", f"/{workspace.pk}").status_code == 404
    me.send("PUT", f"/{workspace.pk}", {"visibility": "organization", "default_role": "editor"})
    assert theirs.send("GET", f"/{workspace.pk}").json()["role"] == "editor"
    assert [row["id"] for row in theirs.send("GET").json()["items"]] == [str(workspace.pk)]
    assert AccessChange.objects.filter(workspace_id=workspace.pk).count() == 1


def test_an_organizations_admin_counts_as_owner_and_is_audited_once(owner):
    team = an_organization(owner)
    admin = a_user()
    join_organization(team, admin, OrganizationRole.ADMIN)
    workspace = a_workspace(owner, organization=team)
    caller = Caller(admin)
    assert caller.send("GET", f"/{workspace.pk}").json()["role"] == "owner"
    audited = AuditEvent.objects.filter(action="workspace.administered", actor_id=admin.pk)
    assert {event.workspace_id for event in audited} == {workspace.pk}
    assert not AuditEvent.objects.filter(
        action="workspace.administered", actor_id=owner.pk
    ).exists()


def test_a_colleague_is_added_by_address_and_a_stranger_only_by_id(me, owner):
    team = an_organization(owner)
    workspace = a_workspace(owner, organization=team)
    colleague, stranger = a_user(), a_user()
    join_organization(team, colleague, OrganizationRole.MEMBER)
    members = f"/{workspace.pk}/members"

    by_address = me.send("POST", members, {"email": colleague.email.upper(), "role": "editor"})
    assert (by_address.status_code, by_address.json()["is_guest"]) == (201, False)
    known = me.send("POST", members, {"email": stranger.email, "role": "editor"})
    unknown = me.send("POST", members, {"email": "nobody@example.test", "role": "editor"})
    bodies = [
        {name: value for name, value in answer.json().items() if name != "request_id"}
        for answer in (known, unknown)
    ]
    assert (known.status_code, bodies[0]) == (404, bodies[1])
    by_id = me.send("POST", members, {"user_id": str(stranger.pk), "role": "viewer"})
    assert (by_id.status_code, by_id.json()["is_guest"]) == (201, True)
    again = me.send("POST", members, {"user_id": str(stranger.pk), "role": "owner"})
    assert (again.status_code, again.json()["code"]) == (409, "already_member")
    listed = me.send("GET", members).json()["items"]
    assert [(row["user_id"], row["role"]) for row in listed] == [
        (str(owner.pk), "owner"),
        (str(colleague.pk), "editor"),
        (str(stranger.pk), "viewer"),
    ]


def test_a_member_leaves_with_the_organization_and_a_guest_stays(me, owner):
    team = an_organization(owner)
    workspace = a_workspace(owner, organization=team)
    colleague, guest = a_user(), a_user()
    join_organization(team, colleague, OrganizationRole.MEMBER)
    for user in (colleague, guest):
        me.send("POST", f"/{workspace.pk}/members", {"user_id": str(user.pk), "role": "editor"})
    team.memberships.filter(user=colleague).delete()
    assert Caller(colleague).send("GET", f"/{workspace.pk}").status_code == 404
    assert Caller(colleague).send("GET").json()["items"] == []
    assert Caller(guest).send("GET", f"/{workspace.pk}").status_code == 200


def test_a_demoted_member_writes_no_more_and_every_process_hears_of_it(me, owner):
    workspace = a_workspace(owner)
    editor = a_user()
    join_workspace(workspace, editor, WorkspaceRole.EDITOR)
    theirs = Caller(editor)
    upload = f"/{workspace.pk}/files/upload?path="
    assert theirs.send("POST", upload + "a", b"x").status_code == 201
    demoted = me.send("PUT", f"/{workspace.pk}/members/{editor.pk}", {"role": "viewer"})
    assert demoted.json()["role"] == "viewer"
    assert theirs.send("POST", upload + "b", b"x").status_code == 403
    assert me.send("DELETE", f"/{workspace.pk}/members/{editor.pk}").status_code == 204
    assert theirs.send("GET", f"/{workspace.pk}").status_code == 404
    changes = AccessChange.objects.filter(user_id=editor.pk, workspace_id=workspace.pk)
    assert changes.count() == 2


def test_everybody_may_leave_but_the_last_owner(me, owner):
    workspace = a_workspace(owner)
    viewer = a_user()
    join_workspace(workspace, viewer, WorkspaceRole.VIEWER)
    leave = f"/{workspace.pk}/members/"
    assert Caller(viewer).send("DELETE", leave + str(owner.pk)).status_code == 403
    assert Caller(viewer).send("DELETE", leave + str(viewer.pk)).status_code == 204
    for request in (("DELETE", None), ("PUT", {"role": "editor"})):
        answer = me.send(request[0], leave + str(owner.pk), request[1])
        assert (answer.status_code, answer.json()["code"]) == (409, "last_owner")
    assert WorkspaceMembership.objects.get().role == "owner"
    assert not AccessChange.objects.filter(user_id=owner.pk).exists()


def test_a_workspace_passes_to_its_next_owner(me, owner):
    workspace = a_workspace(owner)
    heir = a_user()
    join_workspace(workspace, heir, WorkspaceRole.OWNER)
    assert me.send("DELETE", f"/{workspace.pk}/members/{owner.pk}").status_code == 204
    assert Workspace.objects.get().owner_id == heir.pk


@pytest.mark.parametrize(
    "body",
    [{"role": "viewer"}, {"user_id": "x", "role": "viewer"}, {"email": "a@b.test"},
     {"email": "a@b.test", "user_id": "00000000-0000-0000-0000-000000000000", "role": "viewer"},
     {"email": "a@b.test", "role": "god"}],
)  # fmt: skip
def test_a_wrong_member_changes_nothing(me, owner, body):
    workspace = a_workspace(owner)
    assert me.send("POST", f"/{workspace.pk}/members", body).status_code == 422
    assert WorkspaceMembership.objects.count() == 1
