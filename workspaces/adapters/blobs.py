"""Content by digest in 1 MiB rows, shared inside one organization only."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
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
_STATEMENT_BYTES: Final = 4 * CHUNK_BYTES
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
    """Keep one content; see `put_many`."""
    return put_many(organization_id=organization_id, contents={sha256: content})[sha256]


def put_many(*, organization_id: UUID, contents: Mapping[str, bytes]) -> dict[str, Stored]:
    """Keep contents by digest in the caller's transaction; present ones are only touched.

    Touching locks a blob until the caller commits, so the sweep cannot take it meanwhile. Locks
    are taken in the order of the digests: two callers that meet cannot deadlock.
    """
    stored: dict[str, Stored] = {}
    while missing := sorted(contents.keys() - stored.keys()):
        stored |= _touched(organization_id, missing)
        new = [
            Blob(id=ids.new(), organization_id=organization_id, sha256=sha256, size=len(content))
            for sha256 in missing
            if sha256 not in stored
            for content in [contents[sha256]]
        ]
        stored |= _added(new, contents)
    return stored


def _touched(organization_id: UUID, digests: list[str]) -> dict[str, Stored]:
    known = Blob.objects.filter(organization_id=organization_id, sha256__in=digests)
    locked = dict(known.order_by("sha256").select_for_update().values_list("pk", "sha256"))
    Blob.objects.filter(pk__in=locked).update(touched_at=Now())
    return {sha256: Stored(id=pk, added_bytes=0) for pk, sha256 in locked.items()}


def _added(new: list[Blob], contents: Mapping[str, bytes]) -> dict[str, Stored]:
    """Insert what nobody else has inserted meanwhile; theirs are left for another look."""
    Blob.objects.bulk_create(new, ignore_conflicts=True)
    ours = set(Blob.objects.filter(pk__in=[b.pk for b in new]).values_list("pk", flat=True))
    inserted = [blob for blob in new if blob.pk in ours]
    for rows in _chunk_batches(inserted, contents):
        BlobChunk.objects.bulk_create(rows)
    return {blob.sha256: Stored(id=blob.pk, added_bytes=blob.size) for blob in inserted}


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


def _chunk_batches(blobs: list[Blob], contents: Mapping[str, bytes]) -> Iterator[list[BlobChunk]]:
    """The blobs' rows, some megabytes to a statement."""
    batch: list[BlobChunk] = []
    size = 0
    for blob in blobs:
        for start in range(0, blob.size, CHUNK_BYTES):
            data = contents[blob.sha256][start : start + CHUNK_BYTES]
            batch.append(BlobChunk(blob=blob, no=start // CHUNK_BYTES, data=data))
            size += len(data)
            if size >= _STATEMENT_BYTES:
                yield batch
                batch, size = [], 0
    if batch:
        yield batch
