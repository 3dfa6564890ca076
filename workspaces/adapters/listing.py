"""A person's list of workspaces by one fixed statement, roles included.

The list is what every client opens with. Django built and compiled two statements for it at each
request, which cost more than all the rest of the request; `docs/decisions/0040` has the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import orjson
from django.db import connection

from accounts.types import Actor
from workspaces.types import ListedWorkspace

BEGINNING: Final = ("infinity", "ffffffff-ffff-ffff-ffff-ffffffffffff")
"""The position before the first row: later than every moment, above every id."""

_LIST: Final = """
SELECT w.id, w.name, w.owner_id, w.organization_id, w.visibility, w.default_role, standing.role,
    w.revision, w.file_count, w.bytes_used, w.created_at::text, w.updated_at::text, w.settings
FROM workspace_standings standing
JOIN workspaces w ON w.id = standing.workspace_id
WHERE standing.user_id = %(user_id)s
    AND w.deleted_at IS NULL
    AND (%(organization_id)s::uuid IS NULL OR w.organization_id = %(organization_id)s)
    AND (%(workspace_id)s::uuid IS NULL OR w.id = %(workspace_id)s)
    AND (w.created_at, w.id) < (%(created_at)s::timestamptz, %(id)s::uuid)
ORDER BY w.created_at DESC, w.id DESC
LIMIT %(limit)s
"""


def rows(actor: Actor, *, after: Sequence[object], limit: int) -> list[ListedWorkspace]:
    """The first workspaces after a position (creation and id of a row), newest first.

    Of an API key only those within its own bounds.
    """
    created_at, last_id = after
    values: dict[str, UUID | str | int | None] = {
        "user_id": actor.user_id,
        "organization_id": actor.key_organization_id,
        "workspace_id": actor.key_workspace_id,
        "created_at": str(created_at),
        "id": str(last_id),
        "limit": limit,
    }
    with connection.cursor() as cursor:
        cursor.execute(_LIST, values)
        return [_row(columns) for columns in cursor.fetchall()]


def _row(columns: tuple[Any, ...]) -> ListedWorkspace:
    """Django loads jsonb as text, and moments by Python code that took most of the page's time."""
    *others, created_at, updated_at, settings = columns
    moments = datetime.fromisoformat(created_at), datetime.fromisoformat(updated_at)
    return ListedWorkspace._make((*others, *moments, orjson.loads(settings)))
