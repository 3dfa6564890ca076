"""Reads of accounts; the actor or an authorised organization comes first, so that a foreign row
cannot be reached."""

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
from accounts.types import Actor, OrganizationRef


def user_of(actor: Actor) -> User:
    """The person behind an actor."""
    return User.objects.get(pk=actor.user_id)


def memberships_of(actor: Actor) -> QuerySet[OrganizationMembership]:
    """The actor's organizations with the role in each; a key sees its own organization alone."""
    rows = OrganizationMembership.objects.filter(user_id=actor.user_id)
    if actor.key_organization_id is not None:
        rows = rows.filter(organization_id=actor.key_organization_id)
    return rows.select_related("organization").order_by("organization_id")


def personal_organization_id(actor: Actor) -> UUID:
    """The organization that every user has."""
    found: UUID = Organization.objects.values_list("pk", flat=True).get(
        personal_user_id=actor.user_id
    )
    return found


def organization(ref: OrganizationRef) -> Organization:
    """The row of an authorised organization."""
    return Organization.objects.get(pk=ref.id)


def members_of(ref: OrganizationRef) -> QuerySet[OrganizationMembership]:
    """An organization's people."""
    rows = OrganizationMembership.objects.filter(organization_id=ref.id)
    return rows.select_related("user")


def audit_of(ref: OrganizationRef) -> QuerySet[AuditEvent]:
    """An organization's audit events."""
    return AuditEvent.objects.filter(organization_id=ref.id)


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
