"""Who may do what at an organization, or with their own account.

Workspaces add their roles in `workspaces.services.access`. Every answer is reported to
`kit.accounting` under the entry that asked.
"""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from django.db.models.functions import Now

from accounts.errors import ReauthenticationRequired, ScopeMissing, SessionRequired
from accounts.models import OrganizationMembership, RefreshSession
from accounts.types import (
    ORGANIZATION_PERMISSIONS,
    SCOPE_PERMISSIONS,
    Actor,
    OrganizationRef,
    OrganizationRole,
    Permission,
)
from ideplatform.kit import accounting
from ideplatform.kit.errors import Forbidden, NotFound, PlatformError

RECENT = timedelta(minutes=15)
_GRANTABLE = frozenset().union(*SCOPE_PERMISSIONS.values())


def authorise(actor: Actor, permission: Permission, organization_id: UUID) -> OrganizationRef:
    """The organization, when the actor has the permission there.

    Raises NotFound for whoever is no member (as for an unknown id), Forbidden (also ScopeMissing,
    SessionRequired) for a member whose role or key does not cover it.
    """
    refusal = _scope_refusal(actor, permission)
    role = role_of(actor, organization_id)
    if role is None:
        accounting.record(permission, "deny")
        raise NotFound
    if refusal is None and (
        actor.key_workspace_id is not None or permission not in ORGANIZATION_PERMISSIONS[role]
    ):
        refusal = Forbidden()
    _answer(permission, refusal)
    return OrganizationRef(id=organization_id, role=role)


def authorise_listing(actor: Actor, permission: Permission) -> None:
    """Allow a list that its query narrows to what the actor may see; a key needs the scope."""
    _answer(permission, _scope_refusal(actor, permission))


def authorise_self(actor: Actor) -> None:
    """Allow what concerns the person's own account; raises SessionRequired for an API key."""
    _answer(Permission.SELF, _scope_refusal(actor, Permission.SELF))


def authorise_platform(actor: Actor) -> None:
    """Allow what concerns the whole platform: superusers in a session. Raises Forbidden."""
    refusal = _scope_refusal(actor, Permission.PLATFORM_MANAGE)
    if refusal is None and not actor.is_superuser:
        refusal = Forbidden()
    _answer(Permission.PLATFORM_MANAGE, refusal)


def require_scope(actor: Actor, permission: Permission) -> None:
    """Refuse a key whose scopes do not cover `permission`; the target is judged later.

    Raises SessionRequired where no scope ever covers it, ScopeMissing otherwise.
    """
    refusal = _scope_refusal(actor, permission)
    if refusal is not None:
        _answer(permission, refusal)


def require_session(actor: Actor, permission: Permission) -> None:
    """Refuse every API key, whatever its scopes. Raises SessionRequired."""
    if not actor.is_session:
        _answer(permission, SessionRequired())


def require_member(actor: Actor, organization_id: UUID) -> OrganizationRole:
    """The actor's role; raises NotFound for whoever is no member."""
    role = role_of(actor, organization_id)
    if role is None:
        raise NotFound
    return role


def require_recent(actor: Actor) -> None:
    """Sensitive changes need a proof of identity at most 15 minutes old.

    Raises ReauthenticationRequired; `reauthenticate` renews the proof.
    """
    recent = RefreshSession.objects.filter(pk=session_of(actor), auth_at__gte=Now() - RECENT)
    if not recent.exists():
        raise ReauthenticationRequired


def session_of(actor: Actor) -> UUID:
    """The session that speaks; raises SessionRequired for an API key."""
    if actor.session_id is None:
        raise SessionRequired
    return actor.session_id


def role_of(actor: Actor, organization_id: UUID) -> OrganizationRole | None:
    """The actor's current role, None for a stranger or a key of another organization."""
    if actor.key_organization_id not in (None, organization_id):
        return None
    roles = OrganizationMembership.objects.filter(
        organization_id=organization_id, user_id=actor.user_id, user__is_active=True
    )
    role = roles.values_list("role", flat=True).first()
    return None if role is None else OrganizationRole(role)


def _scope_refusal(actor: Actor, permission: Permission) -> PlatformError | None:
    if actor.scope_allows(permission):
        return None
    return ScopeMissing() if permission in _GRANTABLE else SessionRequired()


def _answer(permission: Permission, refusal: PlatformError | None) -> None:
    accounting.record(permission, "allow" if refusal is None else "deny")
    if refusal is not None:
        raise refusal
