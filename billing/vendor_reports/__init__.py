"""Vendors' usage and cost reports, read from their pages. Pure.

Units: whole tokens (or searches), USD, UTC days. Amounts are read from the digits of the text,
never through a float. Shapes: billing/data/provider_usage_report_shapes.json.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from billing.types import ReportKind, UnitClass
from billing.vendor_reports import anthropic, google, openai
from billing.vendor_reports.values import Charge, Malformed, Report, Usage

__all__ = ["Charge", "Malformed", "Report", "Usage", "folded", "kinds_of", "read", "tier"]

_READERS: Final[Mapping[ReportKind, Callable[[bytes], Report]]] = {
    ReportKind.OPENAI_USAGE: openai.usage,
    ReportKind.OPENAI_EMBEDDINGS: openai.usage,
    ReportKind.OPENAI_COSTS: openai.costs,
    ReportKind.ANTHROPIC_USAGE: anthropic.usage,
    ReportKind.ANTHROPIC_COSTS: anthropic.costs,
    ReportKind.GOOGLE_ROWS: google.rows,
}
_OPENAI: Final = (ReportKind.OPENAI_USAGE, ReportKind.OPENAI_EMBEDDINGS, ReportKind.OPENAI_COSTS)
_KINDS: Final = {
    "openai": _OPENAI,
    "openai_compatible": _OPENAI,
    "anthropic": (ReportKind.ANTHROPIC_USAGE, ReportKind.ANTHROPIC_COSTS),
    "google": (ReportKind.GOOGLE_ROWS,),
}
# Reports tell fewer classes apart than usage does: ours are added up as the vendor's are.
_INPUT: Final = dict.fromkeys(
    (UnitClass.TOOL_INPUT, UnitClass.EMBEDDING, UnitClass.IMAGE_INPUT), UnitClass.INPUT
)
_OUTPUT: Final = dict.fromkeys(
    (UnitClass.OUTPUT_REASONING, UnitClass.IMAGE_OUTPUT), UnitClass.OUTPUT
)
_WRITTEN: Final = dict.fromkeys(
    (
        UnitClass.CACHE_WRITE_5M,
        UnitClass.CACHE_WRITE_30M,
        UnitClass.CACHE_WRITE_1H,
        UnitClass.CACHE_WRITE_12H,
    ),
    UnitClass.INPUT,
)
_FOLDS: Final[Mapping[str, Mapping[UnitClass, UnitClass]]] = {
    "openai": _INPUT | _OUTPUT | _WRITTEN,
    "openai_compatible": _INPUT | _OUTPUT | _WRITTEN,
    "anthropic": _INPUT | _OUTPUT,
    "google": _INPUT | _OUTPUT,
}


def kinds_of(provider_type: str) -> tuple[ReportKind, ...]:
    """The reports that make up a whole one; none for a vendor that publishes none."""
    return _KINDS.get(provider_type, ())


def folded(provider_type: str, unit_class: UnitClass) -> UnitClass:
    """The class under which the vendor's report counts one of ours."""
    return _FOLDS.get(provider_type, {}).get(unit_class, unit_class)


def tier(name: str) -> str:
    """A service tier as all of us call it: OpenAI's `default` is the standard one."""
    return "standard" if name in ("", "default", "auto", "on_demand") else name


def read(pages: Iterable[tuple[ReportKind, bytes]]) -> Report:
    """The report that some pages make up; raises Malformed for one that is not of its kind."""
    usages: list[Usage] = []
    charges: list[Charge] = []
    for kind, raw in pages:
        page = _READERS[kind](raw)
        usages += page.usages
        charges += page.charges
    return Report(usages=tuple(usages), charges=tuple(charges))
