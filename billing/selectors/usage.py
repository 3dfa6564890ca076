"""Usage events, row by row: pages for people, chunks for exports."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import fields
from typing import Any, Final, TypeAlias

from django.db.models import Q, QuerySet

from accounts.types import Actor
from billing.models import UsageEvent
from billing.selectors import reach
from billing.types import UsageFilters
from ideplatform.kit import paging
from ideplatform.kit.errors import InvalidInput, NotFound
from ideplatform.kit.paging import Page

MOST: Final = 500
CHUNK: Final = 5_000
Row: TypeAlias = tuple[Any, ...]
"""Some columns of an event, in their order."""
_Rows: TypeAlias = QuerySet[UsageEvent, Row]
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


def usage_chunks(
    actor: Actor, filters: UsageFilters, columns: Sequence[str]
) -> Iterator[list[Row]]:
    """All of them, 5,000 at a time: each chunk is one short query, so memory stays bounded.

    The rights are those of the first chunk's moment; ids are checked before it. `columns` have
    `occurred_at` and `id` among them: the next chunk begins after the last row's.
    """
    return _chunks(reach.branches(actor, filters), columns)


def usage_rows(actor: Actor, filters: UsageFilters, columns: Sequence[str]) -> Iterator[Row]:
    """All of them as they are at this moment, from a cursor of the database: one snapshot.

    Its connection is taken until the end, so this is for workers. Raises as `usage_page`.
    """
    rows = reach.events(actor, filters).order_by(*_ORDER)
    return rows.values_list(*columns).iterator(chunk_size=CHUNK)


def exceeds(actor: Actor, filters: UsageFilters, most: int) -> bool:
    """Whether there are more than `most`; raises as `usage_page`."""
    return bool(reach.events(actor, filters).order_by()[most : most + 1].values("pk"))


def _chunks(
    branches: Sequence[QuerySet[UsageEvent]], columns: Sequence[str]
) -> Iterator[list[Row]]:
    moment, number = columns.index("occurred_at"), columns.index("id")
    picked = [rows.values_list(*columns) for rows in branches]
    chunk = _newest(picked)
    while chunk:
        yield chunk
        last = chunk[-1]
        older = Q(occurred_at__lt=last[moment]) | Q(occurred_at=last[moment], id__lt=last[number])
        chunk = _newest([one.filter(older, occurred_at__lte=last[moment]) for one in picked])


def _newest(branches: Sequence[_Rows]) -> list[Row]:
    """The newest of all branches: each gives at most a chunk, in the order of its own index."""
    if not branches:
        return []
    first, *others = (one.order_by(*_ORDER)[:CHUNK] for one in branches)
    merged = first.union(*others, all=True).order_by(*_ORDER)[:CHUNK] if others else first
    return list(merged)


def _scope(actor: Actor, filters: UsageFilters) -> str:
    asked = [f"{field.name}={getattr(filters, field.name)}" for field in fields(filters)]
    return "&".join(["usage", str(actor.user_id), str(actor.api_key_id), *asked])
