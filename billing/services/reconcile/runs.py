"""Comparisons that are asked for, and the reports that come for them.

A run waits until its report is here whole: pages enter in the transaction that compares them, so
half a report is no report. Units: UTC days, `[starts_on, ends_on)`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, timedelta
from typing import Final
from uuid import UUID

import msgspec
import structlog
from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from accounts.services import audit
from accounts.types import Actor
from billing import vendor_reports
from billing.errors import NoReport, ReportMalformed
from billing.models import ProviderCard, ProviderReportPage, ReconRun
from billing.models.reconciliation import WAITING
from billing.selectors import reconciliation as reach
from billing.services.reconcile import compared
from billing.types import BillingMode, Granularity, ReconSource, ReconState, ReportKind
from billing.vendor_reports import Malformed, Report
from ideplatform.kit import ids
from ideplatform.kit.db import allow_long_transaction, database_now
from ideplatform.kit.errors import IdempotencyKeyReused
from ideplatform.kit.serializers import wrong
from ideplatform.outbox import facts

log = structlog.get_logger(__name__)

TOPIC: Final = "reconcile.requested"
MOST_DAYS: Final = 31
MOST_ATTEMPTS: Final = 8
LEASE: Final = timedelta(minutes=15)
LONGEST_WAIT_S: Final = 6 * 3_600
_LONGEST_S: Final = 300
Page = tuple[ReportKind, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asking:
    """What to compare. `provider_id` None is every account of the platform; pages are an upload's.

    `request_key` makes a repeated request the same one.
    """

    provider_id: UUID | None
    starts_on: date
    ends_on: date
    source: ReconSource = ReconSource.API
    granularity: Granularity = Granularity.DAY
    is_dry_run: bool = False
    pages: tuple[Page, ...] = ()
    request_key: str | None = None

    @property
    def digest(self) -> bytes:
        return hashlib.sha256(msgspec.json.encode(self)).digest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A run; not new when the same request, or the same report, was here before."""

    run: ReconRun
    is_new: bool


def request(*, asking: Asking, actor: Actor | None) -> list[Asked]:
    """Ask for comparisons; nobody asks for the daily ones. An uploaded report is compared at once.

    Raises NotFound, Forbidden, InvalidInput, IdempotencyKeyReused, NoReport for an account whose
    vendor publishes none, ReportMalformed.
    """
    _check(asking)
    cards = _cards(asking, actor)
    return [_request_one(asking, actor, card) for card in cards]


@transaction.atomic
def _request_one(asking: Asking, actor: Actor | None, card: ProviderCard) -> Asked:
    compared.lock_account(card.provider_id)
    known = _known(asking, actor, card)
    if known is not None:
        return Asked(run=known, is_new=False)
    run = ReconRun.objects.create(
        provider_id=card.provider_id,
        provider_type=card.provider_type,
        billing_mode=card.billing_mode,
        organization_id=card.organization_id,
        account_ref=card.external_account_ref,
        starts_on=asking.starts_on,
        ends_on=asking.ends_on,
        granularity=asking.granularity,
        source=asking.source,
        is_dry_run=asking.is_dry_run,
        requested_by_id=actor.user_id if actor else None,
        request_key=asking.request_key,
        request_hash=asking.digest,
    )
    audit.record(
        action="reconciliation.requested",
        actor=actor,
        organization_id=card.organization_id,
        target=run.pk,
        details={"source": asking.source.value, "kind": card.provider_type},
    )
    if asking.source is ReconSource.UPLOAD:
        complete(run_id=run.pk, pages=asking.pages)
        run.refresh_from_db()
        earlier = run.repeats
        return Asked(run=earlier or run, is_new=earlier is None)
    facts.publish(TOPIC, key=str(run.pk), payload={"run_id": str(run.pk)})
    return Asked(run=run, is_new=True)


def start(*, run_id: UUID) -> ReconRun | None:
    """Take a waiting run whose time has come, for 15 minutes; None when there is nothing to do."""
    rows = ReconRun.objects.filter(pk=run_id, state__in=WAITING, next_at__lte=Now())
    taken = rows.update(
        state=ReconState.FETCHING, attempts=F("attempts") + 1, next_at=Now() + LEASE
    )
    return ReconRun.objects.get(pk=run_id) if taken else None


def due() -> list[UUID]:
    """Waiting runs whose time has come: their fact was lost, their fetcher died, or they retry."""
    rows = ReconRun.objects.filter(state__in=WAITING, next_at__lte=Now())
    return list(rows.order_by("next_at").values_list("pk", flat=True)[:100])


@transaction.atomic
def complete(*, run_id: UUID, pages: Sequence[Page]) -> ReconRun:
    """Take a run's whole report in and compare it; one that was here before repeats that run.

    Raises ReportMalformed; then nothing of the report was kept.
    """
    allow_long_transaction(seconds=_LONGEST_S)
    run = compared.locked(run_id)
    if run.state not in WAITING:
        return run
    digest = _digest(_read(run, pages))
    earlier = _earlier(run, digest)
    if earlier is not None:
        compared.compare_run(earlier.pk)
        _set(run, state=ReconState.REPEATED, repeats=earlier)
        return run
    page_ids = [ingest_page(run_id=run_id, kind=kind, raw=raw) for kind, raw in pages]
    _set(run, report_digest=digest, page_ids=page_ids)
    compared.compare_run(run.pk)
    return run


def ingest_page(*, run_id: UUID, kind: ReportKind, raw: bytes) -> UUID:
    """Keep a page as it came, once per account; its id."""
    provider_id = ReconRun.objects.values_list("provider_id", flat=True).get(pk=run_id)
    sha256 = hashlib.sha256(provider_id.bytes + kind.value.encode() + b"\0" + raw).digest()
    page = ProviderReportPage(
        id=ids.new(), provider_id=provider_id, kind=kind, raw=raw, sha256=sha256
    )
    ProviderReportPage.objects.bulk_create([page], ignore_conflicts=True)
    kept: UUID = ProviderReportPage.objects.values_list("pk", flat=True).get(sha256=sha256)
    return kept


@transaction.atomic
def fail(*, run_id: UUID, code: str, retry_after_s: int | None) -> None:
    """A report could not be had; with `retry_after_s` it is asked for again, eight times."""
    run = ReconRun.objects.select_for_update().get(pk=run_id)
    if run.state not in WAITING:
        return
    if retry_after_s is None or run.attempts >= MOST_ATTEMPTS:
        _set(run, state=ReconState.FAILED, error=code)
        log.warning("report.failed", run_id=str(run_id), code=code, attempts=run.attempts)
        return
    wait_s = min(max(retry_after_s, 30 * 2**run.attempts), LONGEST_WAIT_S)
    next_at = database_now() + timedelta(seconds=wait_s)
    _set(run, state=ReconState.QUEUED, error=code, next_at=next_at)
    log.info("report.postponed", run_id=str(run_id), code=code, wait_s=wait_s)


def _check(asking: Asking) -> None:
    today = database_now().astimezone(UTC).date()
    if not asking.starts_on < asking.ends_on <= asking.starts_on + timedelta(days=MOST_DAYS):
        raise wrong("/to", f"after `from`, by at most {MOST_DAYS} days")
    if asking.ends_on > today + timedelta(days=1):
        raise wrong("/to", "no report tells of days that have not begun")
    if (asking.source is ReconSource.UPLOAD) != bool(asking.pages):
        raise wrong("/pages", "an upload brings the pages of the report, and nothing else does")
    if asking.source is ReconSource.UPLOAD and asking.provider_id is None:
        raise wrong("/provider_id", "a report is of one account")


def _cards(asking: Asking, actor: Actor | None) -> list[ProviderCard]:
    """The accounts that are meant, when the actor may compare them."""
    if asking.provider_id is None:
        reach.require_operator(actor)
        rows = ProviderCard.objects.filter(
            billing_mode=BillingMode.PLATFORM, deleted_at__isnull=True
        )
        cards = [row for row in rows.order_by("pk") if _reports(row)]
    else:
        found = reach.card(actor, asking.provider_id)
        cards = [found] if _reports(found) else []
    if not cards:
        raise NoReport
    kinds = {kind for kind, _ in asking.pages}
    if kinds - set(_reports(cards[0])):
        raise wrong("/pages", "not the reports of this account's vendor")
    return cards


def _reports(card: ProviderCard) -> tuple[ReportKind, ...]:
    return vendor_reports.kinds_of(card.provider_type)


def _known(asking: Asking, actor: Actor | None, card: ProviderCard) -> ReconRun | None:
    """The run that the same request began."""
    if asking.request_key is None:
        return None
    known = ReconRun.objects.filter(
        provider_id=card.provider_id,
        requested_by_id=actor.user_id if actor else None,
        request_key=asking.request_key,
    ).first()
    if known is not None and bytes(known.request_hash or b"") != asking.digest:
        raise IdempotencyKeyReused
    return None if known is None else known.repeats or known


def _read(run: ReconRun, pages: Sequence[Page]) -> Report:
    try:
        report = vendor_reports.read(pages)
    except Malformed:
        raise ReportMalformed from None
    return report.within(run.starts_on, run.ends_on)


def _digest(report: Report) -> bytes:
    """What a report says, however it was cut into pages."""
    said: Mapping[str, list[bytes]] = {
        "usages": sorted(msgspec.json.encode(one) for one in report.usages),
        "charges": sorted(msgspec.json.encode(one) for one in report.charges),
    }
    return hashlib.sha256(msgspec.json.encode(said)).digest()


def _earlier(run: ReconRun, digest: bytes) -> ReconRun | None:
    return ReconRun.objects.filter(
        provider_id=run.provider_id,
        starts_on=run.starts_on,
        ends_on=run.ends_on,
        granularity=run.granularity,
        report_digest=digest,
        is_dry_run=False,
        state=ReconState.DONE,
    ).first()


def _set(run: ReconRun, **values: object) -> None:
    for name, value in values.items():
        setattr(run, name, value)
    run.save(update_fields=list(values))
