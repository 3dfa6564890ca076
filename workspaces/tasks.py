"""Celery edge: ids in, one service call."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from celery import shared_task

from accounts.types import Permission
from ideplatform.kit import accounting
from workspaces.services import import_jobs, imports, pruning, write_keys


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(permission=Permission.FILE_WRITE)
def run_import(payload: Mapping[str, str]) -> None:
    """On `import.requested`."""
    imports.run(job_id=UUID(payload["job_id"]))


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public="queues again what lost its worker; each run asks for its user's rights")
def resume_imports() -> None:
    import_jobs.resume()


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public="retention: acts on age alone, for nobody")
def prune_files() -> None:
    pruning.prune_versions()
    pruning.sweep_blobs()
    pruning.forget_imports()
    write_keys.prune()


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public="retention: acts on age alone, for nobody")
def purge_deleted() -> None:
    pruning.purge_deleted()
