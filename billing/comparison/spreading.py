"""A difference spread over the events of a cell. Pure.

What we counted too much is taken from estimates first, when they can be the cause; customers share
in proportion to what they had, and one customer's largest events give first. What we counted too
little is added to each customer's largest event, estimates first as well.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import ROUND_DOWN, Decimal, localcontext
from uuid import UUID

from ideplatform.kit import money


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """An event's part of a cell; cost in USD."""

    event_id: UUID
    customer_id: UUID
    is_estimated: bool
    quantity: int
    cost: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """What is added to an event's part, signed."""

    event_id: UUID
    quantity: int
    cost: Decimal


def spread(quantity: int, cost: Decimal, parts: Sequence[Part]) -> list[Delta]:
    """`quantity` and `cost` (signed, USD) over the events; no part falls below zero.

    Adds up exactly, unless more is taken than there is: then nothing is left.
    """
    pool = _pool(quantity, cost, parts)
    with localcontext(money.EXACT):
        quantities = _shared(quantity, pool, [Decimal(part.quantity) for part in pool], whole=True)
        costs = _shared(cost, pool, [part.cost for part in pool], whole=False)
    found = [
        Delta(event_id=part.event_id, quantity=int(count), cost=amount)
        for part, count, amount in zip(pool, quantities, costs, strict=True)
    ]
    return [delta for delta in found if delta.quantity or delta.cost]


def _pool(quantity: int, cost: Decimal, parts: Sequence[Part]) -> Sequence[Part]:
    estimated = [part for part in parts if part.is_estimated]
    had = sum(part.quantity for part in estimated)
    worth = money.total([part.cost for part in estimated])
    takes_too_much = had < -quantity or worth < -cost
    return parts if not estimated or takes_too_much else estimated


def _shared(
    total: Decimal | int, parts: Sequence[Part], had: Sequence[Decimal], *, whole: bool
) -> list[Decimal]:
    """A total over the parts: by customer in proportion, then the largest of each first."""
    found = [money.ZERO] * len(parts)
    owners: dict[UUID, list[int]] = defaultdict(list)
    for index, part in enumerate(parts):
        owners[part.customer_id].append(index)
    held = {owner: money.total([had[i] for i in members]) for owner, members in owners.items()}
    wanted = abs(Decimal(total))
    for owner, share in _proportional(wanted, held, whole=whole):
        members = sorted(owners[owner], key=lambda i: (-had[i], str(parts[i].event_id)))
        if total > 0:
            found[members[0]] = share
        else:
            for index, taken in _greedy(share, members, had):
                found[index] = -taken
    return found


def _proportional(
    wanted: Decimal, held: dict[UUID, Decimal], *, whole: bool
) -> Iterable[tuple[UUID, Decimal]]:
    """Each owner's share of what is wanted.

    What rounding down left goes to the last owners who have more than their share, so that nobody
    is asked for what another one still has; the last of all gets what is beyond everything.
    """
    everything = money.total(list(held.values()))
    step = Decimal(1) if whole else money.PLACES
    shares = {
        owner: (wanted * held[owner] / everything).quantize(step, ROUND_DOWN)
        if everything
        else money.ZERO
        for owner in sorted(held, key=str)
    }
    left = wanted - money.total(list(shares.values()))
    for owner in reversed(shares):
        more = min(left, max(held[owner] - shares[owner], money.ZERO))
        shares[owner], left = shares[owner] + more, left - more
    if shares:
        shares[next(reversed(shares))] += left
    return shares.items()


def _greedy(
    share: Decimal, members: Sequence[int], had: Sequence[Decimal]
) -> Iterable[tuple[int, Decimal]]:
    left = share
    for index in members:
        taken = min(left, had[index])
        left = money.total([left, -taken])
        yield index, taken
