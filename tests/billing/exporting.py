"""What another process does beside a test: write or stream a long list, and say how it grew."""

from __future__ import annotations

import hashlib
import resource
from collections.abc import Iterator
from uuid import UUID

from accounts.models import User
from billing import selectors, sheets
from billing.api import export as lines
from billing.models import Export
from billing.services import exports
from billing.types import UsageFilters
from tests import databases
from tests.factories import an_actor


def export(database: str, export_id: str) -> dict[str, object]:
    """Run a queued export as a worker does."""
    databases._use(database)
    before = _peak_kib()
    exports.run(export_id=UUID(export_id))
    row = Export.objects.get(pk=UUID(export_id))
    return {"grown_kib": _peak_kib() - before, "rows": row.rows, "state": row.state}


def stream(database: str, user_id: str) -> dict[str, object]:
    """Read all of a user's CSV as the web process sends it."""
    databases._use(database)
    actor = an_actor(User.objects.get(pk=UUID(user_id)))
    before = _peak_kib()
    chunks = selectors.usage_chunks(actor, UsageFilters(), sheets.USAGE_COLUMNS)
    digest, count = _read(lines.lines(chunks))
    return {"grown_kib": _peak_kib() - before, "sha256": digest, "rows": count - 1}


def _read(pieces: Iterator[bytes]) -> tuple[str, int]:
    digest, count = hashlib.sha256(), 0
    for piece in pieces:
        digest.update(piece)
        count += piece.count(b"\r\n")
    return digest.hexdigest(), count


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
