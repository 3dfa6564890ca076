"""The models that a caller may name, and what is known of each."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Final

import msgspec

from ideplatform.kit import clock
from providers.models import ModelAlias, Provider, ProviderModel
from providers.services import agent_models, directory
from providers.services.directory import Limits
from providers.types import CallContext, ProviderScope, ProviderType

PLATFORM: Final = "platform"


class Offered(msgspec.Struct, frozen=True, kw_only=True):
    """One name. Limits are None where nobody knows them; `owner` is the account's slug.

    `full_name` is `slug/id`, by which an account's model is always known as well.
    """

    name: str
    owner: str
    created_at: datetime
    full_name: str = ""
    display_name: str = ""
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    capabilities: frozenset[str] | None = None


def of(context: CallContext) -> list[Offered]:
    """Aliases, agents, then each account's models: by the bare id, and as `slug/id` where the
    bare id means another account."""
    accounts = _accounts(context)
    offers = _offers(accounts)
    limits = directory.limits_of(offers)
    models = list(_models(accounts, offers, limits))
    known = {one.name: one for one in models}
    return [*_aliases(context, known), *_agents(context, accounts), *models]


def _accounts(context: CallContext) -> list[Provider]:
    """The accounts that could serve a call, nearest scope first, then priority."""
    rows = Provider.objects.filter(
        directory.visible(context), deleted_at__isnull=True, is_enabled=True
    )
    nearness = {scope: place for place, scope in enumerate(directory.NEAREST)}
    ready = [row for row in rows if row.secret_id or row.type == ProviderType.OPENAI_COMPATIBLE]
    return sorted(
        ready, key=lambda row: (nearness[ProviderScope(row.scope)], -row.priority, row.pk)
    )


def _offers(accounts: Sequence[Provider]) -> list[ProviderModel]:
    rows = ProviderModel.objects.filter(provider__in=[row.pk for row in accounts], is_enabled=True)
    return [
        row
        for row in rows.select_related("provider").order_by("model_id")
        if row.model_id in (row.provider.config.get("allowed_models") or (row.model_id,))
    ]


def _models(
    accounts: Sequence[Provider], offers: Sequence[ProviderModel], limits: dict[int, Limits]
) -> Iterator[Offered]:
    by_account: dict[object, list[ProviderModel]] = {}
    for offer in offers:
        by_account.setdefault(offer.provider_id, []).append(offer)
    bare, slugs = set[str](), set[str]()
    for account in accounts:
        is_named = account.slug not in slugs
        slugs.add(account.slug)
        for offer in by_account.get(account.pk, ()):
            name = offer.model_id
            if name in bare:
                if not is_named:  # a nearer account of the same slug hides this one
                    continue
                name = f"{account.slug}/{name}"
            bare.add(offer.model_id)
            yield _offered(name, offer, limits[offer.pk])


def _offered(name: str, offer: ProviderModel, known: Limits) -> Offered:
    return Offered(
        name=name,
        owner=offer.provider.slug,
        full_name=f"{offer.provider.slug}/{offer.model_id}",
        created_at=offer.provider.created_at,
        display_name=offer.display_name or offer.model_id,
        context_tokens=known.context_tokens,
        max_output_tokens=known.max_output_tokens,
        capabilities=known.capabilities,
    )


def _aliases(context: CallContext, known: dict[str, Offered]) -> Iterator[Offered]:
    """The nearest alias of each name, with the limits of the first target that is offered."""
    rows = ModelAlias.objects.filter(directory.visible(context)).prefetch_related("targets")
    nearness = {scope: place for place, scope in enumerate(directory.NEAREST)}
    seen = set[str]()
    for alias in sorted(rows, key=lambda row: (nearness[ProviderScope(row.scope)], row.name)):
        if alias.name in seen:
            continue
        seen.add(alias.name)
        targets = sorted(alias.targets.all(), key=lambda target: target.position)
        refs = [alias.selected_model] if alias.selected_model else [t.model_ref for t in targets]
        leads_to = next((known[ref] for ref in refs if ref in known), None)
        yield Offered(
            name=alias.name,
            owner=PLATFORM,
            created_at=alias.updated_at,
            display_name=alias.description or alias.name,
            context_tokens=leads_to.context_tokens if leads_to else None,
            max_output_tokens=leads_to.max_output_tokens if leads_to else None,
            capabilities=leads_to.capabilities if leads_to else None,
        )


def _agents(context: CallContext, accounts: Sequence[Provider]) -> Iterator[Offered]:
    begun = min((row.created_at for row in accounts), default=None)
    for agent in agent_models.listed(context):
        yield Offered(
            name=agent.id,
            owner=PLATFORM,
            created_at=begun or clock.now(),
            display_name=agent.display_name or agent.id,
            context_tokens=agent.context_tokens,
            max_output_tokens=agent.max_output_tokens,
        )
