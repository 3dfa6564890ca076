"""Thousands of rows by one statement each: arrays in, unnested by the database.

An import may bring 20,000 files; Django's own bulk insert takes seconds for what this does in
a tenth of one, and other writers of the workspace wait meanwhile.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from uuid import UUID

from django.db import connection

from workspaces.models import FileNode, FileVersionRow

_NODES: Final = """
INSERT INTO file_nodes AS n (id, workspace_id, path, folded_path, kind, version, size, sha256, eol,
                             has_bom, doc_seq, updated_at)
SELECT id, %s, path, folded_path, kind, version, size, sha256, eol, has_bom, 0, now()
FROM unnest(%s::uuid[], %s::text[], %s::text[], %s::text[], %s::int[], %s::bigint[], %s::text[],
            %s::text[], %s::bool[])
  AS new (id, path, folded_path, kind, version, size, sha256, eol, has_bom)
ON CONFLICT (id) DO UPDATE SET
  version = EXCLUDED.version, size = EXCLUDED.size, sha256 = EXCLUDED.sha256, eol = EXCLUDED.eol,
  has_bom = EXCLUDED.has_bom, updated_at = EXCLUDED.updated_at
"""
_VERSIONS: Final = """
INSERT INTO file_versions (file_id, version, blob_id, author_id, origin)
SELECT file_id, version, blob_id, %s, %s
FROM unnest(%s::uuid[], %s::int[], %s::uuid[]) AS new (file_id, version, blob_id)
RETURNING file_id, id
"""


def save_nodes(workspace_id: UUID, nodes: Sequence[FileNode]) -> None:
    """Insert new nodes, and give known ones (by id) their new content."""
    columns: list[list[object]] = [
        [node.pk for node in nodes],
        [node.path for node in nodes],
        [node.folded_path for node in nodes],
        [str(node.kind) for node in nodes],
        [node.version for node in nodes],
        [node.size for node in nodes],
        [node.sha256 for node in nodes],
        [node.eol for node in nodes],
        [node.has_bom for node in nodes],
    ]
    with connection.cursor() as cursor:
        cursor.execute(_NODES, [workspace_id, *columns])


def insert_versions(rows: Sequence[FileVersionRow], *, author_id: UUID | None, origin: str) -> None:
    """Insert one version of each of some files, and set the ids that they get."""
    columns: list[list[object]] = [
        [row.file_id for row in rows],
        [row.version for row in rows],
        [row.blob_id for row in rows],
    ]
    with connection.cursor() as cursor:
        cursor.execute(_VERSIONS, [author_id, str(origin), *columns])
        numbers = dict(cursor.fetchall())
    for row in rows:
        row.pk = numbers[row.file_id]
