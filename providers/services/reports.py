"""Vendors' reports fetched for comparisons that were asked for, and the daily ones."""

from __future__ import annotations

import asyncio
from datetime import UTC, date, timedelta
from typing import Final
from uuid import UUID

import structlog

from accounts.services import vault
from billing.errors import NoReport
from billing.models import ReconRun
from billing.services import reconcile
from billing.services.reconcile import Asking
from ideplatform.kit import egress
from ideplatform.kit.crypto import Secret
from ideplatform.kit.db import database_now
from ideplatform.kit.errors import NotFound, PlatformError
from providers.adapters import Route, reports
from providers.adapters.reports import Page
from providers.errors import ReportKeyMissing
from providers.models import Provider
from providers.services import routing
from providers.types import ProviderType

log = structlog.get_logger(__name__)

RETRY_S: Final = 60
# Days back of today: yesterday and the day before; Google's export still grows for five days.
_DAYS: Final = {ProviderType.GOOGLE: 6}
_USUAL_DAYS: Final = 2


def fetch(run_id: UUID) -> bool:
    """Bring the report that a waiting run is about; whether this process did.

    What fails ends as the run's error; what may succeed later is asked for again.
    """
    run = reconcile.start(run_id=run_id)
    if run is None:
        return False
    try:
        provider, key = _account(run)
        route = routing.route_to(provider, "")
        pages = asyncio.run(_fetched(route, key, run.starts_on, run.ends_on))
        reconcile.complete(run_id=run_id, pages=pages)
    except PlatformError as failed:
        wait_s = failed.retry_after_s or RETRY_S if failed.retryable else None
        reconcile.fail(run_id=run_id, code=failed.code, retry_after_s=wait_s)
    return True


def resume() -> int:
    """Go on with runs whose time has come; how many there were."""
    return sum(fetch(run_id) for run_id in reconcile.due())


def schedule() -> int:
    """Ask for the comparisons of the latest days, once a day for each account; how many are new."""
    today = database_now().astimezone(UTC).date()
    rows = Provider.objects.filter(deleted_at__isnull=True, report_secret__isnull=False)
    return sum(_scheduled(provider, today) for provider in rows.order_by("pk"))


def _scheduled(provider: Provider, today: date) -> int:
    new = 0
    for back in range(1, _DAYS.get(ProviderType(provider.type), _USUAL_DAYS) + 1):
        day = today - timedelta(days=back)
        asking = Asking(
            provider_id=provider.pk,
            starts_on=day,
            ends_on=day + timedelta(days=1),
            request_key=f"daily:{today}:{day}",
        )
        try:
            new += sum(one.is_new for one in reconcile.request(asking=asking, actor=None))
        except NoReport:
            log.warning("report.not_published", provider_id=str(provider.pk))
    return new


def _account(run: ReconRun) -> tuple[Provider, Secret]:
    """The account of a run, and the key that reads its reports; raises ReportKeyMissing."""
    provider = Provider.objects.filter(pk=run.provider_id, deleted_at__isnull=True).first()
    secret_id = None if provider is None else provider.report_secret_id
    if provider is None or secret_id is None:
        raise ReportKeyMissing
    try:
        return provider, vault.open_for_call(secret_id=secret_id, purpose="provider_report")
    except NotFound:  # removed at this very moment
        raise ReportKeyMissing from None


async def _fetched(route: Route, key: Secret, starts_on: date, ends_on: date) -> list[Page]:
    try:
        return await reports.fetch(route, key, starts_on, ends_on)
    finally:
        await egress.aclose_all()
