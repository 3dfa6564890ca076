"""What is kept no longer: old versions, unused blobs, deleted workspaces. Batches, re-runnable."""

from __future__ import annotations

from datetime import timedelta
from typing import Final
from uuid import UUID

import structlog
from django.db import connection, transaction
from django.db.models.functions import Now

from ideplatform.outbox import facts
from workspaces.adapters import blobs, subtree
from workspaces.models import FileNode, ImportJob, Workspace, WorkspaceMembership
from workspaces.services import quotas

log = structlog.get_logger(__name__)

VERSIONS_KEPT: Final = 100
VERSION_AGE: Final = timedelta(days=90)
DELETED_KEPT: Final = timedelta(days=30)
UNTOUCHED: Final = timedelta(hours=1)
IMPORTS_KEPT: Final = timedelta(days=30)
_BATCH: Final = 1_000

# The current version always stays, however old; of the others, 100 at most and 90 days at most.
_OLD_VERSIONS: Final = """
WITH ranked AS (
  SELECT v.id, v.created_at, v.version,
         row_number() OVER (PARTITION BY v.file_id ORDER BY v.version DESC) AS rank
  FROM file_versions v
  WHERE v.file_id IN (
    SELECT file_id FROM file_versions GROUP BY file_id
    HAVING count(*) > %(kept)s OR (count(*) > 1 AND min(created_at) < now() - %(age)s::interval))
)
SELECT id FROM ranked
WHERE rank > %(kept)s OR (rank > 1 AND created_at < now() - %(age)s::interval)
LIMIT %(batch)s
"""
_DELETE_VERSIONS: Final = (
    "DELETE FROM file_write_keys WHERE version_id = ANY(%s)",
    "DELETE FROM file_versions WHERE id = ANY(%s)",
)


def prune_versions() -> int:
    """Delete what is beyond 100 versions or 90 days of a file; returns how many."""
    pruned = 0
    while count := _prune_batch():
        pruned += count
    return pruned


def sweep_blobs() -> int:
    """Delete contents that no version names for an hour; returns the bytes freed."""
    freed_bytes = 0
    while freed := _sweep_batch():
        freed_bytes += sum(freed.values())
    return freed_bytes


def discard(blob_ids: list[UUID]) -> None:
    """Take back what a failed import stored, and its bytes from the organization."""
    with transaction.atomic():
        quotas.refund_organizations(blobs.discard(blob_ids))


def purge_deleted() -> int:
    """Empty the workspaces deleted 30 days ago; their rows stay. Returns how many.

    Publishes `workspace.purged`, for the parts above to forget theirs.
    """
    due = Workspace.objects.filter(deleted_at__lt=Now() - DELETED_KEPT, purged_at__isnull=True)
    purged = list(due.values_list("pk", flat=True))
    for workspace_id in purged:
        _purge(workspace_id)
    return len(purged)


def forget_imports() -> int:
    """Delete the records of imports that ended 30 days ago; returns how many."""
    ended = ImportJob.objects.filter(finished_at__lt=Now() - IMPORTS_KEPT)
    count, _ = ended.delete()
    return count


def _prune_batch() -> int:
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(
            _OLD_VERSIONS,
            {"kept": VERSIONS_KEPT, "age": f"{VERSION_AGE.days} days", "batch": _BATCH},
        )
        doomed = [row[0] for row in cursor.fetchall()]
        for statement in _DELETE_VERSIONS:
            cursor.execute(statement, [doomed])
    return len(doomed)


def _sweep_batch() -> dict[UUID, int]:
    with transaction.atomic():
        freed = blobs.sweep(untouched=UNTOUCHED)
        quotas.refund_organizations(freed)
    return freed


def _purge(workspace_id: UUID) -> None:
    while _erase_batch(workspace_id):
        continue
    with transaction.atomic():
        WorkspaceMembership.objects.filter(workspace_id=workspace_id).delete()
        ImportJob.objects.filter(workspace_id=workspace_id).delete()
        Workspace.objects.filter(pk=workspace_id).update(
            name="", settings={}, purged_at=Now(), file_count=0, bytes_used=0
        )
        facts.publish(
            "workspace.purged", key=str(workspace_id), payload={"workspace_id": str(workspace_id)}
        )
    log.info("workspace.purged", workspace_id=str(workspace_id))


def _erase_batch(workspace_id: UUID) -> int:
    with transaction.atomic():
        nodes = FileNode.objects.filter(workspace_id=workspace_id)
        doomed = list(nodes.values_list("pk", flat=True)[:_BATCH])
        subtree.erase(doomed)
    return len(doomed)
