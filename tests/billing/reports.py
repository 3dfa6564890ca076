"""Builders of vendors' report pages, in the shapes of billing/data, and of comparisons."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

from billing.comparison import Cell, Context, Count
from billing.models import ReconRun
from billing.services import prices, reconcile
from billing.services.reconcile import Asking
from billing.types import ReconSource, ReportKind
from billing.vendor_reports import Charge, Report, Usage

SHAPES: Mapping[str, Any] = json.loads(
    (prices.DATA / "provider_usage_report_shapes.json").read_text(), parse_float=Decimal
)
DAY = date(2026, 11, 1)
PRICE = Decimal("0.000003")


def page(name: str) -> bytes:
    """A page of the shapes' file, as a vendor would send it."""
    return json.dumps(SHAPES[name], default=float).encode()


def seconds(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def a_cell(model: str = "gpt-4o-mini", *, day: date = DAY, unit: str = "input") -> Cell:
    return Cell(day=day, model=model, tier="standard", unit_class=unit)


def a_count(quantity: int = 1_000, cost: str | None = "0.003") -> Count:
    return Count(quantity=quantity, cost=None if cost is None else Decimal(cost))


def a_context(**values: Any) -> Context:
    """Days that are settled, models that are known, one price for everything."""
    given: dict[str, Any] = {
        "provider_type": "openai",
        "account_ref": "",
        "settled_before": DAY + timedelta(days=300),
        "unit_price": lambda _cell: PRICE,
        "knows_model": lambda _cell: True,
    }
    return Context(**given | values)


def the_report(counts: Mapping[Cell, Count], **names: str) -> Report:
    """A report that says exactly this."""
    return Report(
        usages=tuple(
            Usage(
                day=cell.day,
                model=cell.model,
                key=names.get("key", cell.key),
                project=names.get("project", cell.project),
                tier=cell.tier,
                unit_class=cell.unit_class,  # type: ignore[arg-type]  # the enum's value
                quantity=count.quantity or 0,
            )
            for cell, count in counts.items()
            if count.quantity
        ),
        charges=tuple(
            Charge(
                day=cell.day,
                amount=count.cost or Decimal(0),
                label=f"{cell.model}, {cell.unit_class}",
                project=names.get("project", cell.project),
                model=cell.model,
                unit_class=cell.unit_class,  # type: ignore[arg-type]  # the enum's value
            )
            for cell, count in counts.items()
        ),
    )


def compared(provider_id: UUID) -> ReconRun:
    """A comparison in which a line is open: the vendor tells of usage that nobody here had."""
    asking = Asking(
        provider_id=provider_id,
        starts_on=DAY,
        ends_on=DAY + timedelta(days=1),
        source=ReconSource.UPLOAD,
        pages=((ReportKind.OPENAI_COSTS, page("openai_costs")),),
    )
    (asked,) = reconcile.request(asking=asking, actor=None)
    return asked.run
