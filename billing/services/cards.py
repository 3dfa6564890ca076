"""Provider cards: what billing remembers of a provider account."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from billing.models import ProviderCard
from billing.types import BillingMode


def write(
    *,
    provider_id: UUID,
    organization_id: UUID,
    owner_id: UUID | None,
    provider_type: str,
    name: str,
    billing_mode: BillingMode,
    workspace_id: UUID | None = None,
    external_account_ref: str = "",
    deleted_at: datetime | None = None,
) -> None:
    """Create or replace a provider's card, in the transaction that changed the provider.

    `deleted_at` marks a deleted provider; its card stays, because usage refers to it.
    """
    facts = {
        "organization_id": organization_id,
        "workspace_id": workspace_id,
        "owner_id": owner_id,
        "provider_type": provider_type,
        "name": name,
        "billing_mode": billing_mode,
        "external_account_ref": external_account_ref,
        "deleted_at": deleted_at,
    }
    ProviderCard.objects.bulk_create(
        [ProviderCard(provider_id=provider_id, **facts)],
        update_conflicts=True,
        unique_fields=["provider_id"],
        update_fields=[*facts, "updated_at"],
    )
