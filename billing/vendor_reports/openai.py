"""OpenAI's organization usage and costs.

Input includes what came from the cache. Costs are JSON floats per day and line item; they seldom
say key or tier.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Final, Generic, TypeVar

import msgspec

from billing.types import UnitClass
from billing.vendor_reports.buckets import Count, Page, charged, used
from billing.vendor_reports.values import (
    Charge,
    Malformed,
    Report,
    Usage,
    finite,
    require_dollars,
)

R = TypeVar("R")
_LARGEST_TIME: Final = 253_402_300_799  # the year 9999


class _Used(msgspec.Struct):
    input_tokens: Count = 0
    input_cached_tokens: Count = 0
    input_audio_tokens: Count = 0
    output_tokens: Count = 0
    output_audio_tokens: Count = 0
    project_id: str | None = None
    api_key_id: str | None = None
    model: str | None = None
    batch: bool | None = None
    service_tier: str | None = None


class _Amount(msgspec.Struct):
    value: Decimal
    currency: str


class _Cost(msgspec.Struct):
    amount: _Amount
    line_item: str | None = None
    project_id: str | None = None
    api_key_id: str | None = None


class _Bucket(msgspec.Struct, Generic[R]):
    start_time: Annotated[int, msgspec.Meta(ge=0, le=_LARGEST_TIME)]
    results: list[R]

    @property
    def day(self) -> date:
        return datetime.fromtimestamp(self.start_time, UTC).date()


def usage(raw: bytes) -> Report:
    """`organization/usage/completions` and `/embeddings`; raises Malformed."""
    return used(raw, Page[_Bucket[_Used]], _usages)


def costs(raw: bytes) -> Report:
    """`organization/costs`; raises Malformed."""
    return charged(raw, Page[_Bucket[_Cost]], _charge)


def _usages(day: date, used: _Used) -> Iterator[Usage]:
    if used.input_cached_tokens > used.input_tokens:
        raise Malformed("more was cached than read")
    quantities = {
        UnitClass.INPUT: used.input_tokens - used.input_cached_tokens,
        UnitClass.CACHE_READ: used.input_cached_tokens,
        UnitClass.AUDIO_INPUT: used.input_audio_tokens,
        UnitClass.OUTPUT: used.output_tokens,
        UnitClass.AUDIO_OUTPUT: used.output_audio_tokens,
    }
    for unit_class, quantity in quantities.items():
        if quantity:
            yield Usage(
                day=day,
                model=used.model or "",
                key=used.api_key_id or "",
                project=used.project_id or "",
                tier="batch" if used.batch else used.service_tier or "",
                unit_class=unit_class,
                quantity=quantity,
            )


def _charge(day: date, cost: _Cost) -> Charge:
    require_dollars(cost.amount.currency)
    item = cost.line_item or ""
    model, _, rest = item.partition(", ")
    unit_class = _class_of(rest or item)
    return Charge(
        day=day,
        amount=finite(cost.amount.value),
        label=item,
        project=cost.project_id,
        key=cost.api_key_id,
        model=model if rest else None,
        tier="batch" if "batch" in rest.lower() else None,
        unit_class=unit_class,
    )


def _class_of(item: str) -> UnitClass | None:
    """`gpt-5, cached input`: what stands behind the model says the class."""
    words = item.lower()
    side = UnitClass.OUTPUT if "output" in words else UnitClass.INPUT if "input" in words else None
    if "cached" in words:
        return UnitClass.CACHE_READ
    if "cache write" in words:
        return UnitClass.INPUT
    if "audio" in words and side is not None:
        return UnitClass.AUDIO_OUTPUT if side is UnitClass.OUTPUT else UnitClass.AUDIO_INPUT
    if "web search" in words:
        return UnitClass.WEB_SEARCH
    return side
