"""The models that an account offers: known from the catalogue, named by hand, or discovered."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import structlog
from django.db import transaction

from accounts.types import Actor
from ideplatform.kit import egress, throttle
from ideplatform.kit.crypto import Secret
from ideplatform.kit.egress import Timeouts
from providers import adapters
from providers.adapters import Route
from providers.models import CatalogueModel, Provider, ProviderModel
from providers.services import access, changes, keys, routing
from providers.types import ModelInfo, ModelSource

log = structlog.get_logger(__name__)

MAX_MODELS: Final = 2_000
MAX_ID: Final = 200
LIST_TIMEOUTS: Final = Timeouts(connect_s=2, first_byte_s=10, idle_s=10, total_s=10)


def offer(provider: Provider, named: Sequence[str]) -> None:
    """The first models of an account: those named by hand, and at a vendor's own address all
    that the catalogue knows of it."""
    rows = dict.fromkeys(named, ModelSource.MANUAL)
    if "base_url" not in provider.config:
        known = CatalogueModel.objects.filter(provider_type=provider.type, is_simulated=False)
        for name in known.values_list("model_id", flat=True):
            rows.setdefault(name, ModelSource.CATALOGUE)
    ProviderModel.objects.bulk_create(
        [
            ProviderModel(provider=provider, model_id=name, source=source)
            for name, source in rows.items()
        ],
        ignore_conflicts=True,
    )


def refresh(*, actor: Actor, provider_id: UUID) -> list[ProviderModel]:
    """Ask the vendor which models the account has, and keep its answer.

    Raises NotFound, Forbidden, TooManyRequests, and the errors of calls.
    """
    provider = access.manage(actor, provider_id)
    throttle.take(throttle.of_user(throttle.PROVIDER_TEST, actor.user_id))
    route = routing.route_to(provider, "")
    key = keys.open_for(route, purpose="provider_models")
    found = asyncio.run(listed(route, key))
    keep(provider, found)
    return list(provider.models.order_by("model_id"))


async def listed(route: Route, key: Secret | None) -> list[ModelInfo]:
    """The vendor's list, cut to what we keep; in a loop of its own."""
    try:
        adapter = adapters.of(route.provider_type)
        found = await adapter.list_models(route, key, LIST_TIMEOUTS)
    finally:
        await egress.aclose_all()
    usable = [info for info in found if 0 < len(info.id) <= MAX_ID and info.id.isprintable()]
    return usable[:MAX_MODELS]


@transaction.atomic
def keep(provider: Provider, found: Sequence[ModelInfo]) -> None:
    """Write discovered models; those the vendor no longer lists go, unless named by hand."""
    rows = {info.id: info for info in found}
    ProviderModel.objects.bulk_create(
        [
            ProviderModel(
                provider=provider,
                model_id=info.id,
                display_name=info.display_name[:200],
                source=ModelSource.DISCOVERED,
                context_tokens=_limit(info.context_tokens),
                max_output_tokens=_limit(info.max_output_tokens),
            )
            for info in rows.values()
        ],
        update_conflicts=True,
        unique_fields=["provider", "model_id"],
        update_fields=["display_name", "context_tokens", "max_output_tokens"],
    )
    gone = provider.models.exclude(source=ModelSource.MANUAL).exclude(model_id__in=rows)
    gone.delete()
    changes.of_home(provider)
    log.info("provider_models.refreshed", provider_id=str(provider.pk), count=len(rows))


def _limit(tokens: int | None) -> int | None:
    """A vendor's figure, unless it is nonsense."""
    return tokens if tokens is not None and 0 < tokens < 1_000_000_000 else None
