"""API keys: credentials for programs, found by id, compared as HMAC, shown once."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from accounts.models import ApiKey
from accounts.services import access, audit, feed, keys
from accounts.types import Actor, KeyKind, Permission, Scope
from ideplatform.kit import crypto, ids
from ideplatform.kit.errors import InvalidInput, NotFound, Unauthenticated

SEEN_EVERY = timedelta(minutes=1)
MAX_ALIVE = 100


@transaction.atomic
def create(
    *,
    actor: Actor,
    organization_id: UUID,
    name: str,
    scopes: Collection[Scope],
    kind: KeyKind = KeyKind.PERSONAL,
    workspace_id: UUID | None = None,
    expires_at: datetime | None = None,
) -> tuple[ApiKey, crypto.Secret]:
    """A new key and its text, which nobody can read again.

    A personal key needs membership of the organization, a service key its management. A
    workspace only narrows the key: its user's rights there are judged at every use.
    Raises NotFound, Forbidden, ReauthenticationRequired, InvalidInput.
    """
    needed = Permission.ORGANIZATION_MANAGE if kind == KeyKind.SERVICE else Permission.SELF
    if needed == Permission.SELF:
        access.require_member(actor, organization_id)
    else:
        access.authorise(actor, needed, organization_id)
    access.require_recent(actor)
    if _alive(actor).count() >= MAX_ALIVE:
        raise InvalidInput(f"at most {MAX_ALIVE} keys may be in force; revoke one")
    key = ApiKey(
        id=ids.new(),
        user_id=actor.user_id,
        organization_id=organization_id,
        workspace_id=workspace_id,
        kind=kind,
        name=name,
        scopes=sorted(scopes),
        expires_at=expires_at,
    )
    secret = _give_secret(key)
    key.save(force_insert=True)
    _note("api_key.created", actor, key)
    return key, secret


@transaction.atomic
def rotate(*, actor: Actor, key_id: UUID) -> tuple[ApiKey, crypto.Secret]:
    """Replace a key's secret; the old text ends at once. Raises NotFound."""
    key = _own(actor, key_id)
    access.require_recent(actor)
    secret = _give_secret(key)
    key.save(update_fields=["secret_hmac", "pepper_version", "last4"])
    feed.announce(api_key_id=key.pk)
    _note("api_key.rotated", actor, key)
    return key, secret


@transaction.atomic
def revoke(*, actor: Actor, key_id: UUID) -> None:
    """End a key at once, everywhere. Raises NotFound."""
    key = _own(actor, key_id)
    _end(key)
    _note("api_key.revoked", actor, key)


@transaction.atomic
def revoke_leaked(*, key_id: UUID, ip: str) -> None:
    """End a key that was seen where it must not be, such as in a URL."""
    key = ApiKey.objects.select_for_update().filter(pk=key_id, revoked_at=None).first()
    if key is not None:
        _end(key)
        audit.record(
            action="api_key.leaked",
            outcome=audit.DENIED,
            actor_id=key.user_id,
            organization_id=key.organization_id,
            target=key.pk,
            ip=ip,
            details={"last4": key.last4},
        )


@transaction.atomic
def revoke_all(*, user_id: UUID, organization_id: UUID | None = None) -> None:
    """End every key of a user, or those of one organization."""
    alive = ApiKey.objects.filter(user_id=user_id, revoked_at=None)
    if organization_id is not None:
        alive = alive.filter(organization_id=organization_id)
    for key in alive.select_for_update():
        _end(key)


def verified(text: str) -> ApiKey:
    """The key in force that this text proves; raises Unauthenticated."""
    key = _proven(text)
    if key is None or key.revoked_at is not None or not key.user.is_active:
        raise Unauthenticated
    return key


def seen(key: ApiKey) -> None:
    """Note that a key is in use, at most once a minute."""
    stale = Q(last_used_at=None) | Q(last_used_at__lt=Now() - SEEN_EVERY)
    ApiKey.objects.filter(stale, pk=key.pk).update(last_used_at=Now())


def _proven(text: str) -> ApiKey | None:
    try:
        parts = crypto.read_api_key(text)
    except crypto.MalformedToken:
        return None
    unexpired = Q(expires_at=None) | Q(expires_at__gt=Now())
    key = ApiKey.objects.select_related("user").filter(unexpired, pk=parts.key_id).first()
    if key is None or keys.peppers().key(str(key.pepper_version)) is None:
        return None
    mac = crypto.api_key_mac(parts, peppers=keys.peppers(), version=str(key.pepper_version))
    return key if crypto.same(bytes(key.secret_hmac), mac) else None


def _give_secret(key: ApiKey) -> crypto.Secret:
    secret = crypto.new_api_key(key.pk)
    version = keys.peppers().newest
    parts = crypto.read_api_key(secret.reveal())
    key.secret_hmac = crypto.api_key_mac(parts, peppers=keys.peppers(), version=version)
    key.pepper_version = int(version)
    key.last4 = secret.last4()
    return secret


def _alive(actor: Actor) -> QuerySet[ApiKey]:
    return ApiKey.objects.filter(user_id=actor.user_id, revoked_at=None)


def _own(actor: Actor, key_id: UUID) -> ApiKey:
    key = _alive(actor).select_for_update().filter(pk=key_id).first()
    if key is None:
        raise NotFound
    return key


def _end(key: ApiKey) -> None:
    ApiKey.objects.filter(pk=key.pk).update(revoked_at=Now())
    feed.announce(api_key_id=key.pk)


def _note(action: str, actor: Actor, key: ApiKey) -> None:
    audit.record(
        action=action,
        actor=actor,
        organization_id=key.organization_id,
        workspace_id=key.workspace_id,
        target=key.pk,
        details={"name": key.name, "kind": key.kind, "last4": key.last4},
    )
