"""The audit of money: who did what, in a chain of hashes that only grows (see I12)."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

import structlog

from accounts.types import Actor
from billing.models import BillingAudit

log = structlog.get_logger(__name__)
Value = str | int | bool | None


def record(
    *,
    action: str,
    actor: Actor | None = None,
    customer_id: UUID | None = None,
    target: object = "",
    details: Mapping[str, Value] | None = None,
) -> BillingAudit:
    """Add an entry in the caller's transaction; last, for whoever writes next waits for its end.

    `action` is `noun.past_verb`. The log line carries the hash away from this database: a chain
    that was written anew from there on no longer ends in what the logs have.
    """
    entry = BillingAudit.objects.create(
        action=action,
        actor_id=actor.user_id if actor else None,
        customer_id=customer_id,
        target=str(target)[:200],
        details=dict(details or {}),
    )
    log.info("billing_audit.recorded", seq=entry.seq, hash=bytes(entry.hash).hex(), action=action)
    return entry
