"""Values and ports other apps may use."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, NamedTuple, Protocol
from uuid import UUID

from accounts.types import Permission

P = Permission
NEW_FILE: Final = 0
"""The base version of a write that must create its file."""


class WorkspaceRole(StrEnum):
    OWNER = "owner"
    EDITOR = "editor"
    VIEWER = "viewer"


class Visibility(StrEnum):
    PRIVATE = "private"
    ORGANIZATION = "organization"


class NodeKind(StrEnum):
    FILE = "file"
    DIRECTORY = "directory"


class Origin(StrEnum):
    """Where a version came from."""

    REST = "rest"
    UPLOAD = "upload"
    IMPORT = "import"
    AGENT = "agent"
    DOCUMENT = "document"
    RESTORE = "restore"


_VIEWER = frozenset({P.WORKSPACE_VIEW, P.FILE_READ, P.MEMORY_READ, P.RUN_READ})
_EDITOR = _VIEWER | {
    P.FILE_WRITE,
    P.AGENT_RUN,
    P.MEMORY_WRITE,
    P.BLUEPRINT_WRITE,
    P.PROVIDER_USE,
    P.PROVIDER_MANAGE,
    P.BILLING_VIEW,
    P.USAGE_REPORT,
}
ROLE_PERMISSIONS: dict[str, frozenset[Permission]] = {
    WorkspaceRole.VIEWER: _VIEWER,
    WorkspaceRole.EDITOR: _EDITOR,
    WorkspaceRole.OWNER: _EDITOR | {P.WORKSPACE_MANAGE},
}


class ListedWorkspace(NamedTuple):
    """One entry of a person's list, with their role there; a tuple, since a page holds many."""

    id: UUID
    name: str
    owner_id: UUID
    organization_id: UUID
    visibility: str
    default_role: str
    role: str
    revision: int
    file_count: int
    bytes_used: int
    created_at: datetime
    updated_at: datetime
    settings: dict[str, object]


class ImportState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


JsonValue = bool | int | float | str | list[object] | dict[str, object] | None
SETTING_TYPES: dict[str, type] = {"memory.external_embedding": bool}
"""The settings of a workspace that the platform itself reads, and their types."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceRef:
    """A workspace the actor may use, with the role that was found for it.

    `role` is None for the organization's billing people, who see what it costs and no more.
    """

    id: UUID
    organization_id: UUID
    role: WorkspaceRole | None
    permissions: frozenset[Permission]


@dataclass(frozen=True, slots=True, kw_only=True)
class FileVersion:
    """One version of a file: `version` counts from 1, `size` is bytes, `sha256` hexadecimal."""

    id: int
    file_id: UUID
    workspace_id: UUID
    path: str
    version: int
    size: int
    sha256: str
    author_id: UUID | None
    run_id: UUID | None
    origin: str
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFile:
    """A version of a text file, and its text as it is stored (line ends and mark included)."""

    version: FileVersion
    text: str


class TextAuthority(Protocol):
    """Whoever holds a file's live document: writes to such a file go there, not to the table."""

    def holds(self, *, file_id: UUID) -> bool:
        """Whether a live document exists for the file."""

    def write_text(
        self,
        *,
        file_id: UUID,
        text: str,
        base_version: int | None,
        author_id: UUID,
        origin: Origin,
        run_id: UUID | None,
        idempotency_key: str | None,
    ) -> FileVersion:
        """Merge `text`, written against `base_version`, into the document; the new version."""
