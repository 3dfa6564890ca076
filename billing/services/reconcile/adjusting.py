"""Which events a line's difference is of, and how much of it each one is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from uuid import UUID

from billing.comparison import Finding
from billing.comparison.spreading import Part, spread
from billing.models import ReconLine
from billing.services.reconcile import books
from billing.services.reconcile.books import Share
from billing.types import LineClass, UnitClass
from ideplatform.kit import money

_NOT_OURS = (
    LineClass.FOREIGN_TRAFFIC,
    LineClass.UNKNOWN_MODEL,
    LineClass.CREDIT_OR_DISCOUNT,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What one event turns out to be otherwise; cost in USD, signed."""

    event_id: UUID
    is_estimated: bool
    quantities: Mapping[UnitClass, int]
    cost: Decimal


def steps(line: ReconLine, found: Finding) -> list[Step]:
    """The corrections that bring our events to the vendor's figures; none where we have no events.

    What the vendor counted more is put on events that we estimated, never on exact ones: those were
    counted by the vendor itself.
    """
    if line.line_class in _NOT_OURS:
        return []
    shares = books.shares(line.provider_id, line.run.provider_type, found.cell)
    if found.quantity_off > 0:
        shares = [share for share in shares if share.is_estimated]
    parts = [_part(share) for share in shares]
    by_event = {share.event_id: share for share in shares}
    return [
        Step(
            event_id=delta.event_id,
            is_estimated=by_event[delta.event_id].is_estimated,
            quantities=_by_class(by_event[delta.event_id], delta.quantity),
            cost=delta.cost,
        )
        for delta in spread(found.quantity_off, found.unbooked, parts)
    ]


def _part(share: Share) -> Part:
    return Part(
        event_id=share.event_id,
        customer_id=share.customer_id,
        is_estimated=share.is_estimated,
        quantity=share.quantity,
        cost=money.quantise(share.cost or money.ZERO),
    )


def _by_class(share: Share, quantity: int) -> dict[UnitClass, int]:
    """A signed quantity over the event's own classes, which the vendor counts as one."""
    if quantity > 0:
        return {max(share.quantities, key=lambda name: share.quantities[name]): quantity}
    left, found = -quantity, {}
    for name, had in sorted(share.quantities.items(), key=lambda pair: (-pair[1], pair[0])):
        taken = min(left, had)
        left -= taken
        if taken:
            found[name] = -taken
    return found
