"""The last step of an import: one transaction makes every node, version and fact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from ideplatform.outbox import facts
from workspaces.adapters import bulk
from workspaces.models import FileNode, FileVersionRow
from workspaces.paths import Place
from workspaces.services import import_jobs, nodes, quotas, storage
from workspaces.services.import_jobs import Claim
from workspaces.texts import Profile
from workspaces.types import NodeKind, Origin, WorkspaceRef

_COMMIT_S: Final = 60
_ROWS_AT_ONCE: Final = 2_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Staged:
    """A file whose content is stored and that no version names yet. Units: bytes."""

    place: Place
    sha256: str
    size: int
    profile: Profile
    blob_id: UUID


def commit(
    *, ref: WorkspaceRef, claim: Claim, files: list[Staged], directories: list[Place]
) -> None:
    """Make all files appear, and the job done. Equal content makes no version.

    A file with a live document is written past it: the document's next projection finds the
    newer version and merges it. Raises PathCollision, QuotaExceeded, LeaseLost; then nothing
    has changed.
    """
    with storage.writing():
        storage.allow_long_transaction(seconds=_COMMIT_S)
        nodes.lock(ref.id)
        made = nodes.make_directories(ref.id, directories)
        present = _present(ref.id, files)
        changed = [staged for staged in files if _differs(staged, present)]
        quotas.charge_workspace(
            workspace_id=ref.id,
            size=sum(_growth(staged, present) for staged in changed),
            nodes=made + sum(staged.place.folded not in present for staged in changed),
        )
        _save(ref.id, changed, present, claim)
        import_jobs.finish(claim, written=len(changed), unchanged=len(files) - len(changed))


def _present(workspace_id: UUID, files: list[Staged]) -> dict[str, FileNode]:
    """The nodes that stand where files come, by folded path; raises PathCollision."""
    found: dict[str, FileNode] = {}
    for start in range(0, len(files), _ROWS_AT_ONCE):
        wanted = {staged.place.folded: staged.place for staged in files[start:][:_ROWS_AT_ONCE]}
        for node in FileNode.objects.filter(workspace_id=workspace_id, folded_path__in=wanted):
            place = wanted[node.folded_path]
            if node.path != place.path or node.kind != NodeKind.FILE:
                raise nodes.collision(node, place)
            found[node.folded_path] = node
    return found


def _differs(staged: Staged, present: dict[str, FileNode]) -> bool:
    node = present.get(staged.place.folded)
    return node is None or node.sha256 != staged.sha256


def _growth(staged: Staged, present: dict[str, FileNode]) -> int:
    node = present.get(staged.place.folded)
    return staged.size - (0 if node is None else node.size)


def _save(
    workspace_id: UUID, files: list[Staged], present: dict[str, FileNode], claim: Claim
) -> None:
    changed: list[FileNode] = []
    rows: list[FileVersionRow] = []
    for staged in files:
        node = present.get(staged.place.folded)
        node = node or nodes.new(workspace_id, staged.place, NodeKind.FILE)
        nodes.set_content(node, size=staged.size, sha256=staged.sha256, profile=staged.profile)
        changed.append(node)
        rows.append(_version(node, staged, claim))
    bulk.save_nodes(workspace_id, changed)
    bulk.insert_versions(rows, author_id=claim.user_id, origin=Origin.IMPORT)
    facts.publish_many(
        "file.changed", ((str(row.file_id), nodes.changed(row.file, row)) for row in rows)
    )


def _version(node: FileNode, staged: Staged, claim: Claim) -> FileVersionRow:
    return FileVersionRow(
        file=node,
        version=node.version,
        blob_id=staged.blob_id,
        author_id=claim.user_id,
        origin=Origin.IMPORT,
    )
