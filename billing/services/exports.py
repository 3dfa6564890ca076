"""Long lists of usage, written by a worker for whoever asked, and read once they are whole.

A worker owns a job by lease and fence; one that dies is followed by another, which begins again.
The events are those of one moment, the rights those of the moment at which the worker begins.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import Final
from uuid import UUID

import msgspec
import structlog
from django.db import IntegrityError, connection, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from accounts.models import ApiKey
from accounts.types import Actor, Scope
from billing import selectors, sheets
from billing.errors import ExportNotReady, ExportTooLarge, TooManyExports
from billing.models import Export, ExportChunk
from billing.models.exports import ENDED
from billing.types import ExportState, UsageFilters
from ideplatform.kit import problems
from ideplatform.kit.errors import Conflict, Forbidden, PlatformError
from ideplatform.kit.failpoints import hit
from ideplatform.outbox import facts

log = structlog.get_logger(__name__)

TOPIC: Final = "export.requested"
MOST_ROWS: Final = 5_000_000
MOST_ACTIVE: Final = 5
KEPT: Final = timedelta(days=7)
LEASE: Final = timedelta(seconds=300)
MAX_ATTEMPTS: Final = 3
_PIECE_BYTES: Final = 1024 * 1024
_ROWS: Final = 1_000
_QUERY_S: Final = 600


class LeaseLost(Conflict):
    """Another worker owns the job now."""

    code, title = "export_lease_lost", "The export is written by another worker"


class ExportFailed(Conflict):
    """The export did not end within its attempts."""

    code, title = "export_failed", "The export could not be written"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A job this worker owns until its lease ends."""

    export_id: UUID
    fence: int


def request(*, actor: Actor, filters: UsageFilters) -> Export:
    """Queue an export of the events that the filters mean; the same one asked again is one.

    Raises NotFound for foreign ids, Forbidden, TooManyExports 409.
    """
    selectors.exceeds(actor, filters, 0)  # the ids are judged before anything is written
    plain = {name: value for name, value in msgspec.to_builtins(filters).items() if value}
    digest = hashlib.sha256(msgspec.json.encode([actor.api_key_id, sorted(plain.items())])).digest()
    with transaction.atomic():
        active = Export.objects.filter(user=actor.user_id).exclude(state__in=ENDED)
        known = active.filter(digest=digest).first()
        if known is not None:
            return known
        if active.count() >= MOST_ACTIVE:
            raise TooManyExports
        try:
            with transaction.atomic():
                row = Export.objects.create(
                    user_id=actor.user_id,
                    api_key_id=actor.api_key_id,
                    filters=plain,
                    digest=digest,
                )
        except IntegrityError:  # the same was asked at the same time
            return active.get(digest=digest)
        row.refresh_from_db()
        _queue(row.pk)
        return row


def run(*, export_id: UUID) -> None:
    """Write a queued export. Idempotent: one that is owned or ended is left alone."""
    claim = _claim(export_id)
    if claim is None:
        return
    if claim.fence > MAX_ATTEMPTS:
        _give_up(claim, ExportFailed())
        return
    try:
        _write(claim)
    except LeaseLost:
        log.warning("export.lease_lost", export_id=str(export_id), fence=claim.fence)
    except PlatformError as failed:
        log.info("export.failed", export_id=str(export_id), code=failed.code, fence=claim.fence)
        if failed.retryable:
            _owned(claim).update(lease_until=Now())
        else:
            _give_up(claim, failed)


def resume() -> int:
    """Queue again what lost its worker or its message; how many jobs."""
    lost = Q(state=ExportState.RUNNING, lease_until__lt=Now()) | Q(
        state=ExportState.QUEUED, created_at__lt=Now() - LEASE
    )
    with transaction.atomic():
        jobs = list(Export.objects.filter(lost).values_list("pk", flat=True))
        for export_id in jobs:
            _queue(export_id)
    return len(jobs)


def forget() -> int:
    """Delete what has expired, pieces and all; how many exports."""
    expired = Export.objects.filter(expires_at__lt=Now())
    count = 0
    for export_id in list(expired.values_list("pk", flat=True)[:100]):
        ExportChunk.objects.filter(export=export_id).delete()
        Export.objects.filter(pk=export_id).delete()
        count += 1
    return count


def pieces(export: Export) -> Iterator[bytes]:
    """The bytes of a whole export, read one piece at a time. Raises ExportNotReady 409."""
    if export.state != ExportState.DONE:
        raise ExportNotReady
    return _pieces(export.pk)


def _pieces(export_id: UUID) -> Iterator[bytes]:
    chunks = ExportChunk.objects.filter(export=export_id).order_by("no")
    no = 0
    while True:
        data = chunks.filter(no=no).values_list("data", flat=True).first()
        if data is None:
            return
        yield bytes(data)
        no += 1


def _claim(export_id: UUID) -> Claim | None:
    """Own the job, unless it is ended, gone or owned; counts the attempt."""
    free = Q(state=ExportState.QUEUED) | Q(state=ExportState.RUNNING, lease_until__lt=Now())
    taken = Export.objects.filter(free, pk=export_id).update(
        state=ExportState.RUNNING, fence=F("fence") + 1, lease_until=Now() + LEASE
    )
    if not taken:
        return None
    return Claim(export_id=export_id, fence=Export.objects.get(pk=export_id).fence)


def _write(claim: Claim) -> None:
    row = Export.objects.get(pk=claim.export_id)
    filters = msgspec.convert(row.filters, UsageFilters)
    ExportChunk.objects.filter(export=row).delete()
    spool = _Spool(claim)
    spool.add(sheets.text([sheets.USAGE_COLUMNS]))
    with _patient():
        found = selectors.usage_rows(_actor(row), filters, sheets.USAGE_COLUMNS)
        while rows := list(islice(found, _ROWS)):
            spool.rows += len(rows)
            if spool.rows > MOST_ROWS:
                raise ExportTooLarge(f"An export has at most {MOST_ROWS} events.")
            spool.add(sheets.text(rows))
    spool.close()
    _finish(claim, spool)


@dataclass(slots=True)
class _Spool:
    """Pieces of about 1 MiB on their way to their rows; each one renews the lease."""

    claim: Claim
    rows: int = 0
    size: int = 0
    sha256: hashlib._Hash = field(default_factory=hashlib.sha256)
    _no: int = 0
    _waiting: bytearray = field(default_factory=bytearray)

    def add(self, lines: bytes) -> None:
        self._waiting += lines
        if len(self._waiting) >= _PIECE_BYTES:
            self.close()

    def close(self) -> None:
        """Store what waits."""
        if not self._waiting:
            return
        data = bytes(self._waiting)
        self._waiting.clear()
        with transaction.atomic():
            if not _owned(self.claim).update(lease_until=Now() + LEASE):
                raise LeaseLost
            ExportChunk.objects.create(export_id=self.claim.export_id, no=self._no, data=data)
        self.sha256.update(data)
        self.size += len(data)
        self._no += 1
        hit("export.mid")


def _finish(claim: Claim, spool: _Spool) -> None:
    done = _owned(claim).update(
        state=ExportState.DONE,
        finished_at=Now(),
        expires_at=Now() + KEPT,
        lease_until=None,
        rows=spool.rows,
        size=spool.size,
        sha256=spool.sha256.digest(),
    )
    if not done:
        raise LeaseLost
    log.info("export.written", export_id=str(claim.export_id), rows=spool.rows, bytes=spool.size)


def _give_up(claim: Claim, error: PlatformError) -> None:
    """Mark the job failed with the problem that its owner will see."""
    with transaction.atomic():
        failed = _owned(claim).update(
            state=ExportState.FAILED,
            finished_at=Now(),
            expires_at=Now() + KEPT,
            lease_until=None,
            problem=problems.of(error),
        )
        if failed:
            ExportChunk.objects.filter(export=claim.export_id).delete()


def _actor(row: Export) -> Actor:
    """Who asked, with what their credential may still do. Raises Forbidden for a key that ended."""
    if row.api_key_id is None:
        return Actor(user_id=row.user_id)
    alive = Q(expires_at__isnull=True) | Q(expires_at__gt=Now())
    key = ApiKey.objects.filter(alive, pk=row.api_key_id, revoked_at__isnull=True).first()
    if key is None:
        raise Forbidden("The key that asked for this is no longer in force.")
    return Actor(
        user_id=row.user_id,
        api_key_id=key.pk,
        scopes=frozenset(Scope(scope) for scope in key.scopes),
        key_organization_id=key.organization_id,
        key_workspace_id=key.workspace_id,
    )


@contextmanager
def _patient() -> Iterator[None]:
    """Sorting millions of events outlives the usual limits; nothing is written meanwhile."""
    names = ("statement_timeout", "transaction_timeout")
    with connection.cursor() as cursor:
        for name in names:
            cursor.execute("SELECT set_config(%s, %s, false)", [name, f"{_QUERY_S}s"])
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("RESET statement_timeout")
            cursor.execute("RESET transaction_timeout")


def _queue(export_id: UUID) -> None:
    facts.publish(TOPIC, key=str(export_id), payload={"export_id": str(export_id)})


def _owned(claim: Claim) -> QuerySet[Export]:
    return Export.objects.filter(pk=claim.export_id, fence=claim.fence, state=ExportState.RUNNING)
