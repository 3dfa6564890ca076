"""Who takes part in a workspace. Every loss of rights reaches each process within a second."""

from __future__ import annotations

from uuid import UUID

from django.db import transaction

from accounts.errors import AlreadyMember, LastOwner, SessionRequired
from accounts.models import OrganizationMembership, User
from accounts.services import audit, feed
from accounts.types import Actor, Permission
from ideplatform.kit.errors import NotFound
from workspaces.models import Workspace, WorkspaceMembership
from workspaces.services import access, nodes
from workspaces.types import WorkspaceRef, WorkspaceRole


@transaction.atomic
def add(
    *,
    actor: Actor,
    workspace_id: UUID,
    role: WorkspaceRole,
    user_id: UUID | None = None,
    email: str = "",
) -> WorkspaceMembership:
    """Give somebody a role: by id anybody, as a guest if need be; by e-mail only colleagues.

    An address of somebody outside the organization is answered like an unknown one, so that no
    address can be probed here. Raises NotFound, Forbidden, AlreadyMember.
    """
    ref = _managed(actor, workspace_id)
    user = _person(ref, user_id=user_id, email=email)
    if WorkspaceMembership.objects.filter(workspace_id=workspace_id, user=user).exists():
        raise AlreadyMember
    membership = WorkspaceMembership.objects.create(
        workspace_id=workspace_id,
        user=user,
        role=role,
        follows_organization=_is_colleague(ref, user.pk),
    )
    _audit("workspace.member_added", actor, ref, user.pk, new_role=role)
    return membership


@transaction.atomic
def change_role(
    *, actor: Actor, workspace_id: UUID, user_id: UUID, role: WorkspaceRole
) -> WorkspaceMembership:
    """Give a member another role. Raises NotFound, Forbidden, LastOwner."""
    ref = _managed(actor, workspace_id)
    membership = _membership(ref, user_id)
    old_role = membership.role
    membership.role = role
    membership.follows_organization = _is_colleague(ref, user_id)
    membership.save(update_fields=["role", "follows_organization", "updated_at"])
    _keep_an_owner(ref)
    feed.announce(user_id=user_id, workspace_id=workspace_id)
    _audit("workspace.member_changed", actor, ref, user_id, old_role=old_role, new_role=role)
    return membership


@transaction.atomic
def remove(*, actor: Actor, workspace_id: UUID, user_id: UUID) -> None:
    """End a membership; everybody may end their own. Raises NotFound, Forbidden, LastOwner."""
    ref = (_own if user_id == actor.user_id else _managed)(actor, workspace_id)
    membership = _membership(ref, user_id)
    old_role = membership.role
    membership.delete()
    _keep_an_owner(ref)
    feed.announce(user_id=user_id, workspace_id=workspace_id)
    _audit("workspace.member_removed", actor, ref, user_id, old_role=old_role)


def _managed(actor: Actor, workspace_id: UUID) -> WorkspaceRef:
    _require_session(actor)
    ref = access.workspace(actor, workspace_id, Permission.WORKSPACE_MANAGE)
    nodes.lock(workspace_id)
    return ref


def _own(actor: Actor, workspace_id: UUID) -> WorkspaceRef:
    _require_session(actor)
    ref = access.workspace(actor, workspace_id, Permission.WORKSPACE_VIEW)
    nodes.lock(workspace_id)
    return ref


def _require_session(actor: Actor) -> None:
    if not actor.is_session:
        raise SessionRequired


def _person(ref: WorkspaceRef, *, user_id: UUID | None, email: str) -> User:
    if user_id is not None:
        people = User.objects.filter(pk=user_id)
    else:
        colleagues = OrganizationMembership.objects.filter(organization=ref.organization_id)
        people = User.objects.by_email(email).filter(pk__in=colleagues.values("user_id"))
    found = people.filter(is_active=True, deleted_at__isnull=True).first()
    if found is None:
        raise NotFound
    return found


def _membership(ref: WorkspaceRef, user_id: UUID) -> WorkspaceMembership:
    rows = WorkspaceMembership.objects.filter(workspace_id=ref.id, user_id=user_id)
    found = rows.select_related("user").first()
    if found is None:
        raise NotFound
    return found


def _is_colleague(ref: WorkspaceRef, user_id: UUID) -> bool:
    rows = OrganizationMembership.objects.filter(organization=ref.organization_id)
    return rows.filter(user_id=user_id).exists()


def _keep_an_owner(ref: WorkspaceRef) -> None:
    """Under the workspace's lock: somebody still owns it, and `owner_id` names one of them."""
    owners = WorkspaceMembership.objects.filter(workspace_id=ref.id, role=WorkspaceRole.OWNER)
    remaining = list(owners.order_by("created_at", "pk").values_list("user_id", flat=True))
    if not remaining:
        raise LastOwner
    rows = Workspace.objects.filter(pk=ref.id).exclude(owner_id__in=remaining)
    rows.update(owner_id=remaining[0])


def _audit(action: str, actor: Actor, ref: WorkspaceRef, user_id: UUID, **details: str) -> None:
    audit.record(
        action=action,
        actor=actor,
        organization_id=ref.organization_id,
        workspace_id=ref.id,
        target=user_id,
        details={name: str(value) for name, value in details.items()},
    )
