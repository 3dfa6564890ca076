"""Prices in force at a moment, and the markup that an organization pays beside them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

from django.db.models import Q

from accounts.selectors import personal_organization_id
from accounts.services import access
from accounts.types import Actor, Permission
from billing.models import MarkupRule, Price
from ideplatform.kit import paging
from ideplatform.kit.paging import Page


def prices_page(
    actor: Actor,
    *,
    at: datetime,
    provider_type: str = "",
    cursor: str = "",
    limit: int = paging.DEFAULT_LIMIT,
) -> Page[Price]:
    """The published prices in force at a moment, by vendor and model."""
    access.authorise_listing(actor, Permission.BILLING_VIEW)
    rows = Price.objects.filter(is_published=True, effective__contains=at)
    if provider_type:
        rows = rows.filter(provider_type=provider_type)
    return paging.page(
        rows.select_related("version"),
        order=("provider_type", "pattern", "id"),
        scope=f"prices:{provider_type}:{at.isoformat()}",
        cursor=cursor,
        limit=limit,
    )


def prices_named(actor: Actor, price_ids: Iterable[UUID]) -> list[Price]:
    """Some published prices, by vendor, tier, region and class."""
    access.authorise_listing(actor, Permission.BILLING_VIEW)
    found = Price.objects.filter(is_published=True, pk__in=list(price_ids))
    return list(
        found.select_related("version").order_by(
            "provider_type", "service_tier", "region", "unit_class", "context_over_tokens", "pk"
        )
    )


def markups_of(
    actor: Actor, *, at: datetime, organization_id: UUID | None = None
) -> list[MarkupRule]:
    """The markup rules that may apply to an organization's calls at a moment.

    Without one named, to the actor's own; a key of one workspace sees those of everybody.
    Raises NotFound, Forbidden.
    """
    access.authorise_listing(actor, Permission.BILLING_VIEW)
    fits = Q(customer__isnull=True)
    if organization_id is not None or actor.key_workspace_id is None:
        chosen = organization_id or actor.key_organization_id or personal_organization_id(actor)
        access.authorise(actor, Permission.BILLING_VIEW, chosen)
        fits |= Q(customer=chosen)
    return list(
        MarkupRule.objects.filter(fits, effective__contains=at).order_by("-priority", "kind", "pk")
    )
