"""The life of an import: received, run by one worker at a time, done or failed.

The archive waits in rows of its job. A worker owns the job by lease and fence; one that dies is
followed by another, and only the newest owner can finish.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db import IntegrityError, transaction
from django.db.models import F, Q, QuerySet
from django.db.models.functions import Now

from accounts.types import Actor, Permission
from ideplatform.kit import problems
from ideplatform.kit.db import allow_long_transaction
from ideplatform.kit.errors import Conflict, PlatformError, TooLarge
from ideplatform.outbox import facts
from workspaces import paths
from workspaces.adapters.blobs import CHUNK_BYTES
from workspaces.errors import ArchiveRefused, ImportActive
from workspaces.models import ImportChunk, ImportJob
from workspaces.services import access, storage
from workspaces.types import ImportState

MAX_ARCHIVE_BYTES: Final = 100 * 1024 * 1024
LEASE: Final = timedelta(seconds=120)
MAX_ATTEMPTS: Final = 3
_RECEIVE_S: Final = 60
_ACTIVE: Final = (ImportState.QUEUED, ImportState.RUNNING)
_ONE_ACTIVE: Final = "file_imports_one_active"


class LeaseLost(Conflict):
    """Another worker owns the job now: whatever this one did is rolled back."""

    code, title = "import_lease_lost", "The import is run by another worker"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A job this worker owns until its lease ends."""

    job_id: UUID
    fence: int
    workspace_id: UUID
    user_id: UUID
    directory: str


def receive(
    *, actor: Actor, workspace_id: UUID, directory: str, pieces: Iterable[bytes]
) -> ImportJob:
    """Keep the archive and queue its import under `directory` ("" is the root).

    Units: bytes, at most 100 MiB. Raises NotFound, Forbidden, InvalidPath, ImportActive 409,
    TooLarge 413, ArchiveRefused for an empty body, StorageFull.
    """
    access.workspace(actor, workspace_id, Permission.FILE_WRITE)
    place = paths.parse_directory(directory)
    with storage.writing():
        allow_long_transaction(seconds=_RECEIVE_S)
        job = _open(workspace_id, actor.user_id, place.path if place else "")
        job.archive_bytes = _keep(job, pieces)
        job.save(update_fields=["archive_bytes"])
        _queue(job.pk)
        return job


def claim(job_id: UUID) -> Claim | None:
    """Own the job, unless it is finished, gone or owned; counts the attempt."""
    free = Q(state=ImportState.QUEUED) | Q(state=ImportState.RUNNING, lease_until__lt=Now())
    taken = ImportJob.objects.filter(free, pk=job_id).update(
        state=ImportState.RUNNING, fence=F("fence") + 1, lease_until=Now() + LEASE
    )
    if not taken:
        return None
    job = ImportJob.objects.get(pk=job_id)
    return Claim(
        job_id=job.pk,
        fence=job.fence,
        workspace_id=job.workspace_id,
        user_id=job.user_id,
        directory=job.directory,
    )


def renew(owned: Claim) -> None:
    """Extend the lease; raises LeaseLost when another worker took the job."""
    if not _owned(owned).update(lease_until=Now() + LEASE):
        raise LeaseLost


def archive(owned: Claim) -> bytes:
    """The archive's bytes."""
    rows = ImportChunk.objects.filter(job_id=owned.job_id).order_by("no")
    return b"".join(bytes(data) for data in rows.values_list("data", flat=True))


def finish(owned: Claim, *, written: int, unchanged: int) -> None:
    """Mark the job done, in the transaction that wrote its files; raises LeaseLost."""
    done = _owned(owned).update(
        state=ImportState.DONE,
        finished_at=Now(),
        lease_until=None,
        files_written=written,
        files_unchanged=unchanged,
    )
    if not done:
        raise LeaseLost
    ImportChunk.objects.filter(job_id=owned.job_id).delete()


def give_up(owned: Claim, error: PlatformError) -> None:
    """Mark the job failed with the problem that its owner will see."""
    with transaction.atomic():
        failed = _owned(owned).update(
            state=ImportState.FAILED,
            finished_at=Now(),
            lease_until=None,
            problem=problems.of(error),
        )
        if failed:
            ImportChunk.objects.filter(job_id=owned.job_id).delete()


def release(owned: Claim) -> None:
    """Let another attempt follow soon: the sweep queues the job again."""
    _owned(owned).update(lease_until=Now())


def resume() -> int:
    """Queue again what lost its worker or its message; returns how many jobs."""
    lost = Q(state=ImportState.RUNNING, lease_until__lt=Now()) | Q(
        state=ImportState.QUEUED, created_at__lt=Now() - LEASE
    )
    with transaction.atomic():
        jobs = list(ImportJob.objects.filter(lost).values_list("pk", flat=True))
        for job_id in jobs:
            _queue(job_id)
    return len(jobs)


def _open(workspace_id: UUID, user_id: UUID, directory: str) -> ImportJob:
    try:
        with transaction.atomic():
            return ImportJob.objects.create(
                workspace_id=workspace_id, user_id=user_id, directory=directory
            )
    except IntegrityError as taken:
        if storage.violated(taken) == _ONE_ACTIVE:
            raise ImportActive from None
        raise


def _keep(job: ImportJob, pieces: Iterable[bytes]) -> int:
    total = 0
    for no, piece in enumerate(_rechunked(pieces)):
        total += len(piece)
        if total > MAX_ARCHIVE_BYTES:
            raise TooLarge(f"an archive has at most {MAX_ARCHIVE_BYTES} bytes")
        ImportChunk.objects.create(job=job, no=no, data=piece)
    if not total:
        raise ArchiveRefused("the body is the archive, and it is empty")
    return total


def _rechunked(pieces: Iterable[bytes]) -> Iterator[bytes]:
    waiting = bytearray()
    for piece in pieces:
        waiting += piece
        while len(waiting) >= CHUNK_BYTES:
            yield bytes(waiting[:CHUNK_BYTES])
            del waiting[:CHUNK_BYTES]
    if waiting:
        yield bytes(waiting)


def _queue(job_id: UUID) -> None:
    facts.publish("import.requested", key=str(job_id), payload={"job_id": str(job_id)})


def _owned(owned: Claim) -> QuerySet[ImportJob]:
    return ImportJob.objects.filter(pk=owned.job_id, fence=owned.fence, state=ImportState.RUNNING)
