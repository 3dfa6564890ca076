"""Usage events, row by row: pages for people, chunks for exports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from typing import Final

from django.db.models import Q, QuerySet

from accounts.types import Actor
from billing.models import UsageEvent
from billing.selectors import reach
from billing.types import UsageFilters
from ideplatform.kit import paging
from ideplatform.kit.errors import InvalidInput, NotFound
from ideplatform.kit.paging import Page

MOST: Final = 500
CHUNK: Final = 1_000
_ORDER: Final = ("-occurred_at", "-id")


def usage_page(
    actor: Actor, filters: UsageFilters, *, cursor: str = "", limit: int = paging.DEFAULT_LIMIT
) -> Page[UsageEvent]:
    """The newest events first, at most 500 a page.

    Raises NotFound for foreign ids, and for a cursor of another list: it names a foreign row.
    """
    rows = reach.events(actor, filters)
    try:
        return paging.page(
            rows, order=_ORDER, scope=_scope(actor, filters), cursor=cursor, limit=min(limit, MOST)
        )
    except InvalidInput:
        raise NotFound from None


def usage_chunks(actor: Actor, filters: UsageFilters) -> Iterator[list[UsageEvent]]:
    """All of them, 1,000 at a time: each chunk is one short query, so memory stays bounded.

    The rights are those of the first chunk's moment; ids are checked before it.
    """
    rows = reach.events(actor, filters).order_by(*_ORDER)
    return _chunks(rows)


def _chunks(rows: QuerySet[UsageEvent]) -> Iterator[list[UsageEvent]]:
    chunk = list(rows[:CHUNK])
    while chunk:
        yield chunk
        last = chunk[-1]
        older = Q(occurred_at__lt=last.occurred_at) | Q(
            occurred_at=last.occurred_at, id__lt=last.id
        )
        chunk = list(rows.filter(older, occurred_at__lte=last.occurred_at)[:CHUNK])


def _scope(actor: Actor, filters: UsageFilters) -> str:
    asked = [f"{field.name}={getattr(filters, field.name)}" for field in fields(filters)]
    return "&".join(["usage", str(actor.user_id), str(actor.api_key_id), *asked])
