"""Teams: made by anybody, renamed by their managers, ended by their owners once empty."""

from __future__ import annotations

from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import ProtectedError, RestrictedError

from accounts.errors import OrganizationInUse, PersonalOrganization, SlugTaken
from accounts.models import Organization, OrganizationMembership
from accounts.services import access, audit, feed
from accounts.types import Actor, OrganizationKind, OrganizationRole, Permission


@transaction.atomic
def create(*, actor: Actor, name: str, slug: str) -> Organization:
    """Start a team; its creator owns it. Raises SessionRequired, SlugTaken."""
    access.authorise_self(actor)
    try:
        with transaction.atomic():
            organization = Organization.objects.create(
                name=name, slug=slug, kind=OrganizationKind.TEAM
            )
    except IntegrityError:
        raise SlugTaken from None
    OrganizationMembership.objects.create(
        organization=organization, user_id=actor.user_id, role=OrganizationRole.OWNER
    )
    _note("organization.created", actor, organization)
    return organization


@transaction.atomic
def update(
    *, actor: Actor, organization_id: UUID, name: str | None = None, slug: str | None = None
) -> tuple[Organization, OrganizationRole]:
    """Change name or slug; answers the row and the actor's role.

    Raises NotFound, Forbidden, SlugTaken.
    """
    ref = access.authorise(actor, Permission.ORGANIZATION_MANAGE, organization_id)
    organization = Organization.objects.select_for_update().get(pk=organization_id)
    organization.name = name or organization.name
    organization.slug = slug or organization.slug
    try:
        with transaction.atomic():
            organization.save(update_fields=["name", "slug", "updated_at"])
    except IntegrityError:
        raise SlugTaken from None
    _note("organization.changed", actor, organization)
    return organization, ref.role


@transaction.atomic
def delete(*, actor: Actor, organization_id: UUID) -> None:
    """End an empty team.

    Raises NotFound, Forbidden, ReauthenticationRequired, PersonalOrganization, OrganizationInUse.
    """
    access.authorise(actor, Permission.ORGANIZATION_DELETE, organization_id)
    access.require_recent(actor)
    organization = Organization.objects.select_for_update().get(pk=organization_id)
    if organization.kind != OrganizationKind.TEAM:
        raise PersonalOrganization
    _note("organization.deleted", actor, organization)
    try:
        with transaction.atomic():
            organization.delete()
    except (ProtectedError, RestrictedError, IntegrityError):
        raise OrganizationInUse from None
    feed.announce(organization_id=organization_id)


def _note(action: str, actor: Actor, organization: Organization) -> None:
    audit.record(
        action=action,
        actor=actor,
        organization_id=organization.pk,
        target=organization.pk,
        details={"name": organization.name, "slug": organization.slug},
    )
