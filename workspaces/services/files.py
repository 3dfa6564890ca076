"""Reading and writing files, each write a new version."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from accounts.types import Actor, Permission
from ideplatform.kit.errors import InvalidInput, NotFound, Pointer
from ideplatform.outbox import facts
from workspaces import paths, selectors, texts
from workspaces.adapters import blobs
from workspaces.errors import NotText
from workspaces.models import FileNode, FileVersionRow, Workspace
from workspaces.paths import Place
from workspaces.services import access, nodes, quotas, storage, write_keys
from workspaces.types import FileVersion, NodeKind, Origin, TextAuthority, TextFile, WorkspaceRef

_authorities: list[TextAuthority] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Who made a version, and how."""

    user_id: UUID | None
    origin: Origin
    run_id: UUID | None = None


def use_authority(authority: TextAuthority | None) -> None:
    """Say who holds live documents (composition root); None when nobody does."""
    _authorities[:] = [authority] if authority is not None else []


def authority_of(file_id: UUID) -> TextAuthority | None:
    """Who must be asked before the file is written past its live document."""
    return next((a for a in _authorities if a.holds(file_id=file_id)), None)


def read_text(
    *, actor: Actor, workspace_id: UUID, path: str, version: int | None = None
) -> TextFile:
    """A text file, the current version by default.

    Raises NotFound, InvalidPath, and NotText 422 for what is not UTF-8.
    """
    ref = access.workspace(actor, workspace_id, Permission.FILE_READ)
    row = selectors.version(ref, selectors.file(ref, path=path), version)
    text = texts.decoded(blobs.content(row.blob_id))
    if text is None:
        raise NotText
    return TextFile(version=selectors.as_version(row), text=text)


def write_text(
    *,
    actor: Actor,
    workspace_id: UUID,
    path: str,
    text: str,
    base_version: int | None,
    origin: Origin,
    run_id: UUID | None = None,
    idempotency_key: str | None = None,
) -> FileVersion:
    """Write a text file as UTF-8; see `write_bytes`. Raises InvalidInput for lone surrogates."""
    try:
        content = text.encode()
    except UnicodeEncodeError:
        fault = Pointer(pointer="/content", detail="this is not valid Unicode")
        raise InvalidInput(errors=[fault]) from None
    return write_bytes(
        actor=actor,
        workspace_id=workspace_id,
        path=path,
        content=content,
        base_version=base_version,
        origin=origin,
        run_id=run_id,
        idempotency_key=idempotency_key,
    )


def write_bytes(
    *,
    actor: Actor,
    workspace_id: UUID,
    path: str,
    content: bytes,
    base_version: int | None,
    origin: Origin,
    run_id: UUID | None = None,
    idempotency_key: str | None = None,
) -> FileVersion:
    """Write a file and publish `file.changed`; the same content again makes no version.

    `base_version`: the version the change was made on, `NEW_FILE` to create, None to take whatever
    is there. Units: bytes, at most 16 MiB. Missing directories are created. A file with a live
    document goes to the text authority, which merges. Idempotent on (workspace, user, key).
    Raises NotFound, Forbidden, InvalidPath, StaleVersion (with the current version),
    PathCollision, QuotaExceeded, IdempotencyKeyReused, StorageFull, WorkspaceBusy.
    """
    ref = access.workspace(actor, workspace_id, Permission.FILE_WRITE)
    place = paths.parse(path)
    quotas.check_file(len(content))
    author = Author(user_id=actor.user_id, origin=origin, run_id=run_id)
    merged = _through_authority(ref, place, content, base_version, author, idempotency_key)
    if merged is not None:
        return merged
    sha256 = blobs.digest(content)
    parts = ("write", place.path, sha256, base_version)
    key = write_keys.of(workspace_id, actor.user_id, idempotency_key, parts)
    with storage.writing():
        nodes.lock(workspace_id)
        row = write_keys.made(key) if key else None
        if row is None:
            row = _write(ref, place, content, sha256, base_version, author)
            if key:
                write_keys.remember(key, row)
        return selectors.as_version(row)


def restore(
    *,
    actor: Actor,
    workspace_id: UUID,
    path: str,
    version: int,
    base_version: int | None,
    idempotency_key: str | None = None,
) -> FileVersion:
    """Make an old version's content the newest version; raises as `write_bytes` does."""
    ref = access.workspace(actor, workspace_id, Permission.FILE_WRITE)
    row = selectors.version(ref, selectors.file(ref, path=path), version)
    return write_bytes(
        actor=actor,
        workspace_id=workspace_id,
        path=row.file.path,
        content=blobs.content(row.blob_id),
        base_version=base_version,
        origin=Origin.RESTORE,
        idempotency_key=idempotency_key,
    )


def project_text(*, file_id: UUID, text: str, doc_seq: int, base_version: int) -> FileVersion:
    """Write a live document back to its file, once per `doc_seq`; for the text authority alone.

    `text` has LF and no byte order mark; the file keeps its own line ends and mark. Raises
    NotFound when the file is gone, StaleVersion when somebody wrote past the document.
    """
    known = FileNode.objects.filter(pk=file_id).values_list("workspace_id", flat=True).first()
    if known is None:
        raise NotFound
    with storage.writing():
        nodes.lock(known)
        node = FileNode.objects.filter(pk=file_id, kind=NodeKind.FILE).first()
        if node is None:
            raise NotFound
        if node.doc_seq < doc_seq:
            nodes.check_version(node, base_version)
            _project(node, text, doc_seq)
        return selectors.as_version(_current(node))


def _project(node: FileNode, text: str, doc_seq: int) -> None:
    content = texts.restored(text, texts.Profile(eol=node.eol, has_bom=node.has_bom))
    quotas.check_file(len(content))
    node.doc_seq = doc_seq
    node.save(update_fields=["doc_seq"])
    if (sha256 := blobs.digest(content)) != node.sha256:
        organization_id = Workspace.objects.values_list("organization_id", flat=True).get(
            pk=node.workspace_id
        )
        author = Author(user_id=None, origin=Origin.DOCUMENT)
        _add_version(organization_id, node, content, sha256, author)


def _through_authority(
    ref: WorkspaceRef,
    place: Place,
    content: bytes,
    base_version: int | None,
    author: Author,
    idempotency_key: str | None,
) -> FileVersion | None:
    """The merged version of a file with a live document; asked before a transaction opens."""
    if not _authorities or author.user_id is None:
        return None
    node = nodes.find_file(ref.id, place)
    authority = authority_of(node.pk) if node is not None else None
    text = texts.decoded(content)
    if node is None or authority is None or text is None:
        return None
    return authority.write_text(
        file_id=node.pk,
        text=text,
        base_version=base_version,
        author_id=author.user_id,
        origin=author.origin,
        run_id=author.run_id,
        idempotency_key=idempotency_key,
    )


def _write(
    ref: WorkspaceRef,
    place: Place,
    content: bytes,
    sha256: str,
    base_version: int | None,
    author: Author,
) -> FileVersionRow:
    node = nodes.find_file(ref.id, place)
    nodes.check_version(node, base_version)
    if node is None:
        made = nodes.make_directories(ref.id, place.ancestors())
        node = nodes.new(ref.id, place, NodeKind.FILE)
        return _add_version(
            ref.organization_id, node, content, sha256, author, nodes_added=made + 1
        )
    if node.sha256 == sha256:
        return _current(node)
    return _add_version(ref.organization_id, node, content, sha256, author)


def _add_version(
    organization_id: UUID,
    node: FileNode,
    content: bytes,
    sha256: str,
    author: Author,
    *,
    nodes_added: int = 0,
) -> FileVersionRow:
    quotas.charge_workspace(
        workspace_id=node.workspace_id, size=len(content) - node.size, nodes=nodes_added
    )
    stored = blobs.put(organization_id=organization_id, content=content, sha256=sha256)
    quotas.charge_organization(organization_id=organization_id, size=stored.added_bytes)
    profile = texts.profile(content)
    nodes.set_content(node, size=len(content), sha256=sha256, profile=profile)
    node.save(force_insert=bool(nodes_added))
    row = FileVersionRow.objects.create(
        file=node,
        version=node.version,
        blob_id=stored.id,
        author_id=author.user_id,
        origin=author.origin,
        run_id=author.run_id,
    )
    facts.publish("file.changed", key=str(node.pk), payload=nodes.changed(node, row))
    return row


def _current(node: FileNode) -> FileVersionRow:
    rows = FileVersionRow.objects.select_related("file", "blob")
    return rows.get(file=node, version=node.version)
