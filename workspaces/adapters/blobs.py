"""Content by digest in 1 MiB rows, shared inside one organization only."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import Exists, F, OuterRef
from django.db.models.functions import Now

from ideplatform.kit import ids
from workspaces.models import Blob, BlobChunk, FileVersionRow

CHUNK_BYTES: Final = 1024 * 1024
_ROWS_AT_ONCE: Final = 4
_SWEEP_BATCH: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A blob that holds the content, and how many bytes it added to the organization."""

    id: UUID
    added_bytes: int


def digest(content: bytes) -> str:
    """The SHA-256 of the content, hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def put(*, organization_id: UUID, content: bytes, sha256: str) -> Stored:
    """Keep the content in the caller's transaction; present content is only touched.

    Touching locks the blob until the caller commits, so the sweep cannot take it meanwhile.
    """
    known = Blob.objects.filter(organization_id=organization_id, sha256=sha256)
    while True:
        if known.update(touched_at=Now()):
            return Stored(id=known.values_list("pk", flat=True).get(), added_bytes=0)
        blob = Blob(id=ids.new(), organization_id=organization_id, sha256=sha256, size=len(content))
        Blob.objects.bulk_create([blob], ignore_conflicts=True)
        if known.filter(pk=blob.pk).exists():
            _put_chunks(blob, content)
            return Stored(id=blob.pk, added_bytes=len(content))


def content(blob_id: UUID) -> bytes:
    """All of a blob. Bounded by the size of a file, 16 MiB."""
    rows = BlobChunk.objects.filter(blob_id=blob_id).order_by("no")
    return b"".join(bytes(data) for data in rows.values_list("data", flat=True))


def contents(blob_ids: list[UUID]) -> dict[UUID, bytes]:
    """All of several blobs, by one query; the caller bounds their sum."""
    pieces: dict[UUID, list[bytes]] = {blob_id: [] for blob_id in blob_ids}
    rows = BlobChunk.objects.filter(blob_id__in=blob_ids).order_by("blob_id", "no")
    for blob_id, data in rows.values_list("blob_id", "data"):
        pieces[blob_id].append(bytes(data))
    return {blob_id: b"".join(parts) for blob_id, parts in pieces.items()}


def stream(blob_id: UUID, *, size: int) -> Iterator[bytes]:
    """A blob piece by piece, one query each, so that no connection is held between pieces."""
    for no in range(-(-size // CHUNK_BYTES)):
        yield bytes(BlobChunk.objects.values_list("data", flat=True).get(blob_id=blob_id, no=no))


def sweep(*, untouched: timedelta) -> dict[UUID, int]:
    """Delete blobs that no version names and nobody touched lately, one batch.

    Returns the bytes freed by organization; empty when nothing is left to do.
    """
    unused = ~Exists(FileVersionRow.objects.filter(blob=OuterRef("pk")))
    old = Blob.objects.filter(unused, touched_at__lt=Now() - untouched)
    with transaction.atomic():
        locked = old.select_for_update(skip_locked=True, of=("self",))
        return _delete_unused(list(locked[:_SWEEP_BATCH]))


def discard(blob_ids: list[UUID]) -> dict[UUID, int]:
    """Take back blobs just put, unless a version names them or somebody else put them as well.

    Returns the bytes freed by organization.
    """
    own = Blob.objects.filter(pk__in=blob_ids, touched_at=F("created_at"))
    with transaction.atomic():
        return _delete_unused(list(own.select_for_update().order_by("sha256")))


def _delete_unused(locked: list[Blob]) -> dict[UUID, int]:
    """A second statement after the lock sees versions that were committed while it waited."""
    named = FileVersionRow.objects.filter(blob__in=locked)
    used = set(named.values_list("blob_id", flat=True))
    gone = [blob for blob in locked if blob.pk not in used]
    BlobChunk.objects.filter(blob__in=gone).delete()
    Blob.objects.filter(pk__in=[blob.pk for blob in gone]).delete()
    freed: Counter[UUID] = Counter()
    for blob in gone:
        freed[blob.organization_id] += blob.size
    return dict(freed)


def _put_chunks(blob: Blob, content: bytes) -> None:
    starts = range(0, len(content), CHUNK_BYTES)
    rows = (
        BlobChunk(blob=blob, no=no, data=content[start : start + CHUNK_BYTES])
        for no, start in enumerate(starts)
    )
    BlobChunk.objects.bulk_create(rows, batch_size=_ROWS_AT_ONCE)
