"""Reads of accounts; the actor comes first, so a foreign row cannot be reached."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet
from django.db.models.functions import Now

from accounts.models import (
    ApiKey,
    AuditEvent,
    Organization,
    OrganizationMembership,
    RefreshSession,
    User,
)
from accounts.services import access
from accounts.types import Actor, OrganizationRole, Permission


def user_of(actor: Actor) -> User:
    """The person behind an actor."""
    return User.objects.get(pk=actor.user_id)


def memberships_of(actor: Actor) -> QuerySet[OrganizationMembership]:
    """The actor's organizations with the role in each; a key sees its own organization alone."""
    rows = OrganizationMembership.objects.filter(user_id=actor.user_id)
    if actor.key_organization_id is not None:
        rows = rows.filter(organization_id=actor.key_organization_id)
    return rows.select_related("organization").order_by("organization_id")


def listed_memberships(actor: Actor) -> QuerySet[OrganizationMembership]:
    """`memberships_of` for whoever may list organizations; raises ScopeMissing."""
    access.authorise_listing(actor, Permission.ORGANIZATION_VIEW)
    return memberships_of(actor)


def personal_organization_id(actor: Actor) -> UUID:
    """The organization that every user has."""
    found: UUID = Organization.objects.values_list("pk", flat=True).get(
        personal_user_id=actor.user_id
    )
    return found


def organization(actor: Actor, organization_id: UUID) -> tuple[Organization, OrganizationRole]:
    """One organization and the actor's role in it; raises NotFound, Forbidden."""
    role = access.authorise(actor, Permission.ORGANIZATION_VIEW, organization_id)
    return Organization.objects.get(pk=organization_id), role


def members_of(actor: Actor, organization_id: UUID) -> QuerySet[OrganizationMembership]:
    """An organization's people; raises NotFound, Forbidden."""
    access.authorise(actor, Permission.ORGANIZATION_VIEW, organization_id)
    rows = OrganizationMembership.objects.filter(organization_id=organization_id)
    return rows.select_related("user")


def audit_of(actor: Actor, organization_id: UUID) -> QuerySet[AuditEvent]:
    """An organization's audit events; raises NotFound, Forbidden."""
    access.authorise(actor, Permission.AUDIT_VIEW, organization_id)
    return AuditEvent.objects.filter(organization_id=organization_id)


def sessions_of(actor: Actor) -> QuerySet[RefreshSession]:
    """The actor's sessions in force, newest first."""
    alive = RefreshSession.objects.filter(
        user_id=actor.user_id, revoked_at=None, expires_at__gt=Now()
    )
    return alive.order_by("-created_at", "-id")


def api_keys_of(actor: Actor) -> QuerySet[ApiKey]:
    """The actor's keys that were not revoked, newest first."""
    return ApiKey.objects.filter(user_id=actor.user_id, revoked_at=None).order_by(
        "-created_at", "-id"
    )
