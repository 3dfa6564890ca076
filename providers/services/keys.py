"""The keys of provider accounts: into the vault, and out of it for one call."""

from __future__ import annotations

from uuid import UUID

from accounts.models import Organization
from accounts.services import vault
from accounts.types import OrganizationKind
from ideplatform.kit.crypto import Secret
from ideplatform.kit.db import run_db
from ideplatform.kit.errors import NotFound
from providers.adapters import Route
from providers.errors import KeyReplaced
from providers.models import Provider
from providers.types import ProviderScope


def open_for(route: Route, *, purpose: str) -> Secret | None:
    """The key of a route's account, or None for a server that needs none. One audit row."""
    if route.secret_id is None:
        return None
    try:
        return vault.open_for_call(secret_id=route.secret_id, purpose=purpose)
    except NotFound:  # replaced or removed since the route was planned
        raise KeyReplaced(retry_after_s=1) from None


async def of_call(route: Route, *, purpose: str) -> Secret | None:
    """The same from a coroutine; a key that was opened within the minute costs no hop."""
    if route.secret_id is None:
        return None
    known = vault.recall(secret_id=route.secret_id, purpose=purpose)
    return known if known is not None else await run_db(open_for, route, purpose=purpose)


def store(provider: Provider, key: Secret) -> None:
    """Seal the key and let the row point to it; the caller saves the row in its transaction.

    Always a new secret, never a new value of the old one: a process that still remembers the old
    key knows it by the old id, so it cannot send it to a new address.
    """
    drop(provider)
    sealed = vault.seal(
        organization_id=home_of(provider),
        user_id=provider.owner_id if provider.scope == ProviderScope.USER else None,
        provider=f"provider:{provider.pk}",
        value=key,
    )
    provider.secret_id = sealed
    provider.key_hint = key.last4()


def drop(provider: Provider) -> None:
    """Destroy the key; the caller saves the row in its transaction."""
    if provider.secret_id is not None:
        vault.destroy(secret_id=provider.secret_id)
    provider.secret_id = None
    provider.key_hint = ""


def store_report_key(provider: Provider, key: Secret) -> None:
    """Seal the key that reads usage reports, apart from the one of calls; the caller saves."""
    drop_report_key(provider)
    provider.report_secret_id = vault.seal(
        organization_id=home_of(provider),
        user_id=provider.owner_id if provider.scope == ProviderScope.USER else None,
        provider=f"provider:{provider.pk}:report",
        value=key,
    )


def drop_report_key(provider: Provider) -> None:
    """Destroy the key of usage reports; the caller saves the row in its transaction."""
    if provider.report_secret_id is not None:
        vault.destroy(secret_id=provider.report_secret_id)
    provider.report_secret_id = None


def home_of(provider: Provider) -> UUID:
    """The organization whose data key seals the account's key, and which answers for it."""
    if provider.organization_id is not None:
        return provider.organization_id
    if provider.scope == ProviderScope.USER:
        rows = Organization.objects.filter(personal_user_id=provider.owner_id)
    else:
        rows = Organization.objects.filter(kind=OrganizationKind.PLATFORM)
    return rows.values_list("pk", flat=True).get()
