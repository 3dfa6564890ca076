"""Provider accounts: created, changed and deleted, with their keys, cards and models."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models.functions import Now
from msgspec import UNSET, UnsetType

from accounts.services import audit
from accounts.types import Actor
from billing.services import cards
from billing.types import BillingMode
from ideplatform.kit.crypto import Secret
from ideplatform.kit.errors import InvalidInput, NotFound, Pointer, StaleVersion
from ideplatform.outbox import facts
from providers import config
from providers.config import Config
from providers.errors import KeyRequired, NameTaken
from providers.models import Provider
from providers.services import access, changes, health, keys, models
from providers.services.access import Home
from providers.types import ProviderScope, ProviderType

TOPIC: Final = "provider.changed"
_NOT_SLUG: Final = re.compile(r"[^a-z0-9]+")
_UNIQUE_VIOLATION: Final = "23505"


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """A new account. `slug` empty is made from the name; `models` are offered without asking.

    `report_key` reads the vendor's usage reports, and nothing else.
    """

    name: str
    type: ProviderType
    config: Mapping[str, object] = field(default_factory=dict)
    api_key: Secret | None = None
    report_key: Secret | None = None
    slug: str = ""
    billing_mode: BillingMode = BillingMode.BYOK
    priority: int = 0
    is_enabled: bool = True
    external_account_ref: str = ""
    models: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What a change says; UNSET leaves a member as it is. A key that is None is removed."""

    name: str | UnsetType = UNSET
    type: ProviderType | UnsetType = UNSET
    config: Mapping[str, object] | UnsetType = UNSET
    api_key: Secret | UnsetType | None = UNSET
    report_key: Secret | UnsetType | None = UNSET
    slug: str | UnsetType = UNSET
    billing_mode: BillingMode | UnsetType = UNSET
    priority: int | UnsetType = UNSET
    is_enabled: bool | UnsetType = UNSET
    external_account_ref: str | UnsetType = UNSET


@transaction.atomic
def create(
    *,
    actor: Actor,
    scope: ProviderScope,
    draft: Draft,
    organization_id: UUID | None = None,
    workspace_id: UUID | None = None,
) -> Provider:
    """A new account in a scope that the actor may manage; it is saved even if unreachable.

    Raises InvalidInput, NotFound, Forbidden, NameTaken (409).
    """
    home = access.manage_scope(
        actor, scope, organization_id=organization_id, workspace_id=workspace_id
    )
    provider = add(home=home, owner_id=actor.user_id, draft=draft)
    _audit("provider.created", actor, provider)
    return provider


@transaction.atomic
def add(*, home: Home, owner_id: UUID | None, draft: Draft) -> Provider:
    """A new account without asking who may: for the platform's own set-up.

    Raises InvalidInput, NameTaken.
    """
    settings = _settings(draft.config, draft.type)
    provider = Provider(
        name=draft.name,
        slug=draft.slug or slug_of(draft.name),
        type=draft.type,
        config=config.stored(settings),
        owner_id=owner_id,
        scope=home.scope,
        organization_id=home.organization_id,
        workspace_id=home.workspace_id,
        billing_mode=draft.billing_mode,
        priority=draft.priority,
        is_enabled=draft.is_enabled,
        external_account_ref=draft.external_account_ref,
    )
    _check_mode(provider)
    if draft.api_key is not None:
        keys.store(provider, draft.api_key)
    if draft.report_key is not None:
        keys.store_report_key(provider, draft.report_key)
    _save(provider, is_new=True)
    models.offer(provider, draft.models)
    _tell(provider)
    return provider


@transaction.atomic
def update(*, actor: Actor, provider_id: UUID, changes: Changes, version: int | None) -> Provider:
    """Change an account; `version` None means that the last write wins.

    A new address or type never gets the old key. Raises InvalidInput (KeyRequired), NotFound,
    Forbidden, NameTaken, and StaleVersion with the current version.
    """
    access.manage(actor, provider_id)
    provider = _locked(provider_id, version)
    before = _address(provider)
    _apply(provider, changes)
    if _address(provider) != before:
        _require_keys(provider, changes)
        provider.models.exclude(source="manual").delete()
        models.offer(provider, ())
    _apply_key(provider, changes.api_key)
    _apply_report_key(provider, changes.report_key)
    provider.version += 1
    _save(provider, is_new=False)
    _tell(provider)
    _audit("provider.changed", actor, provider)
    return provider


@transaction.atomic
def delete(*, actor: Actor, provider_id: UUID, version: int | None = None) -> None:
    """Hide an account for ever and destroy its key; its usage stays.

    Raises NotFound, Forbidden, StaleVersion.
    """
    access.manage(actor, provider_id)
    provider = _locked(provider_id, version)
    _retire(provider)
    _audit("provider.deleted", actor, provider)


@transaction.atomic
def retire(*, workspace_id: UUID | None = None, owner_id: UUID | None = None) -> int:
    """Delete the accounts of a workspace, or of a person, that is no more; how many there were."""
    rows = Provider.objects.select_for_update().filter(deleted_at__isnull=True)
    if workspace_id is not None:
        rows = rows.filter(scope=ProviderScope.WORKSPACE, workspace_id=workspace_id)
    else:
        rows = rows.filter(scope=ProviderScope.USER, owner_id=owner_id)
    found = list(rows.order_by("pk"))
    for provider in found:
        _retire(provider)
    return len(found)


def slug_of(name: str) -> str:
    """The name as the first half of `slug/model`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return _NOT_SLUG.sub("-", plain).strip("-")[:40].strip("-") or "provider"


def _locked(provider_id: UUID, version: int | None) -> Provider:
    rows = Provider.objects.select_for_update().filter(deleted_at__isnull=True)
    provider = rows.filter(pk=provider_id).first()
    if provider is None:
        raise NotFound
    if version is not None and version != provider.version:
        raise StaleVersion(current={"version": provider.version, "name": provider.name})
    return provider


def _retire(provider: Provider) -> None:
    keys.drop(provider)
    keys.drop_report_key(provider)
    provider.version += 1
    provider.is_enabled = False
    _save(provider, is_new=False)
    Provider.objects.filter(pk=provider.pk).update(deleted_at=Now())
    provider.refresh_from_db(fields=["deleted_at"])
    _tell(provider)


def _apply(provider: Provider, changes: Changes) -> None:
    for name in ("name", "slug", "type", "billing_mode", "priority", "is_enabled"):
        value = getattr(changes, name)
        if value is not UNSET:
            setattr(provider, name, value)
    if changes.external_account_ref is not UNSET:
        provider.external_account_ref = changes.external_account_ref
    given = provider.config if changes.config is UNSET else changes.config
    provider.config = config.stored(_settings(given, ProviderType(provider.type)))
    _check_mode(provider)


def _apply_key(provider: Provider, key: Secret | UnsetType | None) -> None:
    if key is UNSET:
        return
    if key is None:
        keys.drop(provider)
    else:
        keys.store(provider, key)
    health.key_replaced(provider.pk)
    Provider.objects.filter(pk=provider.pk).update(key_changed_at=Now())


def _apply_report_key(provider: Provider, key: Secret | UnsetType | None) -> None:
    if key is UNSET:
        return
    if key is None:
        keys.drop_report_key(provider)
    else:
        keys.store_report_key(provider, key)


def _require_keys(provider: Provider, changes: Changes) -> None:
    """Raises KeyRequired when a new address would get an old key."""
    detail = "the address or the type changed: send the key again, or null for none"
    faults = [
        Pointer(pointer=pointer, detail=detail)
        for pointer, held, sent in (
            ("/api_key", provider.secret_id, changes.api_key),
            ("/report_api_key", provider.report_secret_id, changes.report_key),
        )
        if held is not None and sent is UNSET
    ]
    if faults:
        raise KeyRequired(errors=faults)


def _settings(given: Mapping[str, object], kind: ProviderType) -> Config:
    settings = config.parse(given, provider_type=kind)
    config.check_open(config.base_url(settings, provider_type=kind))
    if settings.report_url:
        config.check_open(settings.report_url, place="/report_url")
    return settings


def _address(provider: Provider) -> tuple[str, str, str]:
    kind = ProviderType(provider.type)
    settings = config.parse(provider.config, provider_type=kind)
    return provider.type, config.base_url(settings, provider_type=kind), settings.report_url


def _check_mode(provider: Provider) -> None:
    is_ours = provider.scope == ProviderScope.PLATFORM
    if provider.billing_mode == BillingMode.PLATFORM and not is_ours:
        detail = "only the platform's own accounts are charged to a wallet"
        raise InvalidInput(errors=[Pointer(pointer="/billing_mode", detail=detail)])


def _save(provider: Provider, *, is_new: bool) -> None:
    try:
        with transaction.atomic():
            if is_new:
                provider.save(force_insert=True)
            else:
                provider.save(update_fields=_CHANGING)
    except IntegrityError as conflict:
        if getattr(conflict.__cause__, "sqlstate", "") != _UNIQUE_VIOLATION:
            raise
        raise NameTaken(slug=provider.slug) from None


_CHANGING: Final = (
    "name",
    "slug",
    "type",
    "config",
    "billing_mode",
    "secret",
    "report_secret",
    "key_hint",
    "priority",
    "is_enabled",
    "external_account_ref",
    "version",
    "updated_at",
)


def _tell(provider: Provider) -> None:
    """Billing's card and the fact, in the transaction of the change."""
    cards.write(
        provider_id=provider.pk,
        organization_id=keys.home_of(provider),
        workspace_id=provider.workspace_id,
        owner_id=provider.owner_id,
        provider_type=provider.type,
        name=provider.name,
        billing_mode=BillingMode(provider.billing_mode),
        external_account_ref=provider.external_account_ref,
        deleted_at=provider.deleted_at,
    )
    changes.of_home(provider)
    facts.publish(TOPIC, key=str(provider.pk), payload={"provider_id": str(provider.pk)})


def _audit(action: str, actor: Actor, provider: Provider) -> None:
    audit.record(
        action=action,
        actor=actor,
        organization_id=keys.home_of(provider),
        workspace_id=provider.workspace_id,
        target=provider.pk,
        details={"slug": provider.slug, "kind": provider.type},
    )
