"""The list and the single decision say the same of every person and every workspace."""

import itertools
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from accounts.types import Actor, OrganizationRole, Permission, Scope
from ideplatform.kit.errors import Forbidden, NotFound
from tests.factories import a_user, a_workspace, an_actor, an_organization, join_organization
from workspaces import selectors
from workspaces.models import Workspace, WorkspaceMembership
from workspaces.services import access
from workspaces.types import ListedWorkspace, WorkspaceRole

CASES = list(
    itertools.product(
        [None, *OrganizationRole],
        [None, *WorkspaceRole],
        [True, False],
        ["private", "organization"],
        ["viewer", "editor"],
    )
)


def _sees(actor: Actor, workspace: Workspace) -> WorkspaceRole | None:
    try:
        return access.workspace(actor, workspace.pk, Permission.WORKSPACE_VIEW).role
    except (NotFound, Forbidden):
        return None


@pytest.mark.django_db
def test_the_list_holds_exactly_what_the_decision_allows():
    user, outsider = a_user(), a_user()
    owner = a_user()
    expected = {}
    for organization_role in (None, *OrganizationRole):
        team = an_organization()
        if organization_role:
            join_organization(team, user, organization_role)
        for _, own, follows, visibility, default in (
            case for case in CASES if case[0] == organization_role
        ):
            workspace = a_workspace(
                owner, organization=team, visibility=visibility, default_role=default
            )
            if own:
                WorkspaceMembership.objects.create(
                    workspace=workspace, user=user, role=own, follows_organization=follows
                )
            expected[workspace.pk] = _wanted(organization_role, own, follows, visibility, default)
    actor = an_actor(user)
    decided = {row.pk: _sees(actor, row) for row in Workspace.objects.all()}
    assert decided == expected
    roles = {pk: role for pk, role in expected.items() if role}
    assert sorted(row.pk for row in selectors.workspaces_of(actor)) == sorted(roles)
    listed = selectors.listed(actor, limit=200).items
    assert len(listed) == len(roles) > 100
    assert {row.id: row.role for row in listed} == roles
    assert not selectors.workspaces_of(an_actor(outsider)).exists()
    assert selectors.listed(an_actor(outsider)).items == []


def _wanted(organization_role, own, follows, visibility, default):
    """The design's sentence, written out."""
    if organization_role in {"owner", "admin"}:
        return WorkspaceRole.OWNER
    if own and not (follows and organization_role is None):
        return own
    if visibility == "organization" and organization_role == "member":
        return WorkspaceRole(default)
    return None


@pytest.mark.django_db
def test_the_organizations_billing_people_see_costs_and_nothing_else():
    team = an_organization()
    user = a_user()
    join_organization(team, user, OrganizationRole.BILLING)
    workspace = a_workspace(organization=team, visibility="organization")
    ref = access.workspace(an_actor(user), workspace.pk, Permission.BILLING_VIEW)
    assert ref.role is None
    assert ref.permissions == frozenset({Permission.BILLING_VIEW, Permission.BILLING_MANAGE})
    with pytest.raises(Forbidden):
        access.workspace(an_actor(user), workspace.pk, Permission.FILE_READ)


@pytest.mark.django_db
def test_a_key_reaches_what_its_user_its_scopes_and_its_bounds_share():
    user = a_user()
    workspace, other = a_workspace(user), a_workspace(user)
    key = Actor(
        user_id=user.pk,
        api_key_id=user.pk,
        scopes=frozenset({Scope.FILES_READ, Scope.WORKSPACES_READ}),
        key_organization_id=user.personal_organization.pk,
        key_workspace_id=workspace.pk,
    )
    assert access.workspace(key, workspace.pk, Permission.FILE_READ).role == "owner"
    with pytest.raises(Forbidden) as refused:
        access.workspace(key, workspace.pk, Permission.FILE_WRITE)
    assert refused.value.code == "scope_missing"
    with pytest.raises(NotFound):
        access.workspace(key, other.pk, Permission.FILE_READ)
    assert list(selectors.workspaces_of(key)) == [workspace]
    assert [row.id for row in selectors.listed(key).items] == [workspace.pk]
    unbound = replace(key, key_workspace_id=None)
    assert {row.id for row in selectors.listed(unbound).items} == {workspace.pk, other.pk}
    elsewhere = replace(unbound, key_organization_id=an_organization().pk)
    assert selectors.listed(elsewhere).items == []
    assert selectors.listed(replace(key, scopes=frozenset({Scope.FILES_READ}))).items == []


@pytest.mark.django_db
def test_an_inactive_user_has_no_part_in_anything():
    user = a_user()
    workspace = a_workspace(user)
    user.is_active = False
    user.save()
    with pytest.raises(NotFound):
        access.workspace(an_actor(user), workspace.pk, Permission.FILE_READ)
    assert not selectors.workspaces_of(an_actor(user)).exists()
    assert selectors.listed(an_actor(user)).items == []


@pytest.mark.django_db
def test_the_list_shows_each_living_workspace_as_it_is_newest_first():
    user = a_user()
    rows = [a_workspace(user, name=f"W{number}") for number in range(5)]
    moments = [datetime(2026, 1, day, tzinfo=UTC) for day in (2, 1, 2, 3, 1)]
    for row, moment in zip(rows, moments, strict=True):
        Workspace.objects.filter(pk=row.pk).update(created_at=moment)
    Workspace.objects.filter(pk=rows[3].pk).update(settings={"a": [1, None, "é"]}, bytes_used=7)
    expected = list(Workspace.objects.filter(owner=user).order_by("-created_at", "-id"))
    listed = selectors.listed(an_actor(user)).items
    columns = [field for field in ListedWorkspace._fields if field != "role"]
    assert [[getattr(row, name) for name in columns] for row in listed] == [
        [getattr(row, name) for name in columns] for row in expected
    ]
    assert (listed[0].settings, listed[0].bytes_used) == ({"a": [1, None, "é"]}, 7)
    expected[0].deleted_at = datetime.now(UTC)
    expected[0].save()
    assert [row.id for row in selectors.listed(an_actor(user)).items] == [
        row.pk for row in expected[1:]
    ]


@pytest.mark.django_db
@pytest.mark.parametrize("limit", [1, 2, 3, 5])
def test_the_pages_of_the_list_together_are_the_list(limit):
    """Some were created in the same moment: the id decides."""
    user = a_user()
    for number in range(5):
        row = a_workspace(user)
        moment = datetime(2026, 1, 1 + number // 3, tzinfo=UTC)
        Workspace.objects.filter(pk=row.pk).update(created_at=moment)
    page = selectors.listed(an_actor(user), limit=limit)
    found = list(page.items)
    while page.next_cursor:
        page = selectors.listed(an_actor(user), cursor=page.next_cursor, limit=limit)
        found += page.items
    assert found == selectors.listed(an_actor(user)).items
    assert len(found) == 5
