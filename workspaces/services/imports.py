"""Running an import: the archive is read in children, and its files appear all at once or never.

Contents are stored first, batch by batch, as blobs that no version names yet; one transaction at
the end makes nodes, versions and facts. A refusal before it leaves nothing behind.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import msgspec
import structlog

from accounts.types import Actor, Permission
from ideplatform.kit import children
from ideplatform.kit.children import ChildFailed
from ideplatform.kit.errors import PlatformError
from ideplatform.kit.failpoints import hit
from workspaces import paths, texts
from workspaces.adapters import blobs
from workspaces.adapters.blobs import Stored
from workspaces.children.unzipping import Contents, Entry, Manifest, Packed
from workspaces.errors import ArchiveRefused, InvalidPath, PathCollision
from workspaces.paths import Place
from workspaces.services import access, import_jobs, imported, pruning, quotas, storage
from workspaces.services.import_jobs import Claim
from workspaces.services.imported import Staged
from workspaces.types import WorkspaceRef

log = structlog.get_logger(__name__)

MIB: Final = 1024 * 1024
_BATCH_BYTES: Final = 16 * MIB
_BATCH_FILES: Final = 500
_SHOWN: Final = 200
_INSPECT: Final = "workspaces.children.unzipping:inspect"
_INFLATE: Final = "workspaces.children.unzipping:inflate"


@dataclass(slots=True)
class _Staging:
    """What was stored so far; the blobs that are new are taken back when the import fails."""

    files: list[Staged] = field(default_factory=list)
    new_blobs: list[UUID] = field(default_factory=list)


def run(*, job_id: UUID) -> None:
    """Import a queued job's archive. Idempotent: a job that is owned or finished is left alone.

    Expected failures end in the job's `problem`; retryable ones are tried again, three times.
    """
    claim = import_jobs.claim(job_id)
    if claim is None:
        return
    if claim.fence > import_jobs.MAX_ATTEMPTS:
        import_jobs.give_up(claim, ArchiveRefused("the import did not end within its attempts"))
        return
    try:
        _import(claim)
    except import_jobs.LeaseLost:
        log.warning("import.lease_lost", job_id=str(job_id), fence=claim.fence)
    except PlatformError as failed:
        log.info("import.failed", job_id=str(job_id), code=failed.code, fence=claim.fence)
        if failed.retryable:
            import_jobs.release(claim)
        else:
            import_jobs.give_up(claim, failed)


def _import(claim: Claim) -> None:
    actor = Actor(user_id=claim.user_id)
    ref = access.workspace(actor, claim.workspace_id, Permission.FILE_WRITE)
    archive = import_jobs.archive(claim)
    plan = _planned(_entries(archive), claim.directory)
    staging = _Staging()
    try:
        for batch in _batches(plan.files):
            _stage(ref, archive, batch, staging)
            import_jobs.renew(claim)
            hit("import.mid")
        imported.commit(ref=ref, claim=claim, files=staging.files, directories=plan.directories)
    except import_jobs.LeaseLost:
        raise  # the new owner may count on what is stored; the sweep takes what nobody names
    except BaseException:
        pruning.discard(staging.new_blobs)
        raise


@dataclass(frozen=True, slots=True)
class _Plan:
    files: list[tuple[Place, Entry]]
    directories: list[Place]


def _entries(archive: bytes) -> list[Entry]:
    try:
        output = children.run(
            _INSPECT, archive, memory_mb=512, cpu_s=20, wall_s=60, max_output_bytes=64 * MIB
        )
    except ChildFailed:
        raise ArchiveRefused("the archive could not be read within its limits") from None
    manifest = msgspec.msgpack.decode(output, type=Manifest)
    if manifest.refusal:
        raise ArchiveRefused(manifest.refusal, entry=_shown(manifest.culprit))
    return manifest.entries


def _planned(entries: list[Entry], directory: str) -> _Plan:
    """The entries as places: no two the same, and no file above another entry."""
    head = directory + "/" if directory else ""
    places = [(_place(head, entry), entry) for entry in entries]
    files: dict[str, tuple[Place, Entry]] = {}
    directories: dict[str, Place] = {}
    for place, entry in places:
        wanted = [*place.ancestors(), place] if entry.is_directory else place.ancestors()
        for above in wanted:
            _add(directories, above)
        if not entry.is_directory:
            if place.folded in files:
                raise PathCollision("two entries have this path", path=place.path)
            files[place.folded] = (place, entry)
    for folded, (place, _) in files.items():
        if folded in directories:
            raise PathCollision("an entry is a file and a directory", path=place.path)
    return _Plan(list(files.values()), list(directories.values()))


def _place(head: str, entry: Entry) -> Place:
    try:
        return paths.parse(head + entry.name, pointer="/archive")
    except InvalidPath as refused:
        raise InvalidPath(refused.detail, errors=refused.errors, entry=_shown(entry.name)) from None


def _shown(name: str) -> str:
    """A hostile name as a problem may carry it: JSON of PostgreSQL holds no NUL."""
    return "".join(c if c.isprintable() else "\ufffd" for c in name[:_SHOWN])


def _add(directories: dict[str, Place], place: Place) -> None:
    known = directories.setdefault(place.folded, place)
    if known.path != place.path:
        raise PathCollision("two entries spell a directory differently", path=place.path)


def _batches(files: list[tuple[Place, Entry]]) -> Iterator[list[tuple[Place, Entry]]]:
    batch: list[tuple[Place, Entry]] = []
    size = 0
    for place, entry in files:
        if batch and (size + entry.size > _BATCH_BYTES or len(batch) == _BATCH_FILES):
            yield batch
            batch, size = [], 0
        batch.append((place, entry))
        size += entry.size
    if batch:
        yield batch


def _stage(
    ref: WorkspaceRef, archive: bytes, batch: list[tuple[Place, Entry]], staging: _Staging
) -> None:
    """Store a batch's contents in one transaction."""
    contents = _inflated(archive, batch)
    by_digest = {blobs.digest(content): content for content in contents}
    with storage.writing():
        stored = blobs.put_many(organization_id=ref.organization_id, contents=by_digest)
        added = sum(new.added_bytes for new in stored.values())
        quotas.charge_organization(organization_id=ref.organization_id, size=added)
    staging.new_blobs += [new.id for new in stored.values() if new.added_bytes]
    staging.files += [
        _staged(place, content, stored) for (place, _), content in zip(batch, contents, strict=True)
    ]


def _staged(place: Place, content: bytes, stored: Mapping[str, Stored]) -> Staged:
    sha256 = blobs.digest(content)
    return Staged(
        place=place,
        sha256=sha256,
        size=len(content),
        profile=texts.profile(content),
        blob_id=stored[sha256].id,
    )


def _inflated(archive: bytes, batch: list[tuple[Place, Entry]]) -> list[bytes]:
    packed = [
        Packed(
            data=archive[entry.start : entry.start + entry.packed],
            is_deflated=entry.is_deflated,
            size=entry.size,
            crc=entry.crc,
        )
        for _, entry in batch
    ]
    body = msgspec.msgpack.encode(packed)
    try:
        output = children.run(_INFLATE, body, cpu_s=10, wall_s=30, max_output_bytes=64 * MIB)
    except ChildFailed:
        raise ArchiveRefused("the archive could not be read within its limits") from None
    contents = msgspec.msgpack.decode(output, type=Contents)
    if contents.broken is not None:
        culprit = batch[contents.broken][0].path
        raise ArchiveRefused("an entry is not what the directory says", entry=culprit)
    return contents.files
