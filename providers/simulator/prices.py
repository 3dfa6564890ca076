"""What a call costs, by a second and independent reading of the price list.

The lists are those of ``billing/data`` (``model_prices_openai_anthropic_gemini.json`` and
``simulator_prices.json``): USD per token as exact decimal strings, keys = component
[+ cache lifetime] [+ context tier] [+ service tier].
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import msgspec

from .ledger import Row

_COMPONENTS = {
    "input": "input_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write_5m": "cache_creation_input_token_cost",
    "cache_write_30m": "cache_creation_input_token_cost",
    "cache_write_1h": "cache_creation_input_token_cost_above_1hr",
    "cache_write_12h": "cache_creation_input_token_cost_above_12hr",
    "output": "output_cost_per_token",
    "output_reasoning": "output_cost_per_reasoning_token",
}
_TIERS = {"standard": "", "flex": "_flex", "priority": "_priority", "batch": "_batches"}
_CONTEXT = re.compile(r"_above_(\d+)k_tokens")


_FOLDERS = {"openai": "openai", "anthropic": "anthropic", "google": "gemini"}


class _PriceFile(msgspec.Struct):
    models: dict[str, dict[str, object]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One class of tokens of one call."""

    token_class: str
    quantity: int
    unit_price_usd: Decimal

    @property
    def amount_usd(self) -> Decimal:
        return self.quantity * self.unit_price_usd


class PriceList:
    """Unit prices by model. A model that is not listed costs nothing."""

    def __init__(self, models: Mapping[str, Mapping[str, object]]) -> None:
        self._models = models

    @classmethod
    def load(cls, paths: Sequence[Path]) -> "PriceList":
        """Read price files, later ones over earlier ones; raises OSError for a missing one."""
        models: dict[str, dict[str, object]] = {}
        for path in paths:
            models |= msgspec.json.decode(path.read_bytes(), type=_PriceFile).models
        return cls(models)

    def lines(self, row: Row) -> list[Line]:
        """The priced token classes of a call, in a fixed order; unpriced classes are left out."""
        prices = self._of(row)
        context = _context(prices, row.tokens.prompt)
        lines: list[Line] = []
        for name, quantity in quantities(row).items():
            unit = _unit(prices, _COMPONENTS[name], context, _TIERS[row.service_tier])
            if unit is not None:
                lines.append(Line(token_class=name, quantity=quantity, unit_price_usd=unit))
        return lines

    def _of(self, row: Row) -> Mapping[str, object]:
        named = f"{_FOLDERS[row.vendor]}/{row.model}"
        return self._models.get(named) or self._models.get(row.model) or {}


def quantities(row: Row) -> dict[str, int]:
    """What a call used, by token class, in a fixed order."""
    counts = {name: getattr(row.tokens, name) for name in _COMPONENTS}
    return {name: count for name, count in counts.items() if count}


def _context(prices: Mapping[str, object], prompt_tokens: int) -> str:
    """The suffix of the highest context tier the prompt exceeds (strictly)."""
    tiers = {int(match[1]) for key in prices if (match := _CONTEXT.search(key))}
    passed = [tier for tier in tiers if prompt_tokens > tier * 1_000]
    return f"_above_{max(passed)}k_tokens" if passed else ""


def _unit(prices: Mapping[str, object], component: str, context: str, tier: str) -> Decimal | None:
    """The most specific price that is listed; reasoning falls back to output."""
    for suffix in (context + tier, tier, context, ""):
        if isinstance(price := prices.get(component + suffix), str):
            return Decimal(price)
    if component == _COMPONENTS["output_reasoning"]:
        return _unit(prices, _COMPONENTS["output"], context, tier)
    return None
