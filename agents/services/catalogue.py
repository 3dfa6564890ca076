"""The agents as people see them: what each is, and whether its model can answer now."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

import msgspec

from accounts import selectors as people
from accounts.types import Actor, Permission
from agents import catalog
from agents.types import AgentCard
from ideplatform.kit import redis
from providers.services import routing
from providers.services.routing import Need
from providers.types import CallContext
from workspaces.services import access

CACHE_S = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """An agent, the models that can answer for it now, and why the others cannot."""

    card: AgentCard
    models: tuple[str, ...]
    obstacles: tuple[str, ...]

    @property
    def is_ready(self) -> bool:
        return bool(self.models)


def listed(*, actor: Actor, workspace_id: UUID | None = None) -> list[Listed]:
    """Every agent with its readiness for this person (and workspace); raises NotFound."""
    context = _context(actor, workspace_id)
    cards = catalog.cards()
    _publish(cards)
    return [_judged(card, context) for card in cards]


def _judged(card: AgentCard, context: CallContext) -> Listed:
    candidates = routing.resolve(card.alias, context, Need())
    return Listed(
        card=card,
        models=tuple(one.model_ref for one in candidates if not one.reason),
        obstacles=tuple(f"{one.model_ref}: {one.reason}" for one in candidates if one.reason),
    )


def _context(actor: Actor, workspace_id: UUID | None) -> CallContext:
    if workspace_id is None:
        organization_id = actor.key_organization_id or people.personal_organization_id(actor)
    else:
        ref = access.workspace(actor, workspace_id, Permission.RUN_READ)
        organization_id = ref.organization_id
    return CallContext(
        user_id=actor.user_id, organization_id=organization_id, workspace_id=workspace_id
    )


def _publish(cards: list[AgentCard]) -> None:
    """Keep `cache:agent:{id}` filled for programs that read the catalogue from Redis."""
    try:
        pipeline = redis.client("cache").pipeline(transaction=False)
        for card in cards:
            pipeline.set(redis.agent_key(card.id), msgspec.json.encode(card), ex=CACHE_S, nx=True)
        pipeline.execute()
    except redis.ERRORS:
        return  # a cache: the catalogue itself is in the code
