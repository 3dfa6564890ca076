"""What workspaces' REST answers, as types: the published schema, which the suite holds it to."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from ideplatform.kit.openapi import Problem
from workspaces.types import ImportState, NodeKind, Origin, Visibility, WorkspaceRole


class Workspace(msgspec.Struct, kw_only=True):
    """`role` is the caller's, null for whoever sees it without one; `revision` is its ETag."""

    id: UUID
    name: str
    owner_id: UUID
    organization_id: UUID
    settings: dict[str, object]
    visibility: Visibility
    default_role: WorkspaceRole
    role: WorkspaceRole | None
    revision: int
    file_count: int
    bytes_used: int
    created_at: datetime
    updated_at: datetime


class Workspaces(msgspec.Struct, kw_only=True):
    items: list[Workspace]
    next_cursor: str


class WorkspaceMember(msgspec.Struct, kw_only=True):
    """`is_guest`: the role does not end with the membership of the organization."""

    user_id: UUID
    email: str
    full_name: str
    role: WorkspaceRole
    is_guest: bool
    created_at: datetime


class WorkspaceMembers(msgspec.Struct, kw_only=True):
    items: list[WorkspaceMember]
    next_cursor: str


class FileNode(msgspec.Struct, kw_only=True):
    """A file or directory; directories have version 0. `size` in bytes, `sha256` in hex."""

    file_id: str
    path: str
    kind: NodeKind
    version: int
    size: int
    sha256: str
    eol: str
    bom: bool
    updated_at: datetime


class FileTree(msgspec.Struct, kw_only=True):
    items: list[FileNode]
    next_cursor: str


class FileVersion(msgspec.Struct, kw_only=True):
    """The version that a write made, or found unchanged."""

    file_id: str
    path: str
    version: int
    size: int
    sha256: str
    author_id: UUID | None
    run_id: UUID | None
    origin: Origin
    created_at: datetime


class KeptVersion(msgspec.Struct, kw_only=True):
    version: int
    size: int
    sha256: str
    author_id: UUID | None
    run_id: UUID | None
    origin: Origin
    created_at: datetime


class KeptVersions(msgspec.Struct, kw_only=True):
    items: list[KeptVersion]
    next_cursor: str


class FileContent(msgspec.Struct, kw_only=True):
    """`encoding` is utf-8, or base64 for what is no UTF-8 text."""

    file_id: str
    path: str
    version: int
    sha256: str
    encoding: str
    content: str


class SearchMatch(msgspec.Struct, kw_only=True):
    """`line` and `column` count from 1; `text` is the line, cut around the match at `offset`."""

    file_id: str
    path: str
    line: int
    column: int
    length: int
    text: str
    offset: int


class SearchResult(msgspec.Struct, kw_only=True):
    """`truncated`: a limit of time or matches ended the search early."""

    matches: list[SearchMatch]
    files_searched: int
    truncated: bool


class ImportJob(msgspec.Struct, kw_only=True):
    """`problem` tells why a failed one wrote nothing."""

    id: UUID
    state: ImportState
    path: str
    archive_bytes: int
    files_written: int
    files_unchanged: int
    problem: Problem | None
    created_at: datetime
    finished_at: datetime | None
