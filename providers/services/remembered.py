"""The directory in memory: planning a call costs no query while nothing changed.

Kept by home (the platform, an organization, a workspace, a person), at most 60 s, and believed
only while the access feed is fresh. A trigger of the tables writes what changed, in the same
transaction; the process that changed it forgets at its commit, every other within a second.
Memory holds no key and no secret, only the id of the vault's row.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from django.db import connection

from accounts.services import feed
from billing.pricing import PriceBook
from billing.services import prices
from ideplatform.kit import clock
from ideplatform.kit.db import database_now
from providers.models import CatalogueModel, ModelAlias, Provider, ProviderHealth, ProviderModel
from providers.services import directory, estimation
from providers.services.changes import COLUMNS, TOPIC
from providers.services.directory import (
    Catalogue,
    Directory,
    Known,
    Offers,
    Ratios,
    Settings,
    Tables,
)
from providers.services.health import Standing
from providers.types import CallContext, HealthState, ProviderScope

KEPT_S: Final = 60
MAX_HOMES: Final = 10_000
Place = tuple[ProviderScope, UUID | None]
PLATFORM: Final[Place] = (ProviderScope.PLATFORM, None)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shelf:
    """What one home has. `heard` is the number of the last change when it was read."""

    providers: Sequence[Provider]
    offers: Offers
    aliases: Mapping[str, ModelAlias]
    verdicts: Mapping[tuple[UUID, str], ProviderHealth]
    heard: int
    until: float
    settings: dict[UUID, Settings] = field(default_factory=dict)

    def is_current(self, place: Place) -> bool:
        return self.heard == feed.heard(TOPIC, place[1]) and time.monotonic() < self.until


@dataclass(frozen=True, slots=True, kw_only=True)
class _Common:
    """What is the same for all. `ahead` is how far the database's clock is before ours."""

    catalogue: Catalogue
    ratios: Ratios
    ahead: timedelta
    heard: tuple[int, int]
    until: float

    def is_current(self) -> bool:
        return self.heard == _heard_of_all() and time.monotonic() < self.until


class _Memory:
    shelves: dict[Place, _Shelf] = {}
    common: _Common | None = None


class Remembered:
    """A directory of shelves, nearest first; nothing it answers asks the database."""

    def __init__(self, shelves: Sequence[_Shelf], common: _Common) -> None:
        self._shelves = shelves
        self._common = common
        self.providers: Sequence[Provider] = [row for one in shelves for row in one.providers]
        self.prices: PriceBook = prices.known()
        self.now: datetime = clock.now()

    def known(self, refs: Iterable[str]) -> Known:
        offers: Offers = {
            provider_id: rows
            for shelf in self._shelves
            for provider_id, rows in shelf.offers.items()
        }
        common = self._common
        return Known(offers=offers, catalogue=common.catalogue, ratios=common.ratios)

    def standing(self, provider_id: UUID, model: str) -> Standing | None:
        for shelf in self._shelves:
            row = shelf.verdicts.get((provider_id, model))
            if row is not None:
                is_due = row.until is not None and row.until <= self.now + self._common.ahead
                return Standing(state=HealthState(row.state), until=row.until, is_due=is_due)
        return None

    def alias(self, name: str) -> ModelAlias | None:
        found = (shelf.aliases.get(name) for shelf in self._shelves)
        return next((alias for alias in found if alias is not None), None)

    def settings(self, provider: Provider) -> Settings:
        for shelf in self._shelves:
            if provider.pk in shelf.settings:
                return shelf.settings[provider.pk]
            if provider.pk in shelf.offers:
                return shelf.settings.setdefault(provider.pk, directory.settings_of(provider))
        return directory.settings_of(provider)


def recall(context: CallContext) -> Directory | None:
    """The directory of a context from memory alone; None when it must be read."""
    if not feed.is_fresh():
        return None
    common = _Memory.common
    if common is None or not common.is_current():
        return None
    shelves = []
    for place in _places(context):
        shelf = _Memory.shelves.get(place)
        if shelf is None or not shelf.is_current(place):
            return None
        shelves.append(shelf)
    return Remembered(shelves, common)


def read(context: CallContext) -> Directory:
    """The directory of a context, read where memory lacks it. Sync.

    Without a fresh feed nothing is remembered, nor inside a transaction, whose own rows may never
    be committed.
    """
    if not feed.is_fresh() or connection.in_atomic_block:
        return Tables(context)
    common = _Memory.common
    if common is None or not common.is_current():
        common = _Memory.common = _read_common()
    shelves = [_shelf(place) for place in _places(context)]
    return Remembered(shelves, common)


def _places(context: CallContext) -> list[Place]:
    places: list[Place] = [(ProviderScope.USER, context.user_id)]
    if context.workspace_id is not None:
        places.append((ProviderScope.WORKSPACE, context.workspace_id))
    places.append((ProviderScope.ORGANIZATION, context.organization_id))
    places.append(PLATFORM)
    return places


def _heard_of_all() -> tuple[int, int]:
    return feed.heard(TOPIC), feed.heard(prices.TOPIC)


def _shelf(place: Place) -> _Shelf:
    held = _Memory.shelves.get(place)
    if held is not None and held.is_current(place):
        return held
    fresh = _read_shelf(place)
    if len(_Memory.shelves) >= MAX_HOMES:
        for old in list(_Memory.shelves)[: MAX_HOMES // 2]:
            _Memory.shelves.pop(old, None)
    _Memory.shelves[place] = fresh
    return fresh


def _read_shelf(place: Place) -> _Shelf:
    """Asked for its number before it is read: what changes meanwhile makes it old at once."""
    scope, subject = place
    heard, until = feed.heard(TOPIC, subject), time.monotonic() + KEPT_S
    home = {"scope": scope} | ({COLUMNS[scope]: subject} if scope in COLUMNS else {})
    providers = directory.ordered(Provider.objects.filter(**home, deleted_at__isnull=True))
    ids = [row.pk for row in providers]
    offers = directory.offers_of(ProviderModel.objects.filter(provider__in=ids) if ids else ())
    verdicts = ProviderHealth.objects.filter(provider__in=ids) if ids else ()
    aliases = ModelAlias.objects.filter(**home).prefetch_related("targets")
    return _Shelf(
        providers=providers,
        offers={provider_id: offers.get(provider_id, {}) for provider_id in ids},
        aliases={row.name: row for row in aliases},
        verdicts={(row.provider_id, row.model): row for row in verdicts},
        heard=heard,
        until=until,
    )


def _read_common() -> _Common:
    heard, until = _heard_of_all(), time.monotonic() + KEPT_S
    prices.current()  # kept by billing, where every reservation renews it
    catalogue = {(row.provider_type, row.model_id): row for row in CatalogueModel.objects.all()}
    return _Common(
        catalogue=catalogue,
        ratios=estimation.learned(),
        ahead=database_now() - clock.now(),
        heard=heard,
        until=until,
    )
