"""Who may do what in a workspace: the one decision, from the tables of this moment."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import Final, NamedTuple
from uuid import UUID

from django.db import transaction
from django.db.models import OuterRef, Subquery

from accounts.errors import ScopeMissing
from accounts.models import OrganizationMembership
from accounts.services import audit
from accounts.types import ORGANIZATION_PERMISSIONS, Actor, Permission
from ideplatform.kit import accounting
from ideplatform.kit.errors import Forbidden, NotFound
from workspaces.models import Workspace, WorkspaceMembership
from workspaces.selectors import ADMINISTRATORS, PARTICIPANTS
from workspaces.types import ROLE_PERMISSIONS, Visibility, WorkspaceRef, WorkspaceRole

_BILLING: Final = frozenset({Permission.BILLING_VIEW, Permission.BILLING_MANAGE})
VISIT_S: Final = 900.0
_VISITS_KEPT: Final = 10_000


class Facts(NamedTuple):
    """What the tables say about a user and a workspace; roles are None where there is none."""

    organization_id: UUID
    visibility: str
    default_role: str
    own_role: str | None
    follows_organization: bool | None
    organization_role: str | None


def workspace(actor: Actor, workspace_id: UUID, permission: Permission) -> WorkspaceRef:
    """The workspace, when the actor has the permission there.

    Role (own, else the default of a visible workspace; the organization's owners and admins count
    as owners), cut by the key's scopes and workspace. Raises NotFound when the actor has no part
    in it, exactly as for an unknown id; Forbidden when the role or the scopes lack the permission.
    """
    try:
        ref = _authorised(actor, workspace_id, permission)
    except (NotFound, Forbidden):
        accounting.record(permission, "deny")
        raise
    accounting.record(permission, "allow")
    return ref


def _authorised(actor: Actor, workspace_id: UUID, permission: Permission) -> WorkspaceRef:
    facts = _facts(actor.user_id, [workspace_id]).get(workspace_id)
    if facts is None or not _key_reaches(actor, workspace_id, facts.organization_id):
        raise NotFound
    permissions = permissions_of(facts)
    if not permissions:
        raise NotFound
    if permission not in permissions:
        raise Forbidden
    if not actor.scope_allows(permission):
        raise ScopeMissing
    if facts.own_role is None and facts.organization_role in ADMINISTRATORS:
        _visits.note(actor, workspace_id, facts)
    return WorkspaceRef(
        id=workspace_id,
        organization_id=facts.organization_id,
        role=role_of(facts),
        permissions=permissions,
    )


def role_of(facts: Facts) -> WorkspaceRole | None:
    """The strongest role that the facts give."""
    if facts.organization_role in ADMINISTRATORS:
        return WorkspaceRole.OWNER
    is_lapsed = facts.follows_organization and facts.organization_role is None
    if facts.own_role is not None and not is_lapsed:
        return WorkspaceRole(facts.own_role)
    is_visible = facts.visibility == Visibility.ORGANIZATION
    if is_visible and facts.organization_role in PARTICIPANTS:
        return WorkspaceRole(facts.default_role)
    return None


def permissions_of(facts: Facts) -> frozenset[Permission]:
    """The permissions of the role, and those over costs that the organization gives."""
    role = role_of(facts)
    of_role = ROLE_PERMISSIONS[role] if role is not None else frozenset()
    of_organization = ORGANIZATION_PERMISSIONS.get(facts.organization_role or "", frozenset())
    return of_role | (of_organization & _BILLING)


class _Visits:
    """Audits administrators in workspaces that are not theirs: each once in a while, not per call.

    Remembered per process and bounded; a forgotten visit is only audited again.
    """

    def __init__(self) -> None:
        self._until: OrderedDict[tuple[UUID, UUID | None, UUID], float] = OrderedDict()

    def note(self, actor: Actor, workspace_id: UUID, facts: Facts) -> None:
        visit = (actor.user_id, actor.session_id or actor.api_key_id, workspace_id)
        if self._until.get(visit, 0.0) > time.monotonic():
            return
        audit.record(
            action="workspace.administered",
            actor=actor,
            organization_id=facts.organization_id,
            workspace_id=workspace_id,
            details={"reason": f"organization {facts.organization_role}"},
        )
        transaction.on_commit(lambda: self._remember(visit))

    def _remember(self, visit: tuple[UUID, UUID | None, UUID]) -> None:
        self._until[visit] = time.monotonic() + VISIT_S
        if len(self._until) > _VISITS_KEPT:
            self._until.popitem(last=False)


_visits = _Visits()


def _facts(user_id: UUID, workspace_ids: list[UUID]) -> dict[UUID, Facts]:
    own = WorkspaceMembership.objects.filter(
        workspace=OuterRef("pk"), user_id=user_id, user__is_active=True
    )
    of_organization = OrganizationMembership.objects.filter(
        organization=OuterRef("organization"), user_id=user_id, user__is_active=True
    )
    rows = Workspace.objects.filter(pk__in=workspace_ids, deleted_at__isnull=True).values_list(
        "pk",
        "organization_id",
        "visibility",
        "default_role",
        Subquery(own.values("role")),
        Subquery(own.values("follows_organization")),
        Subquery(of_organization.values("role")),
    )
    return {pk: Facts(*columns) for pk, *columns in rows}


def _key_reaches(actor: Actor, workspace_id: UUID, organization_id: UUID) -> bool:
    """Whether a key's own bounds (none for a session) include the workspace."""
    return actor.key_workspace_id in (None, workspace_id) and actor.key_organization_id in (
        None,
        organization_id,
    )
