"""From the name a caller uses to the accounts that can serve it, best first.

A name is an alias (nearest scope first), `<slug>/<model>`, or a bare model id (nearest scope, then
priority). Candidates that are not ready are skipped, each with a reason.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final
from uuid import UUID

from billing.errors import ModelUnpriced
from billing.pricing import Model, PriceBook
from billing.types import BillingMode, Operation
from ideplatform.kit.db import run_db
from ideplatform.kit.errors import PlatformError
from providers.adapters import Ratio, Route, blocks
from providers.errors import ContextExceeded, ModelNotFound, NoReadyTarget
from providers.models import CatalogueModel, ModelAlias, Provider, ProviderModel
from providers.services import directory, estimation, health, remembered
from providers.services.directory import Directory, Known, Limits, Settings, Tables
from providers.types import (
    AnyPart,
    AudioPart,
    Call,
    CallContext,
    Capability,
    DocumentPart,
    EmbedCall,
    HealthState,
    ImagePart,
    Message,
    ProviderType,
    ToolResultPart,
)

MAX_ROUTES: Final = 3
TWIN: Final = "anthropic/"
THEIRS: Final = ("claude", "anthropic")


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What a call asks of a model; `input_tokens` is an estimate, 0 when nothing is known."""

    operation: Operation = Operation.CHAT
    capabilities: frozenset[Capability] = frozenset()
    input_tokens: int = 0


ANYTHING: Final = Need()


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An account's model behind a name. `reason` says why it is not ready, empty when it is."""

    model_ref: str
    provider_id: UUID | None
    model: str
    reason: str
    route: Route | None = None


def plan(call: Call | EmbedCall) -> tuple[Route, ...]:
    """The ready routes of a call, at most three, best first, as the database has them.

    Raises ModelNotFound (404), ModelUnpriced (409) when only a price is missing, NoReadyTarget
    (503) with a reason for each target, ContextExceeded when every one of them is too small.
    """
    return _planned(call, Tables(call.context))


async def planned(call: Call | EmbedCall) -> tuple[Route, ...]:
    """The same from a coroutine: from memory while it may be believed, else in one hop.

    Memory never refuses: what it would refuse is asked of the database.
    """
    found = remembered.recall(call.context)
    if found is None:
        return await run_db(_read_and_planned, call)
    try:
        return _planned(call, found)
    except PlatformError:
        return await run_db(plan, call)


def _read_and_planned(call: Call | EmbedCall) -> tuple[Route, ...]:
    found = remembered.read(call.context)
    try:
        return _planned(call, found)
    except PlatformError:
        return plan(call)


def _planned(call: Call | EmbedCall, known: Directory) -> tuple[Route, ...]:
    candidates = _resolve(call.model, Accounts(known), need_of(call))
    routes = [candidate.route for candidate in candidates if candidate.route is not None]
    if routes:
        return tuple(routes[:MAX_ROUTES])
    if not candidates:
        raise ModelNotFound(model=call.model)
    if all(candidate.reason == "unpriced" for candidate in candidates):
        raise ModelUnpriced(model=call.model)
    if all(candidate.reason == "context_too_small" for candidate in candidates):
        raise ContextExceeded
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
    if call.response_format is not None:
        asked.add(Capability.STRUCTURED_OUTPUT)
    asked.update(
        _SHOWN[type(part)]
        for message in call.messages
        for part in _parts(message)
        if type(part) in _SHOWN
    )
    return Need(capabilities=frozenset(asked), input_tokens=size)


_SHOWN: Final[dict[type, Capability]] = {
    ImagePart: Capability.VISION,
    DocumentPart: Capability.DOCUMENTS,
    AudioPart: Capability.AUDIO_IN,
}


def _parts(message: Message) -> Iterator[AnyPart]:
    """The parts of a message and what its tools showed; a document of plain text is text."""
    for part in message.parts:
        inner = part.media if isinstance(part, ToolResultPart) else ()
        for one in (part, *inner):
            if not (isinstance(one, DocumentPart) and _is_text(one)):
                yield one


def _is_text(part: DocumentPart) -> bool:
    """Whether every model can read it."""
    return bool(part.text) or (not part.url and part.media_type.startswith(blocks.TEXTS))


def resolve(name: str, context: CallContext, need: Need) -> list[Candidate]:
    """Everything the name stands for in this context, ready or not; empty when nothing."""
    return _resolve(name, Accounts(Tables(context)), need)


def _resolve(name: str, accounts: Accounts, need: Need) -> list[Candidate]:
    alias = accounts.alias(name)
    if alias is not None:
        return accounts.behind(alias, need)
    plain = plain_of(name)
    if plain and not accounts.offer(name) and (found := _resolve(plain, accounts, need)):
        return found
    return accounts.candidates([name], need)


def plain_of(name: str) -> str:
    """The name behind its twin `anthropic/<name>`, "" for any other.

    Claude Code shows only models that sound like Anthropic's, so the gateway lists every other one
    a second time under such a name.
    """
    plain = name.removeprefix(TWIN)
    is_theirs = any(word in plain.lower() for word in THEIRS)
    return "" if plain == name or is_theirs else plain


def _unknown(ref: str) -> Candidate:
    return Candidate(model_ref=ref, provider_id=None, model=ref, reason="not_offered")


class Accounts:
    """The accounts of a context, as its directory has them."""

    def __init__(self, found: Directory) -> None:
        self._directory = found
        self._providers = found.providers

    def alias(self, name: str) -> ModelAlias | None:
        """The alias of that name in the nearest scope of the context."""
        return self._directory.alias(name)

    def behind(self, alias: ModelAlias, need: Need = ANYTHING) -> list[Candidate]:
        """What an alias leads to, in its order: the chosen model, else every target."""
        if alias.selected_model:
            refs = [alias.selected_model]
        else:
            targets = sorted(alias.targets.all(), key=lambda target: target.position)
            refs = [target.model_ref for target in targets]
        found = self.candidates(refs, need)
        offered = {candidate.model_ref for candidate in found}
        missing = [_unknown(ref) for ref in refs if ref not in offered]
        return sorted(found + missing, key=lambda one: refs.index(one.model_ref))

    def offer(self, ref: str) -> bool:
        """Whether an account lists this very name, as `slug/model` or as a bare id."""
        known = self._directory.known([ref])
        slug, _, model = ref.partition("/")
        return any(
            known.is_offered(row, ref) or (row.slug == slug and known.is_offered(row, model))
            for row in self._providers
        )

    def candidates(self, refs: Sequence[str], need: Need) -> list[Candidate]:
        """The accounts behind some names, ready or not; none for a name that nobody offers."""
        known = self._directory.known(refs)
        return [
            self._judged(ref, provider, model, known, need)
            for ref in refs
            for provider, model in self._offering(ref, known)
        ]

    def _offering(self, ref: str, known: Known) -> list[tuple[Provider, str]]:
        """`slug/model` names one account. A bare id means those of the nearest scope that offers
        it: a person's own account never falls back to one that somebody else pays."""
        slug, slash, model = ref.partition("/")
        named = [row for row in self._providers if slash and row.slug == slug]
        if named:
            return [(named[0], model)]
        found = [row for row in self._providers if known.is_offered(row, ref)]
        return [(row, ref) for row in found if row.scope == found[0].scope]

    def _judged(
        self, ref: str, provider: Provider, model: str, known: Known, need: Need
    ) -> Candidate:
        limits = known.limits(provider, model)
        reason, is_trial = self._obstacle(
            provider, known.offer(provider, model), limits, model, need
        )
        route = None
        if not reason:
            ratio = known.ratio(provider, model)
            settings = self._directory.settings(provider)
            route = _route(provider, model, limits, settings, ratio=ratio, is_trial=is_trial)
        return Candidate(
            model_ref=ref, provider_id=provider.pk, model=model, reason=reason, route=route
        )

    def _obstacle(
        self,
        provider: Provider,
        offer: ProviderModel | None,
        known: Limits,
        model: str,
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
        found = self._directory
        if not _is_priced(found.prices, provider, model, need.operation, found.now):
            return "unpriced", False
        return self._ill(provider, model)

    def _ill(self, provider: Provider, model: str) -> tuple[str, bool]:
        account = self._directory.standing(provider.pk, health.KEY)
        if account is not None and account.state is HealthState.KEY_INVALID:
            return "key_invalid", False
        if account is not None and account.state is HealthState.COOLING_DOWN and not account.is_due:
            return "cooling_down", False
        of_model = self._directory.standing(provider.pk, model)
        if of_model is None or of_model.state is not HealthState.OPEN:
            return "", False
        return ("", True) if of_model.is_due else ("breaker_open", False)


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


def _route(
    provider: Provider,
    model: str,
    known: Limits,
    settings: Settings,
    *,
    ratio: Ratio = estimation.USUAL,
    is_trial: bool = False,
) -> Route:
    return Route(
        provider_id=provider.pk,
        provider_type=ProviderType(provider.type),
        slug=provider.slug,
        billing_mode=BillingMode(provider.billing_mode),
        secret_id=provider.secret_id,
        model=model,
        config=settings.config,
        base_url=settings.base_url,
        capabilities=known.capabilities,
        context_tokens=known.context_tokens,
        max_output_tokens=known.max_output_tokens,
        ratio=ratio,
        is_trial=is_trial,
    )


def route_to(provider: Provider, model: str) -> Route:
    """The route to an account's model, ready or not: for listing and testing."""
    limits = directory.known_of([provider], [model]).limits(provider, model)
    return _route(provider, model, limits, directory.settings_of(provider))


def for_model(route: Route, model: str) -> Route:
    """The same account with another model."""
    return replace(route, model=model)


def catalogued(provider_type: str, names: Iterable[str]) -> list[CatalogueModel]:
    """What the catalogue knows of some models."""
    return list(
        CatalogueModel.objects.filter(provider_type=provider_type, model_id__in=list(names))
    )
