"""Reads of payments, for those who manage an organization's money.

Without an organization named, it is the actor's own.
"""

from __future__ import annotations

from uuid import UUID

from accounts.selectors import personal_organization_id
from accounts.services import access
from accounts.types import Actor, Permission
from billing.models import AutoRecharge, TopUp
from ideplatform.kit import paging
from ideplatform.kit.errors import NotFound
from ideplatform.kit.paging import Page


def top_ups_page(
    actor: Actor, organization_id: UUID | None = None, *, cursor: str, limit: int
) -> Page[TopUp]:
    """The organization's top-ups, newest first; raises NotFound, Forbidden."""
    chosen = _chosen(actor, organization_id)
    return paging.page(
        TopUp.objects.filter(customer=chosen),
        order=("-created_at", "-id"),
        scope=f"top_ups:{chosen}",
        cursor=cursor,
        limit=limit,
    )


def top_up_of_checkout(actor: Actor, organization_id: UUID, session_id: str) -> TopUp:
    """The purchase that a page of Stripe was opened for; raises NotFound, Forbidden."""
    rows = TopUp.objects.filter(customer=_chosen(actor, organization_id))
    found = rows.filter(checkout_session=session_id).first()
    if found is None:
        raise NotFound
    return found


def auto_recharge(actor: Actor, organization_id: UUID | None = None) -> AutoRecharge | None:
    """The organization's auto-recharge, None when it was never set; raises NotFound, Forbidden."""
    return AutoRecharge.objects.filter(pk=_chosen(actor, organization_id)).first()


def _chosen(actor: Actor, organization_id: UUID | None) -> UUID:
    chosen = organization_id or personal_organization_id(actor)
    access.authorise(actor, Permission.BILLING_MANAGE, chosen)
    return chosen
