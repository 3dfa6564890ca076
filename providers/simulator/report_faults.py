"""Faults planted in the reports, so that whoever reads them can be seen to find each.

``POST /__ledger`` puts calls into the ledger as if they had been made: a call too many, too few, on
the other side of midnight, of another key or an unknown model is planted there. Here are the faults
that no call can make: other amounts, credits, pages that are refused, cut or broken.
"""

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from .ledger import Row
from .script import Count, Status, Usage

Vendor = Literal["openai", "anthropic", "google"]


class Call(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A call that the vendor counted."""

    at: datetime
    vendor: Vendor
    model: str
    tokens: Usage
    operation: str = "chat"
    service_tier: Literal["standard", "flex", "priority", "batch"] = "standard"
    key_id: str = "key_posted"
    request_id: str | None = None

    def row(self) -> Row:
        return Row(
            seq=0,
            at=self.at if self.at.tzinfo else self.at.replace(tzinfo=UTC),
            vendor=self.vendor,
            operation=self.operation,
            path="/__ledger",
            model=self.model,
            service_tier=self.service_tier,
            request_id=self.request_id,
            key_id=self.key_id,
            status=200,
            outcome="complete",
            tokens=self.tokens,
        )


class Fault(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is wrong with a vendor's reports; what is left out is any."""

    vendor: Vendor
    day: date | None = None
    model: str | None = None
    factor: Decimal | None = None  # every amount, times this
    credit: Decimal | None = None  # given back, USD; negative
    status: Status | None = None  # the next reports are refused
    retry_after: Annotated[float, Meta(ge=0, le=86_400)] | None = None
    malformed: bool = False  # the next reports are broken JSON
    after_pages: Count = 0  # so many are answered well before
    times: Annotated[int, Meta(ge=1, le=1_000)] = 1  # how many are refused or broken


class Faults:
    """The planted faults; those of delivery wear off."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []
        self._served: dict[int, int] = {}

    def plant(self, faults: list[Fault]) -> None:
        self._faults += faults

    def clear(self) -> None:
        self._faults.clear()
        self._served.clear()

    def factor(self, vendor: str, day: date, model: str) -> Decimal:
        """By how much the amounts of a model are off on a day."""
        found = Decimal(1)
        for fault in self._of(vendor, day):
            if fault.factor is not None and fault.model in (None, model):
                found *= fault.factor
        return found

    def credits(self, vendor: str, day: date) -> list[Decimal]:
        return [fault.credit for fault in self._of(vendor, day) if fault.credit is not None]

    def of_delivery(self, vendor: str) -> Fault | None:
        """What happens to the report that is asked for now."""
        for index, fault in enumerate(self._faults):
            if fault.vendor == vendor and (fault.status is not None or fault.malformed):
                served = self._served.get(index, 0)
                self._served[index] = served + 1
                if fault.after_pages <= served < fault.after_pages + fault.times:
                    return fault
        return None

    def _of(self, vendor: str, day: date) -> Iterator[Fault]:
        return (f for f in self._faults if f.vendor == vendor and f.day in (None, day))


def read_calls(body: bytes) -> list[Row]:
    """Posted calls as rows; raises MsgspecError."""
    return [call.row() for call in msgspec.json.decode(body, type=list[Call])]


def read_faults(body: bytes) -> list[Fault]:
    """Posted faults; raises MsgspecError."""
    return msgspec.json.decode(body, type=list[Fault])
