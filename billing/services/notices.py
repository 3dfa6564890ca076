"""Putting notices away."""

from __future__ import annotations

from uuid import UUID

from django.db.models.functions import Now

from accounts.types import Actor
from billing.selectors import notices as reads
from ideplatform.kit.errors import NotFound


def read(*, actor: Actor, notice_id: UUID) -> None:
    """Mark one of the actor's notices as read; idempotent. Raises NotFound."""
    found = reads.of_person(actor).filter(pk=notice_id)
    if not found.exists():
        raise NotFound
    found.filter(read_at__isnull=True).update(read_at=Now())
