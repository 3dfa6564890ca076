"""Celery edge of accounts: what time alone makes necessary."""

from __future__ import annotations

from celery import shared_task

from accounts.services import audit, feed, sessions, tickets
from ideplatform.kit import accounting

_REASON = "retention: acts on age alone, for nobody"


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public=_REASON)
def sweep() -> None:
    """Expired tickets, changes that everybody has read, sessions long over."""
    tickets.sweep()
    feed.prune()
    sessions.prune()


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public=_REASON)
def extend_audit() -> None:
    """Partitions of the coming months; those past 400 days go."""
    audit.extend_partitions()
