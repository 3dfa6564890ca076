"""Builders of rows: each shows only what matters to its test."""

from __future__ import annotations

import itertools
from typing import Any

from django.contrib.auth.hashers import make_password

from accounts.models import Organization, OrganizationMembership, User
from accounts.types import Actor, OrganizationKind, OrganizationRole, Scope
from workspaces.models import Workspace, WorkspaceMembership
from workspaces.types import WorkspaceRole

PASSWORD = "correct horse battery"
_numbers = itertools.count(1)
_hash: list[str] = []


def _password_hash() -> str:
    """Argon2 is slow on purpose: one hash serves every built user."""
    if not _hash:
        _hash.append(make_password(PASSWORD))
    return _hash[0]


def a_user(**columns: object) -> User:
    """A person with the password `PASSWORD` and a personal organization."""
    number = next(_numbers)
    columns = {"email": f"person{number}@example.test", "full_name": f"Person {number}"} | columns
    user = User.objects.create(password=_password_hash(), **columns)
    personal = Organization.objects.create(
        name=user.full_name,
        slug=f"personal-{number}",
        kind=OrganizationKind.PERSONAL,
        personal_user=user,
    )
    join_organization(personal, user, OrganizationRole.OWNER)
    return user


def an_organization(owner: User | None = None, **columns: object) -> Organization:
    """A team organization; `owner` becomes its owner."""
    number = next(_numbers)
    columns = {"name": f"Team {number}", "slug": f"team-{number}"} | columns
    organization = Organization.objects.create(kind=OrganizationKind.TEAM, **columns)
    if owner is not None:
        join_organization(organization, owner, OrganizationRole.OWNER)
    return organization


def join_organization(organization: Organization, user: User, role: OrganizationRole) -> None:
    OrganizationMembership.objects.create(organization=organization, user=user, role=role)


def a_workspace(owner: User | None = None, **columns: object) -> Workspace:
    """A workspace in the owner's personal organization unless another is given."""
    owner = owner or a_user()
    number = next(_numbers)
    columns = {
        "name": f"Project {number}",
        "organization": owner.personal_organization,
    } | columns
    workspace = Workspace.objects.create(owner=owner, **columns)
    join_workspace(workspace, owner, WorkspaceRole.OWNER)
    return workspace


def join_workspace(workspace: Workspace, user: User, role: WorkspaceRole) -> None:
    WorkspaceMembership.objects.create(workspace=workspace, user=user, role=role)


def an_actor(user: User, *, scopes: frozenset[Scope] | None = None, **values: Any) -> Actor:
    """The user as a signed-in session would act, or with a key's scopes."""
    return Actor(
        user_id=user.pk,
        scopes=scopes,
        is_staff=user.is_staff,
        is_superuser=user.is_superuser,
        **values,
    )
