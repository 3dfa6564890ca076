"""The audit log: who did what to what, with which outcome. Append-only, kept 400 days."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import structlog
from django.db import connection

from accounts.models import AuditEvent
from accounts.types import Actor

OK, DENIED, FAILED = "ok", "denied", "failed"
MONTHS_AHEAD = 3
# What an event may tell beside its columns: names of things, never content, keys or addresses.
DETAILS = frozenset(
    {
        "amount_usd", "capture", "count", "kind", "last4", "master_version", "name", "new_role",
        "old_role", "origin", "path", "provider", "purpose", "reason", "role", "scopes", "slug",
        "source", "user_id", "visibility",
    }
)  # fmt: skip


def record(
    *,
    action: str,
    outcome: str = OK,
    actor: Actor | None = None,
    actor_id: UUID | None = None,
    session_id: UUID | None = None,
    organization_id: UUID | None = None,
    workspace_id: UUID | None = None,
    target: object = "",
    ip: str = "",
    details: Mapping[str, str | int | bool] | None = None,
) -> None:
    """Write one event in the caller's transaction.

    `action` is `noun.verb`. Who acted comes from `actor`, or from `actor_id`, `session_id` and
    `ip` where nobody is signed in yet. Raises ValueError for a detail that is not allow-listed.
    """
    details = dict(details or {})
    if not details.keys() <= DETAILS:
        raise ValueError(f"audit details not allow-listed: {sorted(details.keys() - DETAILS)}")
    AuditEvent.objects.create(
        action=action,
        outcome=outcome,
        actor_id=actor.user_id if actor else actor_id,
        session_id=(actor.session_id or actor.api_key_id) if actor else session_id,
        organization_id=organization_id,
        workspace_id=workspace_id,
        target=str(target)[:200],
        ip=(actor.ip if actor else ip) or None,
        details=details,
        request_id=_request_id(),
    )


def extend_partitions() -> None:
    """Create the partitions of this and the coming months, and drop those past 400 days.

    Both are database functions of the owner, so the application's role needs no right to the
    table but INSERT and SELECT. Idempotent.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT audit_events_extend(%s)", [MONTHS_AHEAD])
        cursor.execute("SELECT audit_events_expire()")


def _request_id() -> str:
    return str(structlog.contextvars.get_contextvars().get("request_id", ""))[:64]
