"""Google's billing export: rows of a BigQuery table, hour by hour, credits apart and negative.

A SKU's description names class and model in words; rows of a day still arrive for five days.
Rows that a person downloaded (a list) and the answer of BigQuery (`rows` of one JSON column) are
both read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final

import msgspec

from billing.types import UnitClass
from billing.vendor_reports.values import Charge, Malformed, Report, Usage, decode, finite, whole
from ideplatform.kit import money

_SKU: Final = re.compile(
    r"(?:generate|embed)[ _]content (?P<what>.*?)token count (?:for )?(?P<model>[\w.-][ \w.-]*)",
    re.IGNORECASE,
)
# What may stand behind the model's name without being part of it.
_BEHIND: Final = re.compile(
    r"( (batch|flex|priority|short|long|context|caching|thinking|text|input|output))+$"
)
_COUNTED: Final = "count"


class _Project(msgspec.Struct):
    id: str | None = None


class _Sku(msgspec.Struct):
    description: str


class _Amount(msgspec.Struct):
    amount: Decimal
    unit: str = ""


class _Credit(msgspec.Struct):
    amount: Decimal
    name: str = ""


class _Row(msgspec.Struct):
    sku: _Sku
    usage_start_time: datetime
    cost: Decimal
    currency: str
    usage: _Amount | None = None
    project: _Project | None = None
    currency_conversion_rate: Decimal | None = None
    credits: list[_Credit] = []
    cost_type: str = "regular"


class _Field(msgspec.Struct):
    v: str


class _Wrapped(msgspec.Struct):
    f: tuple[_Field]


class _Answer(msgspec.Struct):
    rows: list[_Wrapped] = []


def rows(raw: bytes) -> Report:
    """Rows of the standard usage cost export; raises Malformed."""
    usages: list[Usage] = []
    charges: list[Charge] = []
    for row in _rows(raw):
        usages += _usages(row)
        charges += _charges(row)
    return Report(usages=tuple(usages), charges=tuple(charges))


def _rows(raw: bytes) -> list[_Row]:
    if raw.lstrip()[:1] == b"[":
        return decode(raw, list[_Row])
    return [decode(one.f[0].v.encode(), _Row) for one in decode(raw, _Answer).rows]


def _usages(row: _Row) -> Iterator[Usage]:
    model, unit_class = _named(row.sku.description)
    counted = row.usage
    if unit_class is None or counted is None or counted.unit != _COUNTED:
        return
    quantity = whole(counted.amount)
    if quantity:
        yield Usage(
            day=_day(row.usage_start_time),
            model=model,
            key="",
            project=_project(row),
            tier=_tier(row.sku.description),
            unit_class=unit_class,
            quantity=quantity,
        )


def _charges(row: _Row) -> Iterator[Charge]:
    model, unit_class = _named(row.sku.description)
    is_usage = row.cost_type == "regular"
    yield Charge(
        day=_day(row.usage_start_time),
        amount=_dollars(row, row.cost),
        label=row.sku.description if is_usage else f"{row.cost_type}: {row.sku.description}",
        project=_project(row),
        model=model if is_usage and unit_class is not None else None,
        tier=_tier(row.sku.description) if is_usage and unit_class is not None else None,
        unit_class=unit_class if is_usage else None,
    )
    for credit in row.credits:
        yield Charge(
            day=_day(row.usage_start_time),
            amount=_dollars(row, credit.amount),
            label=credit.name or "credit",
            project=_project(row),
        )


def _named(description: str) -> tuple[str, UnitClass | None]:
    found = _SKU.search(description)
    if found is None:
        return "", None
    model = _BEHIND.sub("", found["model"].strip().lower()).replace(" ", "-")
    what = found["what"].lower()
    if "cache" in what:
        return model, UnitClass.CACHE_READ
    return model, UnitClass.OUTPUT if "output" in what else UnitClass.INPUT


def _tier(description: str) -> str:
    words = description.lower()
    return next((name for name in ("batch", "flex", "priority") if name in words), "standard")


def _dollars(row: _Row, amount: Decimal) -> Decimal:
    """The row's own rate: units of its currency per US dollar."""
    rate = row.currency_conversion_rate
    if row.currency.upper() == "USD":
        return finite(amount)
    if rate is None or not rate.is_finite() or rate <= 0:
        raise Malformed("a row in another currency has no rate")
    return money.EXACT.divide(finite(amount), rate)


def _project(row: _Row) -> str:
    return (row.project.id if row.project else None) or ""


def _day(moment: datetime) -> date:
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC).date()
