"""Tells of changed routes: at its commit a process forgets what it remembers, the others soon.

What every process reads is the row that a trigger writes; this only makes it quick.
"""

from __future__ import annotations

from typing import Final

from accounts.services import feed
from providers.models import ModelAlias, Provider
from providers.types import ProviderScope

TOPIC: Final = "routes"
COLUMNS: Final = {
    ProviderScope.USER: "owner_id",
    ProviderScope.WORKSPACE: "workspace_id",
    ProviderScope.ORGANIZATION: "organization_id",
}


def of_home(row: Provider | ModelAlias) -> None:
    """What the home of this row has is another, once the transaction is committed."""
    column = COLUMNS.get(ProviderScope(row.scope))
    feed.announce_topic(TOPIC, getattr(row, column) if column is not None else None)


def of_all() -> None:
    """The same of the platform's own accounts and of the catalogue."""
    feed.announce_topic(TOPIC)
