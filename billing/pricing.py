"""What usage costs (pure): the price book, quotes and exact line sums.

Units: quantities are integers, unit prices USD per unit, amounts USD. A line is quantity x price,
exact; the sum of a call is rounded once, half even, to 12 places. An unknown price is never zero.
"""

from __future__ import annotations

import fnmatch
import functools
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from billing.errors import ModelUnpriced
from billing.markups import PLAIN, Terms
from billing.types import (
    INPUT_CLASSES,
    BillingMode,
    Operation,
    PriceMatch,
    ServiceTier,
    TokenCount,
    UnitClass,
)
from ideplatform.kit import money

# `-2026-04-23`, `-20251001`, `-0613` is no date of a year; `@20251001` is Vertex's form.
_DATED: Final = re.compile(r"(?P<base>.+?)[-@](?:20\d{2}-?\d{2}-?\d{2}|latest)")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Dated:
    """In force from `starts_at` (None: always was) until `ends_at` (None: no end)."""

    starts_at: datetime | None = None
    ends_at: datetime | None = None

    def is_in_force(self, at: datetime) -> bool:
        return (self.starts_at is None or self.starts_at <= at) and (
            self.ends_at is None or at < self.ends_at
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Price(_Dated):
    """One published price."""

    id: UUID
    provider_type: str
    match: str
    pattern: str
    service_tier: str
    region: str
    context_over_tokens: int
    unit_class: UnitClass
    unit_price: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Alias(_Dated):
    """Another name of a priced model."""

    provider_type: str
    alias: str
    model: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """What is priced: a vendor's model as it was served, at the moment of dispatch."""

    provider_type: str
    name: str
    at: datetime
    service_tier: str = ServiceTier.STANDARD
    region: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One class of a call. `amount` is exact, not rounded."""

    unit_class: UnitClass
    quantity: int
    unit_price: Decimal
    price_id: UUID
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class PricedUsage:
    """What a call costs. `cost` is None when a class that was used has no price.

    `saved_by_cache` is what the cached tokens would have cost more as plain input.
    """

    lines: tuple[Line, ...]
    cost: Decimal | None
    unpriced: tuple[UnitClass, ...]
    saved_by_cache: Decimal

    @property
    def exact(self) -> Decimal:
        """The sum of the lines before it is rounded: what a markup is taken of."""
        return money.total([line.amount for line in self.lines])


class PriceBook:
    """Every published price, indexed; one book answers for any moment."""

    def __init__(
        self,
        prices: Iterable[Price] = (),
        aliases: Iterable[Alias] = (),
        *,
        version_id: UUID | None = None,
    ) -> None:
        self.version_id = version_id
        self._exact: dict[tuple[str, str], _Card] = defaultdict(_Card)
        self._patterns: dict[str, dict[tuple[str, str], _Card]] = defaultdict(dict)
        self._aliases: dict[tuple[str, str], list[Alias]] = defaultdict(list)
        for price in prices:
            self._card(price).add(price)
        for alias in aliases:
            self._aliases[alias.provider_type, alias.alias].append(alias)

    @property
    def provider_types(self) -> list[str]:
        """The vendors that have any price."""
        return sorted({vendor for vendor, _ in self._exact} | self._patterns.keys())

    def _card(self, price: Price) -> _Card:
        if price.match == PriceMatch.EXACT:
            return self._exact[price.provider_type, price.pattern]
        cards = self._patterns[price.provider_type]
        return cards.setdefault((price.match, price.pattern), _Card())

    def resolve(self, model: Model, unit_class: UnitClass, *, total_input: int) -> Price | None:
        """The price of one class: exact name, then alias or undated name, then glob, then regex.

        The tier is the one asked for, never another; of several context thresholds the largest
        strictly below `total_input` (tokens of the whole request) counts. A price for the
        model's region goes before one for every region.
        """
        for card in self._cards(model):
            price = card.price(model, unit_class, total_input)
            if price is not None:
                return price
        return None

    def _cards(self, model: Model) -> Iterator[_Card]:
        for name in self._names(model):
            card = self._exact.get((model.provider_type, name))
            if card is not None:
                yield card
        cards = self._patterns.get(model.provider_type, {})
        for key in sorted(cards, key=_preference):
            if _matches(*key, model.name):
                yield cards[key]

    def _names(self, model: Model) -> Iterator[str]:
        name = model.name.removeprefix("models/") if model.provider_type == "google" else model.name
        yield name
        for alias in self._aliases.get((model.provider_type, name), ()):
            if alias.is_in_force(model.at):
                yield alias.model
        dated = _DATED.fullmatch(name)
        if dated:
            yield dated["base"]

    def price_usage(self, model: Model, tokens: TokenCount) -> PricedUsage:
        """The exact cost of what a call used, class by class."""
        total_input = tokens.input
        lines, unpriced, saved = [], [], [money.ZERO]
        for unit_class in sorted(name for name, count in tokens.quantities.items() if count):
            quantity = tokens.quantities[unit_class]
            price = self.resolve(model, unit_class, total_input=total_input)
            if price is None:
                unpriced.append(unit_class)
                continue
            lines.append(_line(unit_class, quantity, price))
            if unit_class is UnitClass.CACHE_READ:
                saved.append(self._saved(model, price, quantity, total_input))
        cost = None if unpriced else money.quantise(money.total([line.amount for line in lines]))
        return PricedUsage(
            lines=tuple(lines),
            cost=cost,
            unpriced=tuple(unpriced),
            saved_by_cache=money.quantise(money.total(saved)),
        )

    def _saved(self, model: Model, cached: Price, quantity: int, total_input: int) -> Decimal:
        plain = self.resolve(model, UnitClass.INPUT, total_input=total_input)
        if plain is None:
            return money.ZERO
        return money.product(quantity, plain.unit_price - cached.unit_price)

    def in_force(self, model: Model) -> list[Price]:
        """The prices that decide about some call of the model, whatever its tier and region."""
        asked = {
            (price, replace(model, service_tier=price.service_tier, region=price.region))
            for card in self._cards(model)
            for price in card.every(model.at)
        }
        return [
            price
            for price, place in asked
            if self.resolve(place, price.unit_class, total_input=_beyond(price)) == price
        ]

    def quote(self, model: Model, *, input_tokens: int, max_output_tokens: int) -> Decimal:
        """The most a call can cost: every token at the dearest class it could turn out to be.

        `input_tokens` is an upper bound. Raises ModelUnpriced (409).
        """
        dearest_in = self._dearest(model, INPUT_CLASSES, total_input=input_tokens)
        dearest_out = self._dearest(
            model, (UnitClass.OUTPUT, UnitClass.OUTPUT_REASONING), total_input=input_tokens
        )
        if dearest_in is None or (max_output_tokens and dearest_out is None):
            raise ModelUnpriced(model=model.name)
        amounts = [money.product(input_tokens, dearest_in)]
        if dearest_out is not None:
            amounts.append(money.product(max_output_tokens, dearest_out))
        return money.quantise(money.total(amounts))

    def output_price(self, model: Model, *, input_tokens: int) -> Decimal:
        """The most that one written token can cost, 0 for what writes none (embeddings)."""
        classes = (UnitClass.OUTPUT, UnitClass.OUTPUT_REASONING)
        return self._dearest(model, classes, total_input=input_tokens) or money.ZERO

    def _dearest(
        self, model: Model, classes: Iterable[UnitClass], *, total_input: int
    ) -> Decimal | None:
        """The highest price any of the classes can have for at most `total_input` tokens."""
        cards = list(self._cards(model))
        found = [
            price.unit_price
            for unit_class in classes
            for card in cards
            for price in card.reachable(model, unit_class, total_input)
        ]
        return max(found, default=None)

    def is_priced(self, model: Model, operation: Operation) -> bool:
        """Whether the platform can pay for such a call."""
        needed = (
            ((UnitClass.INPUT, UnitClass.EMBEDDING),)
            if operation is Operation.EMBED
            else ((UnitClass.INPUT,), (UnitClass.OUTPUT,))
        )
        return all(
            any(self.resolve(model, one, total_input=0) is not None for one in group)
            for group in needed
        )


class _Card:
    """The prices of one model name: by class and tier, thresholds descending."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        self._rows: dict[tuple[str, str], list[Price]] = defaultdict(list)

    def add(self, price: Price) -> None:
        rows = self._rows[price.unit_class, price.service_tier]
        rows.append(price)
        # A named region sorts before "every region", a higher threshold before a lower one.
        rows.sort(key=lambda row: (not row.region, -row.context_over_tokens))

    def every(self, at: datetime) -> Iterator[Price]:
        """All prices in force, of any class and tier."""
        for rows in self._rows.values():
            yield from (row for row in rows if row.is_in_force(at))

    def reachable(self, model: Model, unit_class: UnitClass, total_input: int) -> Iterator[Price]:
        """The prices that could apply to a request of at most `total_input` input tokens."""
        for row in self._rows.get((unit_class, model.service_tier), ()):
            if (
                row.region in ("", model.region)
                and (row.context_over_tokens == 0 or row.context_over_tokens < total_input)
                and row.is_in_force(model.at)
            ):
                yield row

    def price(self, model: Model, unit_class: UnitClass, total_input: int) -> Price | None:
        return next(self.reachable(model, unit_class, total_input), None)


def _line(unit_class: UnitClass, quantity: int, price: Price) -> Line:
    return Line(
        unit_class=unit_class,
        quantity=quantity,
        unit_price=price.unit_price,
        price_id=price.id,
        amount=money.product(quantity, price.unit_price),
    )


def _beyond(price: Price) -> int:
    """A request just large enough for the price's threshold to count."""
    return price.context_over_tokens + 1 if price.context_over_tokens else 0


def _preference(key: tuple[str, str]) -> tuple[bool, int, str]:
    """Globs before regular expressions, longer (more particular) patterns first."""
    match, pattern = key
    return match != PriceMatch.GLOB, -len(pattern), pattern


@functools.lru_cache(maxsize=1_000)
def _matches(match: str, pattern: str, name: str) -> bool:
    expression = fnmatch.translate(pattern) if match == PriceMatch.GLOB else pattern
    return re.fullmatch(expression, name) is not None


def billed(
    priced: PricedUsage, mode: BillingMode, *, terms: Terms = PLAIN, tokens: int = 0
) -> Decimal:
    """What the customer pays where the platform's key paid the vendor, else nothing.

    Rounded once, from the exact lines. A call that used nothing bears no fee either.
    """
    if priced.cost is None or not priced.lines or mode is not BillingMode.PLATFORM:
        return money.ZERO
    return money.quantise(terms.apply(priced.exact, tokens=tokens))


def line_json(line: Line) -> Mapping[str, str | int]:
    """A line as `usage_events.lines` keeps it: amounts as decimal strings."""
    return {
        "class": line.unit_class.value,
        "qty": line.quantity,
        "unit_price": money.text(line.unit_price),
        "price_id": str(line.price_id),
        "amount": money.text(line.amount),
    }
