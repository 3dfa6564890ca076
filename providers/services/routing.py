"""From the name a caller uses to the accounts that can serve it, best first.

A name is an alias (nearest scope first), `<slug>/<model>`, or a bare model id (nearest scope, then
priority). Candidates that are not ready are skipped, each with a reason.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from django.db.models import Q

from billing.errors import ModelUnpriced
from billing.pricing import Model, PriceBook
from billing.services import prices
from billing.types import BillingMode, Operation
from ideplatform.kit import clock
from providers import config
from providers.adapters import Ratio, Route
from providers.errors import ModelNotFound, NoReadyTarget
from providers.models import CatalogueModel, ModelAlias, Provider, ProviderModel
from providers.services import estimation, health
from providers.services.health import Standing
from providers.types import (
    Call,
    CallContext,
    Capability,
    EmbedCall,
    HealthState,
    ImagePart,
    ProviderScope,
    ProviderType,
)

MAX_ROUTES: Final = 3
NEAREST: Final = (
    ProviderScope.USER,
    ProviderScope.WORKSPACE,
    ProviderScope.ORGANIZATION,
    ProviderScope.PLATFORM,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a call asks of a model; `input_tokens` is an estimate, 0 when nothing is known."""

    operation: Operation = Operation.CHAT
    capabilities: frozenset[Capability] = frozenset()
    input_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An account's model behind a name. `reason` says why it is not ready, empty when it is."""

    model_ref: str
    provider_id: UUID | None
    model: str
    reason: str
    route: Route | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is known of a model: the account's overrides, else the catalogue; None is unknown."""

    context_tokens: int | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[str] | None = None


def plan(call: Call | EmbedCall) -> tuple[Route, ...]:
    """The ready routes of a call, at most three, best first.

    Raises ModelNotFound (404), ModelUnpriced (409) when only a price is missing, NoReadyTarget
    (503) with a reason for each target.
    """
    candidates = resolve(call.model, call.context, need_of(call))
    routes = [candidate.route for candidate in candidates if candidate.route is not None]
    if routes:
        return tuple(routes[:MAX_ROUTES])
    if not candidates:
        raise ModelNotFound(model=call.model)
    if all(candidate.reason == "unpriced" for candidate in candidates):
        raise ModelUnpriced(model=call.model)
    targets = [{"model": one.model_ref, "reason": one.reason} for one in candidates]
    raise NoReadyTarget(retry_after_s=5, targets=targets)


def need_of(call: Call | EmbedCall) -> Need:
    """What the call asks of a model."""
    size = round(estimation.input_bytes(call) * estimation.USUAL.input)
    if isinstance(call, EmbedCall):
        return Need(operation=Operation.EMBED, capabilities=frozenset({Capability.EMBEDDINGS}))
    asked = set[Capability]()
    if call.tools:
        asked.add(Capability.TOOLS)
    if call.response_schema is not None:
        asked.add(Capability.STRUCTURED_OUTPUT)
    if any(isinstance(part, ImagePart) for message in call.messages for part in message.parts):
        asked.add(Capability.VISION)
    return Need(capabilities=frozenset(asked), input_tokens=size)


def resolve(name: str, context: CallContext, need: Need) -> list[Candidate]:
    """Everything the name stands for in this context, ready or not; empty when nothing."""
    book = _Accounts(context)
    alias = nearest_alias(name, context)
    if alias is None:
        return book.candidates(name, need)
    if alias.selected_model:
        refs = [alias.selected_model]
    else:
        refs = [target.model_ref for target in alias.targets.order_by("position")]
    return [
        candidate for ref in refs for candidate in book.candidates(ref, need) or [_unknown(ref)]
    ]


def nearest_alias(name: str, context: CallContext) -> ModelAlias | None:
    """The alias of that name in the nearest scope of the context."""
    found = {alias.scope: alias for alias in ModelAlias.objects.filter(visible(context), name=name)}
    return next((found[scope] for scope in NEAREST if scope in found), None)


def visible(context: CallContext) -> Q:
    """The rows of providers or aliases that a call in this context may use."""
    rows = Q(scope=ProviderScope.PLATFORM) | Q(
        scope=ProviderScope.ORGANIZATION, organization_id=context.organization_id
    )
    rows |= Q(scope=ProviderScope.USER, owner_id=context.user_id)
    if context.workspace_id is not None:
        rows |= Q(scope=ProviderScope.WORKSPACE, workspace_id=context.workspace_id)
    return rows


def _unknown(ref: str) -> Candidate:
    return Candidate(model_ref=ref, provider_id=None, model=ref, reason="not_offered")


class _Accounts:
    """The accounts of a context, read once for a plan."""

    def __init__(self, context: CallContext) -> None:
        rows = Provider.objects.filter(visible(context), deleted_at__isnull=True)
        nearness = {scope: place for place, scope in enumerate(NEAREST)}
        self.providers = sorted(
            rows, key=lambda row: (nearness[ProviderScope(row.scope)], -row.priority, row.pk)
        )
        self.standings = health.standings(row.pk for row in self.providers)
        self.prices = prices.current()
        self.now = clock.now()

    def candidates(self, ref: str, need: Need) -> list[Candidate]:
        slug, slash, model = ref.partition("/")
        named = [row for row in self.providers if row.slug == slug] if slash else []
        if named:
            return [self._judged(ref, named[0], model, need)]
        offers = self._offering(ref)
        return [self._judged(ref, row, ref, need) for row in offers]

    def _offering(self, model: str) -> list[Provider]:
        """The accounts of the nearest scope that offers the model: a person's own account never
        falls back to one that somebody else pays."""
        offering = set(
            ProviderModel.objects.filter(
                provider__in=self.providers, model_id=model, is_enabled=True
            ).values_list("provider_id", flat=True)
        )
        found = [row for row in self.providers if row.pk in offering]
        return [row for row in found if row.scope == found[0].scope]

    def _judged(self, ref: str, provider: Provider, model: str, need: Need) -> Candidate:
        offer = ProviderModel.objects.filter(provider=provider, model_id=model).first()
        known = limits(provider, offer, model)
        reason, is_trial = self._obstacle(provider, offer, model, known, need)
        route = None if reason else _route(provider, model, known, is_trial=is_trial)
        return Candidate(
            model_ref=ref, provider_id=provider.pk, model=model, reason=reason, route=route
        )

    def _obstacle(
        self,
        provider: Provider,
        offer: ProviderModel | None,
        model: str,
        known: Limits,
        need: Need,
    ) -> tuple[str, bool]:
        """Why the account cannot serve, or "" and whether the call would be a trial."""
        allowed = provider.config.get("allowed_models")
        if not provider.is_enabled:
            return "disabled", False
        if (offer is not None and not offer.is_enabled) or (allowed and model not in allowed):
            return "model_disabled", False
        if provider.secret_id is None and provider.type != ProviderType.OPENAI_COMPATIBLE:
            return "no_key", False
        if missing := _missing(known, need):
            return missing, False
        if not _is_priced(self.prices, provider, model, need.operation, self.now):
            return "unpriced", False
        return self._ill(provider, model)

    def _ill(self, provider: Provider, model: str) -> tuple[str, bool]:
        account = self.standings.get((provider.pk, health.KEY))
        if account is not None and account.state is HealthState.KEY_INVALID:
            return "key_invalid", False
        if account is not None and account.state is HealthState.COOLING_DOWN and not account.is_due:
            return "cooling_down", False
        of_model: Standing | None = self.standings.get((provider.pk, model))
        if of_model is None or of_model.state is not HealthState.OPEN:
            return "", False
        return ("", True) if of_model.is_due else ("breaker_open", False)


def limits(provider: Provider, offer: ProviderModel | None, model: str) -> Limits:
    """What is known of an account's model."""
    row = CatalogueModel.objects.filter(provider_type=provider.type, model_id=model).first()
    known = (
        Limits(
            context_tokens=row.context_tokens,
            max_output_tokens=row.max_output_tokens,
            capabilities=None if row.capabilities is None else frozenset(row.capabilities),
        )
        if row is not None
        else Limits()
    )
    if offer is None:
        return known
    own = offer.overrides
    said = own.get("capabilities")
    return replace(
        known,
        context_tokens=own.get("context_tokens") or offer.context_tokens or known.context_tokens,
        max_output_tokens=own.get("max_output_tokens")
        or offer.max_output_tokens
        or known.max_output_tokens,
        capabilities=known.capabilities if said is None else frozenset(said),
    )


def _missing(known: Limits, need: Need) -> str:
    """A capability or room that the model is known to lack; the unknown gets its chance."""
    if known.capabilities is not None:
        lacking: Iterable[str] = sorted(need.capabilities - known.capabilities)
        for capability in lacking:
            return f"no_{capability}"
    if known.context_tokens is not None and need.input_tokens > known.context_tokens:
        return "context_too_small"
    return ""


def _is_priced(
    book: PriceBook, provider: Provider, model: str, operation: Operation, now: datetime
) -> bool:
    if provider.billing_mode != BillingMode.PLATFORM:
        return True
    return book.is_priced(Model(provider_type=provider.type, name=model, at=now), operation)


def _route(provider: Provider, model: str, known: Limits, *, is_trial: bool = False) -> Route:
    provider_type = ProviderType(provider.type)
    settings = config.parse(provider.config, provider_type=provider_type)
    key = (provider.type, model)
    return Route(
        provider_id=provider.pk,
        provider_type=provider_type,
        slug=provider.slug,
        billing_mode=BillingMode(provider.billing_mode),
        secret_id=provider.secret_id,
        model=model,
        config=settings,
        base_url=config.base_url(settings, provider_type=provider_type),
        capabilities=known.capabilities,
        context_tokens=known.context_tokens,
        max_output_tokens=known.max_output_tokens,
        ratio=estimation.ratios({key}).get(key, Ratio()),
        is_trial=is_trial,
    )


def route_to(provider: Provider, model: str) -> Route:
    """The route to an account's model, ready or not: for listing and testing."""
    offer = ProviderModel.objects.filter(provider_id=provider.pk, model_id=model).first()
    return _route(provider, model, limits(provider, offer, model))


def for_model(route: Route, model: str) -> Route:
    """The same account with another model."""
    return replace(route, model=model)


def catalogued(provider_type: str, names: Iterable[str]) -> list[CatalogueModel]:
    """What the catalogue knows of some models."""
    return list(
        CatalogueModel.objects.filter(provider_type=provider_type, model_id__in=list(names))
    )
