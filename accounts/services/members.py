"""Who belongs to an organization, and as what. The last owner stays."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db import IntegrityError, transaction

from accounts.errors import AlreadyMember, LastOwner, PersonalOrganization
from accounts.models import Organization, OrganizationMembership, User
from accounts.services import access, api_keys, audit, feed
from accounts.types import Actor, OrganizationKind, OrganizationRole, Permission
from ideplatform.kit import throttle
from ideplatform.kit.errors import NotFound

# Adding tells whether an address has an account. So does sign-up (409 `email_taken`), and both are
# slow: nobody learns here what is not to be learnt there.
ADD = throttle.Limit(endpoint="member_add", count=30, window_s=3_600, without_redis="local")


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Whom to add: by id or by e-mail address."""

    user_id: UUID | None = None
    email: str = ""


def add(
    *, actor: Actor, organization_id: UUID, person: Person, role: OrganizationRole
) -> OrganizationMembership:
    """Make an existing user a member.

    Raises NotFound for an unknown person, AlreadyMember, PersonalOrganization, TooManyRequests,
    Forbidden where only an owner may give the role.
    """
    _authorise(actor, organization_id, role)
    throttle.take(throttle.of_user(ADD, actor.user_id))
    with transaction.atomic():
        organization = _locked(organization_id)
        if organization.kind != OrganizationKind.TEAM:
            raise PersonalOrganization
        user = _find(person)
        membership = _insert(organization, user, role)
        _note("member.added", actor, membership, new_role=role)
    return membership


@transaction.atomic
def change_role(
    *, actor: Actor, organization_id: UUID, user_id: UUID, role: OrganizationRole
) -> OrganizationMembership:
    """Give a member another role; raises NotFound, Forbidden, LastOwner."""
    _authorise(actor, organization_id, role)
    _locked(organization_id)
    membership = _member(organization_id, user_id)
    _authorise(actor, organization_id, OrganizationRole(membership.role))
    old_role = membership.role
    if old_role == OrganizationRole.OWNER and role != OrganizationRole.OWNER:
        _refuse_last_owner(membership)
    membership.role = role
    membership.save(update_fields=["role", "updated_at"])
    feed.announce(user_id=user_id, organization_id=organization_id)
    _note("member.role_changed", actor, membership, old_role=old_role, new_role=role)
    return membership


@transaction.atomic
def remove(*, actor: Actor, organization_id: UUID, user_id: UUID) -> None:
    """End a membership; everybody may end their own. Raises NotFound, Forbidden, LastOwner."""
    if user_id == actor.user_id:
        access.authorise(actor, Permission.ORGANIZATION_VIEW, organization_id)
        access.require_session(actor, Permission.ORGANIZATION_MANAGE)
    else:
        access.authorise(actor, Permission.ORGANIZATION_MANAGE, organization_id)
    membership = _member(organization_id, user_id)
    if user_id != actor.user_id:
        _authorise(actor, organization_id, OrganizationRole(membership.role))
    end(membership)
    _note("member.removed", actor, membership, old_role=membership.role)


@transaction.atomic
def end(membership: OrganizationMembership) -> None:
    """Delete a membership with the keys that served it; raises LastOwner, PersonalOrganization."""
    organization = _locked(membership.organization_id)
    if organization.kind == OrganizationKind.PERSONAL:
        raise PersonalOrganization
    if membership.role == OrganizationRole.OWNER:
        _refuse_last_owner(membership)
    OrganizationMembership.objects.filter(pk=membership.pk).delete()
    api_keys.revoke_all(user_id=membership.user_id, organization_id=organization.pk)
    feed.announce(user_id=membership.user_id, organization_id=organization.pk)


def _authorise(actor: Actor, organization_id: UUID, role: OrganizationRole) -> None:
    """Members need management; owners are made, changed and removed by owners."""
    access.authorise(actor, Permission.ORGANIZATION_MANAGE, organization_id)
    if role == OrganizationRole.OWNER:
        access.authorise(actor, Permission.ORGANIZATION_DELETE, organization_id)


def _locked(organization_id: UUID) -> Organization:
    """The organization's row, so that two owners cannot leave at once; raises NotFound."""
    found = Organization.objects.select_for_update(no_key=True).filter(pk=organization_id).first()
    if found is None:
        raise NotFound
    return found


def _member(organization_id: UUID, user_id: UUID) -> OrganizationMembership:
    rows = OrganizationMembership.objects.select_related("user")
    found = rows.filter(organization_id=organization_id, user_id=user_id).first()
    if found is None:
        raise NotFound
    return found


def _refuse_last_owner(membership: OrganizationMembership) -> None:
    others = OrganizationMembership.objects.filter(
        organization_id=membership.organization_id, role=OrganizationRole.OWNER
    ).exclude(pk=membership.pk)
    if not others.exists():
        raise LastOwner


def _find(person: Person) -> User:
    named = (
        User.objects.filter(pk=person.user_id)
        if person.user_id
        else User.objects.by_email(person.email)
    )
    found = named.filter(is_active=True).first()
    if found is None:
        raise NotFound
    return found


def _insert(
    organization: Organization, user: User, role: OrganizationRole
) -> OrganizationMembership:
    try:
        with transaction.atomic():
            return OrganizationMembership.objects.create(
                organization=organization, user=user, role=role
            )
    except IntegrityError:
        raise AlreadyMember from None


def _note(
    action: str,
    actor: Actor,
    membership: OrganizationMembership,
    **roles: str,
) -> None:
    audit.record(
        action=action,
        actor=actor,
        organization_id=membership.organization_id,
        target=membership.user_id,
        details=roles,
    )
