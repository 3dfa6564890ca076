"""Reading bytes: whole for an answer, or piece by piece for a download."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from uuid import UUID

from accounts.types import Actor, Permission
from workspaces import selectors
from workspaces.adapters import blobs
from workspaces.services import access
from workspaces.types import FileVersion


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """A version and all of its bytes, at most 16 MiB."""

    version: FileVersion
    content: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Download:
    """A version and its bytes, piece by piece; nothing is held between pieces."""

    version: FileVersion
    pieces: Iterator[bytes]


def read(
    *,
    actor: Actor,
    workspace_id: UUID,
    path: str = "",
    file_id: str = "",
    version: int | None = None,
) -> Content:
    """A file by path or public id, its current version by default.

    Raises NotFound, Forbidden, InvalidPath.
    """
    ref = access.workspace(actor, workspace_id, Permission.FILE_READ)
    row = selectors.version(ref, selectors.file(ref, path=path, file_id=file_id), version)
    return Content(version=selectors.as_version(row), content=blobs.content(row.blob_id))


def open_download(
    *,
    actor: Actor,
    workspace_id: UUID,
    path: str = "",
    file_id: str = "",
    version: int | None = None,
) -> Download:
    """The same as a stream."""
    ref = access.workspace(actor, workspace_id, Permission.FILE_READ)
    row = selectors.version(ref, selectors.file(ref, path=path, file_id=file_id), version)
    return Download(
        version=selectors.as_version(row), pieces=blobs.stream(row.blob_id, size=row.blob.size)
    )
