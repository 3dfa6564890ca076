"""The tree under its lock: every change of a workspace's nodes is one after another.

A write, a move and a deletion that met halfway would leave files without their directory, so each
takes the workspace's row first. Lock order everywhere: workspace, blobs by digest, organization.
"""

from __future__ import annotations

from collections.abc import Iterable
from uuid import UUID

from ideplatform.kit import ids
from ideplatform.kit.errors import NotFound, StaleVersion
from ideplatform.outbox import facts
from workspaces.errors import PathCollision
from workspaces.models import FileNode, FileVersionRow, Workspace
from workspaces.paths import Place
from workspaces.texts import Profile
from workspaces.types import NEW_FILE, NodeKind


def lock(workspace_id: UUID) -> None:
    """Wait for one's turn, until the transaction ends; NotFound when the workspace is gone."""
    rows = Workspace.objects.select_for_update(no_key=True)
    if not rows.filter(pk=workspace_id, deleted_at__isnull=True).values_list("pk").first():
        raise NotFound


def find(workspace_id: UUID, place: Place) -> FileNode | None:
    """The node at the place; PathCollision when it is spelt otherwise."""
    found = FileNode.objects.filter(workspace_id=workspace_id, folded_path=place.folded).first()
    if found is not None and found.path != place.path:
        raise collision(found, place)
    return found


def find_file(workspace_id: UUID, place: Place) -> FileNode | None:
    """The same for a file; PathCollision when a directory stands there."""
    found = find(workspace_id, place)
    if found is not None and found.kind != NodeKind.FILE:
        raise collision(found, place)
    return found


def make_directories(workspace_id: UUID, places: Iterable[Place]) -> int:
    """Create the directories that are missing; returns how many.

    Raises PathCollision when one of them is a file or is spelt otherwise.
    """
    wanted = {place.folded: place for place in places}
    present = FileNode.objects.filter(workspace_id=workspace_id, folded_path__in=list(wanted))
    for found in present:
        place = wanted.pop(found.folded_path)
        if found.path != place.path or found.kind != NodeKind.DIRECTORY:
            raise collision(found, place)
    FileNode.objects.bulk_create(
        [new(workspace_id, place, NodeKind.DIRECTORY) for place in wanted.values()],
        batch_size=1_000,
    )
    return len(wanted)


def new(workspace_id: UUID, place: Place, kind: NodeKind) -> FileNode:
    """A node that is not yet saved."""
    return FileNode(
        id=ids.new(),
        workspace_id=workspace_id,
        path=place.path,
        folded_path=place.folded,
        kind=kind,
    )


def set_content(node: FileNode, *, size: int, sha256: str, profile: Profile) -> None:
    """Move a node, not yet saved, to its next version."""
    node.version += 1
    node.size, node.sha256 = size, sha256
    node.eol, node.has_bom = profile.eol, profile.has_bom


def changed(node: FileNode, row: FileVersionRow) -> dict[str, facts.Value]:
    """The payload of `file.changed`."""
    return {
        "workspace_id": str(node.workspace_id),
        "file_id": str(node.pk),
        "version_id": row.pk,
        "version": row.version,
        "path": node.path,
        "origin": row.origin,
        "author_id": None if row.author_id is None else str(row.author_id),
        "run_id": None if row.run_id is None else str(row.run_id),
    }


def check_version(found: FileNode | None, base_version: int | None) -> None:
    """Raises StaleVersion, with what is there now, unless the base is the current version.

    A base of `NEW_FILE` demands that nothing is there; None accepts whatever is.
    """
    current = NEW_FILE if found is None else found.version
    if base_version is None or base_version == current:
        return
    raise StaleVersion(current=None if found is None else current_state(found))


def current_state(node: FileNode) -> dict[str, object]:
    """What a client needs to merge: which version is current."""
    return {
        "file_id": ids.public("wsf", node.pk),
        "path": node.path,
        "version": node.version,
        "sha256": node.sha256,
        "size": node.size,
    }


def collision(found: FileNode, place: Place) -> PathCollision:
    return PathCollision(
        f"{found.path!r} is there already as a {found.kind}",
        path=place.path,
        existing={"path": found.path, "kind": found.kind},
    )
