"""How work with workspaces and their files fails."""

from __future__ import annotations

from ideplatform.kit.errors import Conflict, InvalidInput, TooLarge, Unavailable


class InvalidPath(InvalidInput):
    code, title = "invalid_path", "The path is not allowed"


class PathCollision(Conflict):
    """Something else stands there: another spelling, another kind, or simply another node."""

    code, title = "path_collision", "Something else has this path"


class DirectoryNotEmpty(Conflict):
    code, title = "directory_not_empty", "The directory is not empty; say `recursive`"


class QuotaExceeded(TooLarge):
    code, title = "quota_exceeded", "The quota does not cover this"


class NotText(InvalidInput):
    code, title = "not_text", "The file is not UTF-8 text"


class ImportActive(Conflict):
    code, title = "import_active", "Another import into this workspace is not finished"


class ArchiveRefused(InvalidInput):
    code, title = "archive_refused", "The archive is not accepted"


class WorkspaceBusy(Unavailable):
    code, title = "workspace_busy", "The workspace is being changed by a large operation"
