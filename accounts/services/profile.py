"""A person's own account: what they may change, and its end."""

from __future__ import annotations

from django.db import transaction
from django.db.models.functions import Now

from accounts.models import OrganizationMembership, User
from accounts.services import access, api_keys, audit, feed, members, passwords, sessions
from accounts.types import Actor, OrganizationKind
from ideplatform.kit import crypto
from ideplatform.outbox import facts

EDITABLE = frozenset({"full_name", "locale"})


@transaction.atomic
def update(*, actor: Actor, changes: dict[str, str]) -> User:
    """Change the name or the language; raises ValueError for anything else."""
    if not changes.keys() <= EDITABLE:
        raise ValueError(f"not editable: {sorted(changes.keys() - EDITABLE)}")
    user = User.objects.select_for_update(of=("self",)).get(pk=actor.user_id)
    for column, value in changes.items():
        setattr(user, column, value)
    user.save(update_fields=[*changes, "updated_at"])
    return user


@transaction.atomic
def delete(*, actor: Actor, password: crypto.Secret) -> None:
    """End the account: the row stays, because facts refer to it, and is emptied.

    Sessions, keys, memberships and secrets end at once; `user.deleted` tells the apps above.
    Raises BadCredentials, ReauthenticationRequired, LastOwner (of a team that has other members).
    """
    access.require_recent(actor)
    user = passwords.prove(actor=actor, password=password.reveal())
    teams = OrganizationMembership.objects.filter(user=user).exclude(
        organization__kind=OrganizationKind.PERSONAL
    )
    for membership in teams.select_related("organization"):
        members.end(membership)
    sessions.revoke_all(user_id=user.pk, reason="account_deleted")
    api_keys.revoke_all(user_id=user.pk)
    user.secrets.all().delete()
    _empty(user)
    feed.announce(user_id=user.pk)
    audit.record(action="user.deleted", actor=actor, target=user.pk)
    facts.publish("user.deleted", key=str(user.pk), payload={"user_id": str(user.pk)})


@transaction.atomic
def deactivate(*, actor: Actor, user: User) -> None:
    """Operators: nobody signs in to the account any more, and whoever is in is out."""
    User.objects.filter(pk=user.pk).update(is_active=False)
    sessions.revoke_all(user_id=user.pk, reason="deactivated")
    api_keys.revoke_all(user_id=user.pk)
    feed.announce(user_id=user.pk)
    audit.record(action="user.deactivated", actor=actor, target=user.pk)


def _empty(user: User) -> None:
    user.email = f"deleted-{user.pk}@deleted.invalid"
    user.full_name = ""
    user.is_active = user.is_staff = user.is_superuser = False
    user.deleted_at = Now()
    user.set_unusable_password()
    user.save()
