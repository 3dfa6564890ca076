"""Reads: the actor or the workspace first, so that a foreign row cannot be reached."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet

from accounts.types import Actor, OrganizationRole, Permission
from ideplatform.kit import ids, paging
from ideplatform.kit.errors import NotFound
from ideplatform.kit.paging import Page
from workspaces import paths
from workspaces.adapters import listing, subtree
from workspaces.models import (
    FileNode,
    FileVersionRow,
    ImportJob,
    Workspace,
    WorkspaceMembership,
)
from workspaces.types import FileVersion, ListedWorkspace, NodeKind, WorkspaceRef

FILE_PREFIX = "wsf"
NEWEST_FIRST = ("-created_at", "-id")
TREE_PAGE = 1_000
ADMINISTRATORS = (OrganizationRole.OWNER, OrganizationRole.ADMIN)
# The organization's billing people have no part in its workspaces, visible or not.
PARTICIPANTS = (*ADMINISTRATORS, OrganizationRole.MEMBER)


def workspaces_of(actor: Actor) -> QuerySet[Workspace]:
    """The workspaces where `access.workspace` finds a role for the actor."""
    if not actor.scope_allows(Permission.WORKSPACE_VIEW):
        return Workspace.objects.none()
    visible = Workspace.objects.filter(standings__user_id=actor.user_id, deleted_at__isnull=True)
    if actor.key_organization_id is not None:
        visible = visible.filter(organization=actor.key_organization_id)
    if actor.key_workspace_id is not None:
        visible = visible.filter(pk=actor.key_workspace_id)
    return visible


def listed(
    actor: Actor, *, cursor: str = "", limit: int = paging.DEFAULT_LIMIT
) -> Page[ListedWorkspace]:
    """The same workspaces with the actor's role in each, newest first.

    Raises InvalidInput for a cursor of another list.
    """
    scope = f"workspaces:{actor.user_id}:{actor.api_key_id}"
    position = paging.opened(cursor, model=Workspace, order=NEWEST_FIRST, scope=scope)
    rows: list[ListedWorkspace] = []
    if actor.scope_allows(Permission.WORKSPACE_VIEW):
        rows = listing.rows(actor, after=position or listing.BEGINNING, limit=limit + 1)
    return paging.cut(rows, order=NEWEST_FIRST, scope=scope, limit=limit)


def workspace(ref: WorkspaceRef) -> Workspace:
    """The row of a workspace that was authorised; NotFound when it has just been deleted."""
    found = Workspace.objects.filter(pk=ref.id, deleted_at__isnull=True).first()
    if found is None:
        raise NotFound
    return found


def members(ref: WorkspaceRef) -> QuerySet[WorkspaceMembership]:
    return WorkspaceMembership.objects.filter(workspace_id=ref.id).select_related("user")


def node(ref: WorkspaceRef, *, path: str = "", file_id: str = "") -> FileNode:
    """A node by exactly one of path and public id; raises NotFound, InvalidPath."""
    nodes = FileNode.objects.filter(workspace_id=ref.id)
    if file_id:
        found = nodes.filter(pk=ids.parse(file_id, prefix=FILE_PREFIX)).first()
    else:
        place = paths.parse(path)
        found = nodes.filter(folded_path=place.folded, path=place.path).first()
    if found is None:
        raise NotFound
    return found


def file(ref: WorkspaceRef, *, path: str = "", file_id: str = "") -> FileNode:
    """The same for a file; a directory is NotFound."""
    found = node(ref, path=path, file_id=file_id)
    if found.kind != NodeKind.FILE:
        raise NotFound
    return found


def tree(
    ref: WorkspaceRef, *, path: str = "", depth: int = 1, cursor: str = "", limit: int = TREE_PAGE
) -> Page[FileNode]:
    """Nodes under a directory, at most `depth` levels down, in path order, 1,000 a page."""
    nodes, base = _under(ref, path)
    return paging.page(
        nodes.filter(depth__gt=base, depth__lte=base + depth),
        order=("path",),
        scope=f"tree:{ref.id}:{path}:{depth}",
        cursor=cursor,
        limit=min(limit, TREE_PAGE),
    )


def files(ref: WorkspaceRef, *, path: str = "") -> QuerySet[FileNode]:
    """Every file at or under a path, in path order."""
    nodes = FileNode.objects.filter(workspace_id=ref.id, kind=NodeKind.FILE)
    if path:
        found = node(ref, path=path)
        place = paths.parse(found.path)
        nodes = subtree.within(ref.id, place).filter(kind=NodeKind.FILE)
    return nodes.order_by("path")


def versions(
    ref: WorkspaceRef, node: FileNode, *, cursor: str = "", limit: int = paging.DEFAULT_LIMIT
) -> Page[FileVersionRow]:
    """The kept versions of a file, newest first."""
    return paging.page(
        FileVersionRow.objects.filter(file=node, file__workspace_id=ref.id).select_related("blob"),
        order=("-version",),
        scope=f"versions:{node.pk}",
        cursor=cursor,
        limit=limit,
    )


def version(ref: WorkspaceRef, node: FileNode, number: int | None = None) -> FileVersionRow:
    """One kept version of a file, the current one by default; raises NotFound."""
    rows = FileVersionRow.objects.filter(file=node, file__workspace_id=ref.id)
    row = rows.filter(version=node.version if number is None else number)
    found = row.select_related("blob", "file").first()
    if found is None:
        raise NotFound
    return found


def as_version(row: FileVersionRow) -> FileVersion:
    """The value other apps get; the row's file and blob are loaded."""
    return FileVersion(
        id=row.pk,
        file_id=row.file_id,
        workspace_id=row.file.workspace_id,
        path=row.file.path,
        version=row.version,
        size=row.blob.size,
        sha256=row.blob.sha256,
        author_id=row.author_id,
        run_id=row.run_id,
        origin=row.origin,
        created_at=row.created_at,
    )


def import_job(ref: WorkspaceRef, job_id: UUID) -> ImportJob:
    found = ImportJob.objects.filter(workspace_id=ref.id, pk=job_id).first()
    if found is None:
        raise NotFound
    return found


def _under(ref: WorkspaceRef, path: str) -> tuple[QuerySet[FileNode], int]:
    """The nodes under a directory, and the directory's own depth (0 is the root)."""
    if not path:
        return FileNode.objects.filter(workspace_id=ref.id), 0
    found = node(ref, path=path)
    if found.kind != NodeKind.DIRECTORY:
        raise NotFound
    place = paths.parse(found.path)
    return subtree.below(ref.id, place), place.depth
