"""What billing told a person, and what of it they have not read."""

from __future__ import annotations

from typing import Final
from uuid import UUID

from django.db.models import QuerySet

from accounts.services import access
from accounts.types import Actor, Permission
from billing.models import Notice

MOST: Final = 20


def unread(actor: Actor, organization_id: UUID | None = None) -> list[Notice]:
    """The actor's latest unread notices, at most 20, with their alerts and budgets.

    Of one organization: raises NotFound, Forbidden.
    """
    rows = of_person(actor).filter(read_at__isnull=True)
    if organization_id is not None:
        access.authorise(actor, Permission.BILLING_VIEW, organization_id)
        rows = rows.filter(customer=organization_id)
    latest = rows.select_related("alert__period__budget").order_by("-created_at", "-pk")
    return list(latest[:MOST])


def of_person(actor: Actor) -> QuerySet[Notice]:
    """All notices of the actor; keys have none."""
    access.authorise_self(actor)
    return Notice.objects.filter(user=actor.user_id)
