"""Silent accounts asked whether they live: a free list of models, at most once a minute each.

Only accounts that were called in the last hour, or whose breaker is open and due, are asked; a
healthy busy account proves itself by its calls.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

import structlog
from django.db.models import Q
from django.db.models.functions import Now

from billing.models import Hold
from ideplatform.kit.db import database_now
from ideplatform.kit.errors import PlatformError
from providers.models import Provider, ProviderHealth
from providers.services import health, keys, models, routing
from providers.types import HealthState

log = structlog.get_logger(__name__)

IDLE: Final = timedelta(seconds=60)
USED_WITHIN: Final = timedelta(hours=1)
MAX_PROBED: Final = 50


def run() -> int:
    """Ask every account that is due; how many were asked."""
    due = _due()
    for provider in due:
        _probe(provider)
    return len(due)


def _due() -> list[Provider]:
    called = Hold.objects.filter(dispatched_at__gte=Now() - USED_WITHIN)
    lately = called.filter(dispatched_at__gte=Now() - IDLE).values("provider_id")
    judged = ProviderHealth.objects.filter(checked_at__gte=Now() - IDLE).values("provider_id")
    sick = ProviderHealth.objects.filter(state=HealthState.OPEN, until__lte=Now())
    rows = Provider.objects.filter(
        Q(pk__in=called.values("provider_id")) | Q(pk__in=sick.values("provider_id")),
        is_enabled=True,
        deleted_at__isnull=True,
    )
    silent = rows.exclude(pk__in=lately).exclude(pk__in=judged)
    known = (HealthState.KEY_INVALID, HealthState.COOLING_DOWN)  # a list of models proves neither
    return list(silent.exclude(health__state__in=known).order_by("pk")[:MAX_PROBED])


def _probe(provider: Provider) -> None:
    """One list of models; its failure opens the breaker of the models that were already sick."""
    at = database_now()
    route = routing.route_to(provider, health.KEY)
    try:
        asyncio.run(models.listed(route, keys.open_for(route, purpose="provider_probe")))
    except PlatformError as error:
        health.save(health.probed(provider, error, at=at))
        log.info("provider.probe_failed", provider_id=str(provider.pk), code=error.code)
    else:
        health.save(health.probed(provider, None, at=at))
