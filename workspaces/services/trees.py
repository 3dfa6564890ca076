"""Directories, moves and deletions: one transaction each, ids stay."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from django.db.models import Func, IntegerField, Max, QuerySet

from accounts.types import Actor, Permission
from ideplatform.kit.errors import InvalidInput, NotFound, Pointer
from ideplatform.outbox import facts
from workspaces import paths
from workspaces.adapters import subtree
from workspaces.errors import DirectoryNotEmpty, InvalidPath
from workspaces.models import FileNode
from workspaces.paths import Place
from workspaces.services import access, nodes, quotas, storage
from workspaces.types import NodeKind

_SUBTREE_S: Final = 60


def create_directory(*, actor: Actor, workspace_id: UUID, path: str) -> FileNode:
    """A directory, with those above it; an existing one is returned unchanged.

    Raises NotFound, Forbidden, InvalidPath, PathCollision, QuotaExceeded.
    """
    access.workspace(actor, workspace_id, Permission.FILE_WRITE)
    place = paths.parse(path)
    with storage.writing():
        nodes.lock(workspace_id)
        made = nodes.make_directories(workspace_id, [*place.ancestors(), place])
        quotas.charge_workspace(workspace_id=workspace_id, size=0, nodes=made)
        return FileNode.objects.get(workspace_id=workspace_id, folded_path=place.folded)


def move(*, actor: Actor, workspace_id: UUID, source: str, target: str) -> FileNode:
    """Rename or move a file or a directory with all under it; publishes `file.moved` per file.

    Ids and versions stay, missing directories above the target are made. Raises NotFound,
    Forbidden, InvalidPath, InvalidInput (into itself), PathCollision, QuotaExceeded.
    """
    access.workspace(actor, workspace_id, Permission.FILE_WRITE)
    old = paths.parse(source, pointer="/from")
    new = paths.parse(target, pointer="/to")
    if old.holds(new):
        fault = Pointer(pointer="/to", detail="a directory cannot move into itself")
        raise InvalidInput(errors=[fault])
    with storage.writing():
        nodes.lock(workspace_id)
        node = _existing(workspace_id, old)
        _allow_for(node)
        _check_target(node, new)
        _check_lengths(workspace_id, old, new)
        made = nodes.make_directories(workspace_id, new.ancestors())
        quotas.charge_workspace(workspace_id=workspace_id, size=0, nodes=made)
        subtree.rename(workspace_id, old, new)
        _tell_moved(workspace_id, old, new)
        node.refresh_from_db()
        return node


def delete(
    *,
    actor: Actor,
    workspace_id: UUID,
    path: str,
    base_version: int | None = None,
    recursive: bool = False,
) -> int:
    """Delete a file, or a directory with `recursive` unless it is empty; returns how many nodes.

    The versions go as well. Publishes `file.deleted` per file. Raises NotFound, Forbidden,
    InvalidPath, StaleVersion, DirectoryNotEmpty.
    """
    access.workspace(actor, workspace_id, Permission.FILE_WRITE)
    place = paths.parse(path)
    with storage.writing():
        nodes.lock(workspace_id)
        node = _existing(workspace_id, place)
        _allow_for(node)
        nodes.check_version(node, base_version)
        if not recursive and subtree.below(workspace_id, place).exists():
            raise DirectoryNotEmpty
        return _delete(workspace_id, subtree.within(workspace_id, place))


def _delete(workspace_id: UUID, doomed: QuerySet[FileNode]) -> int:
    rows = list(doomed.values_list("pk", "path", "kind", "size"))
    facts.publish_many(
        "file.deleted",
        (
            (str(pk), {"workspace_id": str(workspace_id), "file_id": str(pk), "path": path})
            for pk, path, kind, _ in rows
            if kind == NodeKind.FILE
        ),
    )
    subtree.erase([pk for pk, _, _, _ in rows])
    size = sum(size for _, _, _, size in rows)
    quotas.charge_workspace(workspace_id=workspace_id, size=-size, nodes=-len(rows))
    return len(rows)


def _allow_for(node: FileNode) -> None:
    """A directory may hold 50,000 nodes, and each file is told of."""
    if node.kind == NodeKind.DIRECTORY:
        storage.allow_long_transaction(seconds=_SUBTREE_S)


def _existing(workspace_id: UUID, place: Place) -> FileNode:
    found = FileNode.objects.filter(
        workspace_id=workspace_id, folded_path=place.folded, path=place.path
    ).first()
    if found is None:
        raise NotFound
    return found


def _check_target(node: FileNode, new: Place) -> None:
    """The target is free, or the node itself under another spelling."""
    there = FileNode.objects.filter(workspace_id=node.workspace_id, folded_path=new.folded).first()
    if there is not None and (there.pk != node.pk or there.path == new.path):
        raise nodes.collision(there, new)


def _check_lengths(workspace_id: UUID, old: Place, new: Place) -> None:
    """The longest and the deepest path under the node must stay within the rules as well."""
    octets = Func("path", function="OCTET_LENGTH", output_field=IntegerField())
    most = subtree.within(workspace_id, old).aggregate(bytes=Max(octets), depth=Max("depth"))
    grows_bytes = len(new.path.encode()) - len(old.path.encode())
    grows_depth = new.depth - old.depth
    if (
        most["bytes"] + grows_bytes > paths.MAX_BYTES
        or most["depth"] + grows_depth > paths.MAX_DEPTH
    ):
        detail = "a path under it would become too long or too deep"
        raise InvalidPath(detail, errors=[Pointer(pointer="/to", detail=detail)])


def _tell_moved(workspace_id: UUID, old: Place, new: Place) -> None:
    moved = subtree.within(workspace_id, new).filter(kind=NodeKind.FILE)
    facts.publish_many(
        "file.moved",
        (
            (
                str(pk),
                {
                    "workspace_id": str(workspace_id),
                    "file_id": str(pk),
                    "path": path,
                    "from_path": old.path + path[len(new.path) :],
                },
            )
            for pk, path in moved.values_list("pk", "path")
        ),
    )
