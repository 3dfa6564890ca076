"""The published price book as this process knows it, and the lists that come with the platform."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Final
from uuid import UUID

from django.db import transaction

from billing import price_files, pricing
from billing.models import ModelAlias, Price, PriceVersion
from billing.price_files import PriceList
from billing.services import price_versions
from billing.types import UnitClass, VersionState

DATA: Final = Path(__file__).resolve().parents[1] / "data"
SHIPPED: Final = ("model_prices_openai_anthropic_gemini.json", "simulator_prices.json")


class _Loaded:
    """The book read last. Publishing makes a new version id, so an equal id is never stale."""

    lock = threading.Lock()
    book = pricing.PriceBook()


def current() -> pricing.PriceBook:
    """The published price book, past and planned prices included (one query when unchanged)."""
    published = PriceVersion.objects.exclude(state=VersionState.DRAFT)
    version_id = published.order_by("-number").values_list("pk", flat=True).first()
    with _Loaded.lock:
        if _Loaded.book.version_id != version_id:
            _Loaded.book = _load(version_id)
        return _Loaded.book


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
