"""The published price book as this process knows it, and the lists that come with the platform."""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec
from django.db import connection, transaction

from billing import markups, price_files, pricing
from billing.models import ModelAlias, Price, PriceVersion
from billing.price_files import PriceList
from billing.services import price_versions
from billing.types import UnitClass, VersionState

TOPIC: Final = price_versions.TOPIC
DATA: Final = Path(__file__).resolve().parents[1] / "data"
SHIPPED: Final = ("model_prices_openai_anthropic_gemini.json", "simulator_prices.json")


class _Loaded:
    """The book read last. Publishing makes a new version id, so an equal id is never stale."""

    lock = threading.Lock()
    book = pricing.PriceBook()


@dataclass(frozen=True, slots=True, kw_only=True)
class Tariff:
    """What vendors charge, and what customers pay beside it."""

    book: pricing.PriceBook
    rules: Sequence[markups.Rule]

    def terms(
        self, *, customer_id: UUID, provider_type: str, model: str, at: datetime
    ) -> markups.Terms:
        """The markup of a customer's call, by the model asked for and its dispatch."""
        return markups.terms(
            self.rules, customer_id=customer_id, provider_type=provider_type, model=model, at=at
        )


def current() -> pricing.PriceBook:
    """The published price book, past and planned prices included (one query when unchanged)."""
    return tariff().book


def known() -> pricing.PriceBook:
    """The book that this process read last: what it charged by in its newest transaction."""
    return _Loaded.book


def tariff() -> Tariff:
    """The price book and every markup rule, ended and planned ones included (one query)."""
    version_id, rules = _stamp()
    with _Loaded.lock:
        while _Loaded.book.version_id != version_id:
            book = _load(version_id)
            was_read_for, (version_id, rules) = version_id, _stamp()
            # What was published meanwhile must not pass for the version before it.
            if version_id == was_read_for:
                _Loaded.book = book
        return Tariff(book=_Loaded.book, rules=_rules(rules) if rules else ())


def _stamp() -> tuple[UUID | None, str | None]:
    """The version in force and the markup rules as text."""
    with connection.cursor() as cursor:
        cursor.execute(_STAMP)
        version_id, rules = cursor.fetchone()
    return version_id, rules


def deciding(*, model: str, at: datetime, provider_type: str = "") -> list[UUID]:
    """The prices by which a model's calls would be charged at a moment, aliases and globs
    included: one for each class, tier, region and threshold that has one.
    """
    book = current()
    vendors = [provider_type] if provider_type else book.provider_types
    models = (pricing.Model(provider_type=name, name=model, at=at) for name in vendors)
    return [price.id for one in models for price in book.in_force(one)]


def shipped() -> PriceList:
    """The lists that come with the platform."""
    return price_files.read({name: (DATA / name).read_text("utf-8") for name in SHIPPED})


def is_published() -> bool:
    """Whether prices were ever published: from then on it takes two people."""
    return PriceVersion.objects.exclude(state=VersionState.DRAFT).exists()


@transaction.atomic
def ensure_published() -> int | None:
    """Publish the shipped lists where no version ever was; its number, or None if there was one.

    Called after migrating, so that a fresh platform can pay for calls.
    """
    price_versions.lock()
    if is_published():
        return None
    note = "The lists that come with the platform"
    version_id = price_versions.draft(listed=shipped(), note=note)
    return price_versions.publish(version_id=version_id) if version_id else None


def _load(version_id: UUID | None) -> pricing.PriceBook:
    prices = Price.objects.filter(is_published=True)
    aliases = ModelAlias.objects.filter(is_published=True)
    return pricing.PriceBook(
        [_price(row) for row in prices],
        [_alias(row) for row in aliases],
        version_id=version_id,
    )


@functools.lru_cache(maxsize=8)
def _rules(text: str) -> tuple[markups.Rule, ...]:
    """The markup rules as the database wrote them; equal ones are read once."""
    return tuple(msgspec.json.decode(text, type=list[markups.Rule]))


def _price(row: Price) -> pricing.Price:
    return pricing.Price(
        id=row.pk,
        provider_type=row.provider_type,
        match=row.match,
        pattern=row.pattern,
        service_tier=row.service_tier,
        region=row.region,
        context_over_tokens=row.context_over_tokens,
        unit_class=UnitClass(row.unit_class),
        unit_price=row.unit_price,
        starts_at=row.effective.lower,
        ends_at=row.effective.upper,
    )


def _alias(row: ModelAlias) -> pricing.Alias:
    return pricing.Alias(
        provider_type=row.provider_type,
        alias=row.alias,
        model=row.model,
        starts_at=row.effective.lower,
        ends_at=row.effective.upper,
    )


# Decimals as text: JSON's own numbers would be read as binary ones.
_STAMP: Final = """
SELECT
    (SELECT v.id FROM billing_price_versions v WHERE v.state <> 'draft'
     ORDER BY v.number DESC LIMIT 1),
    (SELECT jsonb_agg(jsonb_build_object(
        'id', r.id, 'priority', r.priority, 'customer_id', r.customer_id,
        'provider_type', r.provider_type, 'model_glob', r.model_glob, 'kind', r.kind,
        'value', r.value::text, 'starts_at', lower(r.effective), 'ends_at', upper(r.effective))
        ORDER BY r.id)::text FROM billing_markup_rules r)
"""
