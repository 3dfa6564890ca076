"""Reads a price list, completely or not at all (pure). Format: billing/data/README.md."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final

from billing.errors import PriceListRejected
from billing.types import PriceMatch, ServiceTier, UnitClass
from ideplatform.kit.errors import Pointer

PROVIDER_TYPES: Final = {
    "openai": "openai",
    "anthropic": "anthropic",
    "gemini": "google",
    "openai_compatible": "openai_compatible",
}
DESCRIPTIONS: Final = frozenset(
    {
        "deprecation_date",
        "litellm_provider",
        "max_input_tokens",
        "max_output_tokens",
        "mode",
        "output_vector_size",
        "source",
        "supports_prompt_caching",
        "supports_reasoning",
    }
)
_KEY: Final = re.compile(
    r"(?P<component>input_cost_per_token|output_cost_per_token|output_cost_per_reasoning_token"
    r"|cache_read_input_token_cost|cache_creation_input_token_cost)"
    r"(?:_above_(?P<lifetime>1hr|12hr))?"
    r"(?:_above_(?P<context_k>[1-9][0-9]{0,4})k_tokens)?"
    r"(?:_(?P<tier>batches|flex|priority|ultrafast|decisions))?"
)
_TIERS: Final = {tier.value: tier for tier in ServiceTier} | {"batches": ServiceTier.BATCH}
_PRICE: Final = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,15})?")

# The lifetime a write has when the key names none differs by vendor.
# Source: the SDK types of openai 3.54.0 (30 minutes, 12 hours) and anthropic 2.12.0 (5 minutes,
# 1 hour).
_OPENAI_WRITES: Final = {
    None: UnitClass.CACHE_WRITE_30M,
    "12hr": UnitClass.CACHE_WRITE_12H,
}
_CACHE_WRITES: Final[Mapping[str, Mapping[str | None, UnitClass]]] = {
    "openai": _OPENAI_WRITES,
    "openai_compatible": _OPENAI_WRITES,
    "anthropic": {None: UnitClass.CACHE_WRITE_5M, "1hr": UnitClass.CACHE_WRITE_1H},
    "google": {},
}
_CLASSES: Final = {
    "input_cost_per_token": UnitClass.INPUT,
    "output_cost_per_token": UnitClass.OUTPUT,
    "output_cost_per_reasoning_token": UnitClass.OUTPUT_REASONING,
    "cache_read_input_token_cost": UnitClass.CACHE_READ,
}


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class PriceKey:
    """What a price is for: at any moment a published key has at most one price."""

    provider_type: str
    match: str
    pattern: str
    service_tier: str
    region: str
    context_over_tokens: int
    unit_class: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceList:
    """The prices (USD per unit) and aliases of one or more files; `sources` says where from."""

    prices: Mapping[PriceKey, Decimal]
    sources: Mapping[PriceKey, str]
    aliases: Mapping[tuple[str, str], str]


def read(files: Mapping[str, str]) -> PriceList:
    """The price list of several files, by name and JSON text.

    Raises PriceListRejected with a pointer for each unknown component or suffix, each price that
    is not a decimal string, and each key that two entries price differently.
    """
    reading = _Reading()
    for name, text in sorted(files.items()):
        reading.file(name, text)
    if reading.faults:
        raise PriceListRejected(errors=reading.faults)
    return PriceList(prices=reading.prices, sources=reading.sources, aliases=reading.aliases)


class _Reading:
    def __init__(self) -> None:
        self.prices: dict[PriceKey, Decimal] = {}
        self.sources: dict[PriceKey, str] = {}
        self.aliases: dict[tuple[str, str], str] = {}
        self.faults: list[Pointer] = []
        self._files: dict[PriceKey, str] = {}

    def fault(self, at: str, detail: str) -> None:
        self.faults.append(Pointer(pointer=at, detail=detail))

    def file(self, name: str, text: str) -> None:
        try:
            content = json.loads(text, object_pairs_hook=_without_repeats)
        except ValueError:
            content = None
        if not isinstance(content, dict) or not isinstance(content.get("models"), dict):
            self.fault(f"/{name}", 'a price list is a JSON object with "models" and no key twice')
            return
        for model, entry in content["models"].items():
            self._model(name, model, entry)
        for provider, names in content.get("aliases", {}).items():
            self._aliases(f"/{name}/aliases/{provider}", provider, names)

    def _model(self, file: str, model: str, entry: object) -> None:
        at = f"/{file}/models/{_escaped(model)}"
        if not isinstance(entry, dict):
            self.fault(at, "a model is an object")
            return
        provider = entry.get("litellm_provider")
        provider_type = PROVIDER_TYPES.get(str(provider))
        if provider_type is None:
            self.fault(f"{at}/litellm_provider", "unknown provider")
            return
        source = str(entry.get("source", "")) or at
        found: dict[PriceKey, Decimal] = {}
        for key, value in entry.items():
            if key not in DESCRIPTIONS:
                self._price(f"{at}/{_escaped(key)}", provider_type, model, key, value, found)
        is_embedding = entry.get("mode") == "embedding"
        for price_key, price in _completed(found, is_embedding=is_embedding):
            self._keep(at, file, price_key, price, source)

    def _price(
        self,
        at: str,
        provider_type: str,
        model: str,
        key: str,
        value: object,
        found: dict[PriceKey, Decimal],
    ) -> None:
        unit_class, form = _class_of(provider_type, key)
        if unit_class is None or form is None:
            self.fault(at, "unknown price component or suffix")
            return
        price = _decimal(value)
        if price is None:
            self.fault(at, "a price is a decimal string, at most 15 places")
            return
        price_key = PriceKey(
            provider_type=provider_type,
            match=PriceMatch.EXACT,
            pattern=_served_name(model),
            service_tier=_TIERS[form["tier"] or ServiceTier.STANDARD],
            region="",
            context_over_tokens=int(form["context_k"] or 0) * 1000,
            unit_class=unit_class,
        )
        found[price_key] = price

    def _keep(self, at: str, file: str, key: PriceKey, price: Decimal, source: str) -> None:
        """Take a price; a list may name a model with and without its prefix: the dearer counts."""
        known = self.prices.get(key)
        if known is not None and known != price and self._files[key] != file:
            self.fault(at, f"{key.pattern} is priced differently in {self._files[key]}")
        if known is None or known < price:
            self.prices[key], self.sources[key] = price, source[:300]
            self._files[key] = file

    def _aliases(self, at: str, provider: str, names: object) -> None:
        provider_type = PROVIDER_TYPES.get(provider)
        if provider_type is None or not isinstance(names, dict):
            self.fault(at, "aliases are an object per known provider")
            return
        for alias, model in names.items():
            if not isinstance(model, str):
                self.fault(f"{at}/{_escaped(alias)}", "an alias names a model")
                continue
            self.aliases[provider_type, alias] = model


def _class_of(provider_type: str, key: str) -> tuple[UnitClass | None, re.Match[str] | None]:
    form = _KEY.fullmatch(key)
    if form is None:
        return None, None
    if form["component"] == "cache_creation_input_token_cost":
        return _CACHE_WRITES[provider_type].get(form["lifetime"]), form
    return (None if form["lifetime"] else _CLASSES[form["component"]]), form


def _completed(
    found: Mapping[PriceKey, Decimal], *, is_embedding: bool
) -> Iterator[tuple[PriceKey, Decimal]]:
    """The listed prices, and those that the list leaves to be understood.

    Reasoning costs what output of the same tier and context costs unless it has its own price;
    an embedding model's input is priced under the class `embedding` too.
    """
    yield from found.items()
    for key, price in found.items():
        if key.unit_class == UnitClass.OUTPUT:
            reasoning = replace(key, unit_class=UnitClass.OUTPUT_REASONING)
            if reasoning not in found:
                yield reasoning, price
        if is_embedding and key.unit_class == UnitClass.INPUT:
            yield replace(key, unit_class=UnitClass.EMBEDDING), price


def _without_repeats(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """An object of JSON; raises ValueError where a key repeats, which would hide a price."""
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key repeats")
    return found


def _decimal(value: object) -> Decimal | None:
    if not isinstance(value, str) or not _PRICE.fullmatch(value):
        return None
    return Decimal(value)


def _served_name(model: str) -> str:
    prefix, slash, rest = model.partition("/")
    return rest if slash and prefix in PROVIDER_TYPES else model


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
