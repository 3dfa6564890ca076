"""Exports: only who asked for one sees it."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Q, QuerySet

from accounts.services import access
from accounts.types import Actor, Permission
from billing.models import Export
from ideplatform.kit import paging
from ideplatform.kit.errors import NotFound
from ideplatform.kit.paging import Page


def exports(actor: Actor, *, cursor: str = "", limit: int = paging.DEFAULT_LIMIT) -> Page[Export]:
    """The actor's exports, newest first; those of a key are its own alone."""
    return paging.page(
        _of(actor),
        order=("-created_at", "-id"),
        scope=f"exports:{actor.user_id}:{actor.api_key_id}",
        cursor=cursor,
        limit=limit,
    )


def export(actor: Actor, export_id: UUID) -> Export:
    """One of the actor's; raises NotFound."""
    found = _of(actor).filter(pk=export_id).first()
    if found is None:
        raise NotFound
    return found


def _of(actor: Actor) -> QuerySet[Export]:
    access.authorise_listing(actor, Permission.BILLING_VIEW)
    own = Q() if actor.is_session else Q(api_key_id=actor.api_key_id)
    return Export.objects.filter(own, user=actor.user_id)
