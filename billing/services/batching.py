"""Reserving and settling calls for many callers at once: one transaction for all who are there.

A process has one reserve and one settle transaction in flight (see `lanes`). Units: USD, exact.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from billing.services import holds, prices, usage
from billing.services.lanes import Lane
from billing.services.prices import Tariff
from billing.types import Held, ProviderCallRecord, Reservation, Settlement
from ideplatform.kit.errors import PlatformError

MAX_RESERVES: Final = 5_000
MAX_SETTLES: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A call that wants its money. `quote` makes its reservation, by the tariff of the moment.

    Quoting is done with the batch, so that a call costs one hop and a batch one look at the tariff.
    """

    hold_id: UUID
    organization_id: UUID
    quote: Callable[[Tariff], Reservation]


async def reserve(asked: Asked) -> Held:
    """Reserve what a call may cost, in one transaction with everybody who asks meanwhile.

    Of callers who want the last money the one who asked first has it. A caller who goes away has
    reserved nothing. Raises as `holds.reserve` and `asked.quote` do; DatabaseDown (503), and
    Unavailable (503) when 5,000 wait.
    """
    return await _reserves.ask(asked)


async def settle(record: ProviderCallRecord) -> Settlement:
    """Record a call and charge its customer, exactly once, also when the caller goes away.

    Raises as `usage.settle` does; DatabaseDown (503), and Unavailable (503) when 10,000 wait: to
    be tried again.
    """
    return await _settles.ask(record)


def _reserve(batch: Sequence[Asked]) -> list[Held | Exception]:
    tariff = prices.tariff()
    quoted = [_quoted(asked, tariff) for asked in batch]
    calls = [one for one in quoted if isinstance(one, Reservation)]
    answers = iter(holds.reserve_many(calls))
    return [next(answers) if isinstance(one, Reservation) else one for one in quoted]


def _quoted(asked: Asked, tariff: Tariff) -> Reservation | Exception:
    try:
        return asked.quote(tariff)
    except PlatformError as refusal:
        return refusal


def _void(left: Sequence[Asked]) -> None:
    holds.void_many([asked.hold_id for asked in left])


_reserves: Final = Lane[Asked, Held](
    "billing-reserve",
    _reserve,
    payer=lambda asked: asked.organization_id,
    capacity=MAX_RESERVES,
    undo=_void,
)
_settles: Final = Lane[ProviderCallRecord, Settlement](
    "billing-settle",
    usage.settle_many,
    payer=lambda record: record.organization_id,
    capacity=MAX_SETTLES,
)
