"""Whole subtrees by single statements: Django would first load every row of them."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from django.db import connection
from django.db.models import F, Q, QuerySet, TextField, Value
from django.db.models.functions import Concat, Now, Substr

from workspaces.models import FileNode
from workspaces.paths import Place

_ERASE: Final = (
    "DELETE FROM file_write_keys WHERE version_id IN"
    " (SELECT id FROM file_versions WHERE file_id = ANY(%s))",
    "DELETE FROM file_versions WHERE file_id = ANY(%s)",
    "DELETE FROM file_nodes WHERE id = ANY(%s)",
)


def below(workspace_id: UUID, place: Place) -> QuerySet[FileNode]:
    """Every node under a directory, itself excluded; `0` is the character after `/`."""
    return FileNode.objects.filter(
        workspace_id=workspace_id, path__gt=place.path + "/", path__lt=place.path + "0"
    )


def within(workspace_id: UUID, place: Place) -> QuerySet[FileNode]:
    """The node and every node under it."""
    return FileNode.objects.filter(
        Q(path=place.path) | Q(path__gt=place.path + "/", path__lt=place.path + "0"),
        workspace_id=workspace_id,
    )


def rename(workspace_id: UUID, source: Place, target: Place) -> int:
    """Give the node and everything under it new paths; ids stay. Returns how many rows."""
    return within(workspace_id, source).update(
        path=_with_new_head("path", source.path, target.path),
        folded_path=_with_new_head("folded_path", source.folded, target.folded),
        updated_at=Now(),
    )


def erase(node_ids: list[UUID]) -> None:
    """Delete nodes with their versions and the keys that made them."""
    with connection.cursor() as cursor:
        for statement in _ERASE:
            cursor.execute(statement, [node_ids])


def _with_new_head(column: str, old: str, new: str) -> Concat:
    tail = Substr(F(column), len(old) + 1, output_field=TextField())
    return Concat(Value(new), tail, output_field=TextField())
