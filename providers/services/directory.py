"""What routing looks up: accounts, the models they offer, aliases, health and prices.

`Tables` asks the database, for the names of one plan; `services.remembered` keeps the same in
memory. Both answer as of one moment, so a plan is judged the same by either.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from django.db.models import Q

from billing.pricing import PriceBook
from billing.services import prices
from ideplatform.kit import clock
from providers import config
from providers.adapters import Ratio
from providers.config import Config
from providers.models import CatalogueModel, ModelAlias, Provider, ProviderModel
from providers.services import estimation, health
from providers.services.health import Standing
from providers.types import CallContext, ProviderScope, ProviderType

NEAREST: Final = (
    ProviderScope.USER,
    ProviderScope.WORKSPACE,
    ProviderScope.ORGANIZATION,
    ProviderScope.PLATFORM,
)
_PLACES: Final = {scope.value: place for place, scope in enumerate(NEAREST)}
Offers = Mapping[UUID, Mapping[str, ProviderModel]]
Catalogue = Mapping[tuple[str, str], CatalogueModel]
Ratios = Mapping[tuple[str, str], Ratio]


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is known of a model: the account's overrides, else the catalogue; None is unknown."""

    context_tokens: int | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """An account's configuration as it is used."""

    config: Config
    base_url: str


class Known:
    """What is known of the models behind some names."""

    def __init__(self, *, offers: Offers, catalogue: Catalogue, ratios: Ratios) -> None:
        self._offers = offers
        self._catalogue = catalogue
        self._ratios = ratios

    def is_offered(self, provider: Provider, model: str) -> bool:
        offer = self.offer(provider, model)
        return offer is not None and offer.is_enabled

    def offer(self, provider: Provider, model: str) -> ProviderModel | None:
        offers = self._offers.get(provider.pk)
        return offers.get(model) if offers is not None else None

    def ratio(self, provider: Provider, model: str) -> Ratio:
        return self._ratios.get((provider.type, model), estimation.USUAL)

    def limits(self, provider: Provider, model: str) -> Limits:
        entry = self._catalogue.get((provider.type, model))
        return limits(entry, self.offer(provider, model))


class Directory(Protocol):
    """The accounts of a context, nearest first, then by priority, and what is known of them."""

    @property
    def providers(self) -> Sequence[Provider]: ...

    @property
    def prices(self) -> PriceBook: ...

    @property
    def now(self) -> datetime: ...

    def known(self, refs: Iterable[str]) -> Known:
        """Of the models that the names may mean."""
        ...

    def standing(self, provider_id: UUID, model: str) -> Standing | None:
        """The verdict about an account (no model) or its model, if there is one."""
        ...

    def alias(self, name: str) -> ModelAlias | None:
        """The alias of that name in the nearest scope."""
        ...

    def settings(self, provider: Provider) -> Settings: ...


class Tables:
    """A directory that asks the database: five queries at first, three for each `known`."""

    def __init__(self, context: CallContext) -> None:
        rows = Provider.objects.filter(visible(context), deleted_at__isnull=True)
        self._context = context
        self.providers: Sequence[Provider] = ordered(rows)
        self._standings = health.standings(row.pk for row in self.providers)
        self.prices = prices.current()
        self.now = clock.now()

    def known(self, refs: Iterable[str]) -> Known:
        return known_of(self.providers, refs)

    def standing(self, provider_id: UUID, model: str) -> Standing | None:
        return self._standings.get((provider_id, model))

    def alias(self, name: str) -> ModelAlias | None:
        rows = ModelAlias.objects.filter(visible(self._context), name=name)
        return min(rows, key=lambda row: _PLACES[row.scope], default=None)

    def settings(self, provider: Provider) -> Settings:
        return settings_of(provider)


def known_of(providers: Sequence[Provider], refs: Iterable[str]) -> Known:
    """What the tables say of the models behind some names, in three queries."""
    names = {name for ref in refs for name in (ref, ref.partition("/")[2])}
    kinds = {row.type for row in providers}
    rows = ProviderModel.objects.filter(
        provider__in=[row.pk for row in providers], model_id__in=names
    )
    entries = CatalogueModel.objects.filter(provider_type__in=kinds, model_id__in=names)
    return Known(
        offers=offers_of(rows),
        catalogue={(row.provider_type, row.model_id): row for row in entries},
        ratios=estimation.ratios({(kind, name) for kind in kinds for name in names}),
    )


def offers_of(rows: Iterable[ProviderModel]) -> Offers:
    """The rows by account and model."""
    found: dict[UUID, dict[str, ProviderModel]] = {}
    for row in rows:
        found.setdefault(row.provider_id, {})[row.model_id] = row
    return found


def ordered(rows: Iterable[Provider]) -> list[Provider]:
    """Accounts in the order in which they are preferred."""
    return sorted(rows, key=lambda row: (_PLACES[row.scope], -row.priority, row.pk))


def visible(context: CallContext) -> Q:
    """The rows of providers or aliases that a call in this context may use."""
    rows = Q(scope=ProviderScope.PLATFORM) | Q(
        scope=ProviderScope.ORGANIZATION, organization_id=context.organization_id
    )
    rows |= Q(scope=ProviderScope.USER, owner_id=context.user_id)
    if context.workspace_id is not None:
        rows |= Q(scope=ProviderScope.WORKSPACE, workspace_id=context.workspace_id)
    return rows


def settings_of(provider: Provider) -> Settings:
    """The account's configuration, read and checked; raises InvalidInput."""
    kind = ProviderType(provider.type)
    parsed = config.parse(provider.config, provider_type=kind)
    return Settings(config=parsed, base_url=config.base_url(parsed, provider_type=kind))


def limits_of(offers: Iterable[ProviderModel]) -> dict[int, Limits]:
    """What is known of some offered models, by the row's key; their providers are loaded."""
    rows = list(offers)
    entries = CatalogueModel.objects.filter(model_id__in={row.model_id for row in rows})
    known = {(entry.provider_type, entry.model_id): entry for entry in entries}
    return {row.pk: limits(known.get((row.provider.type, row.model_id)), row) for row in rows}


def limits(entry: CatalogueModel | None, offer: ProviderModel | None) -> Limits:
    """The account's overrides before what the vendor told, before the catalogue."""
    known = Limits()
    if entry is not None:
        said = entry.capabilities
        known = Limits(
            context_tokens=entry.context_tokens,
            max_output_tokens=entry.max_output_tokens,
            capabilities=None if said is None else frozenset(said),
        )
    if offer is None:
        return known
    own = offer.overrides
    own_capabilities = own.get("capabilities")
    return Limits(
        context_tokens=own.get("context_tokens") or offer.context_tokens or known.context_tokens,
        max_output_tokens=own.get("max_output_tokens")
        or offer.max_output_tokens
        or known.max_output_tokens,
        capabilities=known.capabilities
        if own_capabilities is None
        else frozenset(own_capabilities),
    )
