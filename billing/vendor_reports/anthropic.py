"""Anthropic's usage and cost reports.

Amounts are decimal strings in cents; the priority tier has no cost here; ids are null for the
default workspace and for the vendor's own workbench.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final, Generic, TypeVar

import msgspec

from billing.types import UnitClass
from billing.vendor_reports.buckets import Count, Page, charged, used
from billing.vendor_reports.values import Charge, Report, Usage, finite, require_dollars
from ideplatform.kit import money

R = TypeVar("R")
_CENTS: Final = Decimal(-2)  # a power of ten
_CLASSES: Final = {
    "uncached_input_tokens": UnitClass.INPUT,
    "cache_read_input_tokens": UnitClass.CACHE_READ,
    "cache_creation.ephemeral_5m_input_tokens": UnitClass.CACHE_WRITE_5M,
    "cache_creation.ephemeral_1h_input_tokens": UnitClass.CACHE_WRITE_1H,
    "output_tokens": UnitClass.OUTPUT,
}


class _Written(msgspec.Struct):
    ephemeral_5m_input_tokens: Count = 0
    ephemeral_1h_input_tokens: Count = 0


class _ServerTools(msgspec.Struct):
    web_search_requests: Count = 0


class _Used(msgspec.Struct):
    uncached_input_tokens: Count = 0
    cache_read_input_tokens: Count = 0
    cache_creation: _Written | None = None
    output_tokens: Count = 0
    server_tool_use: _ServerTools | None = None
    api_key_id: str | None = None
    workspace_id: str | None = None
    model: str | None = None
    service_tier: str | None = None


class _Cost(msgspec.Struct):
    amount: Decimal
    currency: str
    cost_type: str | None = None
    token_type: str | None = None
    model: str | None = None
    service_tier: str | None = None
    workspace_id: str | None = None
    description: str | None = None


class _Bucket(msgspec.Struct, Generic[R]):
    starting_at: datetime
    results: list[R]

    @property
    def day(self) -> date:
        begun = self.starting_at
        return (begun if begun.tzinfo else begun.replace(tzinfo=UTC)).astimezone(UTC).date()


def usage(raw: bytes) -> Report:
    """`organizations/usage_report/messages`; raises Malformed."""
    return used(raw, Page[_Bucket[_Used]], _usages)


def costs(raw: bytes) -> Report:
    """`organizations/cost_report`; raises Malformed."""
    return charged(raw, Page[_Bucket[_Cost]], _charge)


def _usages(day: date, used: _Used) -> Iterator[Usage]:
    written = used.cache_creation or _Written()
    tools = used.server_tool_use or _ServerTools()
    quantities = {
        UnitClass.INPUT: used.uncached_input_tokens,
        UnitClass.CACHE_READ: used.cache_read_input_tokens,
        UnitClass.CACHE_WRITE_5M: written.ephemeral_5m_input_tokens,
        UnitClass.CACHE_WRITE_1H: written.ephemeral_1h_input_tokens,
        UnitClass.OUTPUT: used.output_tokens,
        UnitClass.WEB_SEARCH: tools.web_search_requests,
    }
    for unit_class, quantity in quantities.items():
        if quantity:
            yield Usage(
                day=day,
                model=used.model or "",
                key=used.api_key_id or "",
                project=used.workspace_id or "",
                tier=used.service_tier or "",
                unit_class=unit_class,
                quantity=quantity,
            )


def _charge(day: date, cost: _Cost) -> Charge:
    require_dollars(cost.currency)
    kind = cost.cost_type or ""
    search = UnitClass.WEB_SEARCH if kind == "web_search" else None
    return Charge(
        day=day,
        amount=money.EXACT.scaleb(finite(cost.amount), _CENTS),
        label=cost.description or kind,
        project=cost.workspace_id or "",
        model=cost.model,
        tier=cost.service_tier,
        unit_class=_CLASSES.get(cost.token_type or "", search),
    )
