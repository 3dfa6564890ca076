"""Which usage an actor may see, and which ids it may name.

An editor sees their own calls, a workspace's owner the workspace, an organization's owner, admin
and billing people all of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

from django.db.models import OuterRef, Q, QuerySet, Subquery

from accounts.models import ApiKey, OrganizationMembership
from accounts.services import access
from accounts.types import ORGANIZATION_PERMISSIONS, Actor, Permission
from billing.models import ProviderCard, UsageEvent
from billing.types import UsageFilters
from ideplatform.kit.errors import NotFound
from workspaces import selectors as workspaces
from workspaces.models import WorkspaceMembership
from workspaces.services import access as workspace_access
from workspaces.types import ROLE_PERMISSIONS, Visibility, WorkspaceRole

MOST_BRANCHES: Final = 20
_PAYING = [
    role
    for role, permissions in ORGANIZATION_PERMISSIONS.items()
    if Permission.BILLING_VIEW in permissions
]
_WORKING = [
    role for role, permissions in ROLE_PERMISSIONS.items() if Permission.BILLING_VIEW in permissions
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Where an actor's view ends. Ids, read once per request.

    `elsewhere` are the workspaces, of all it works in, whose organization it does not see whole.
    A workspace never changes its organization, and that one pays for calls in it.
    """

    actor: Actor
    paying: tuple[UUID, ...]
    member_of: tuple[UUID, ...]
    owned: tuple[UUID, ...]
    working: tuple[UUID, ...]
    elsewhere: tuple[UUID, ...]

    @property
    def administered(self) -> tuple[UUID, ...]:
        """The organizations whose people, keys and providers the actor may name."""
        return self.paying if self.actor.key_workspace_id is None else ()

    @property
    def events(self) -> QuerySet[UsageEvent]:
        """The usage events the actor may see."""
        return UsageEvent.objects.filter(self.visible)

    @property
    def visible(self) -> Q:
        """The same as a condition, on events or on `usage_effective`."""
        own = Q(workspace_id__in=self.working) | Q(
            workspace_id__isnull=True, customer_id__in=self.member_of
        )
        return self.by_key & (
            Q(customer_id__in=self.paying)
            | Q(workspace_id__in=self.owned)
            | (Q(user_id=self.actor.user_id) & own)
        )

    @property
    def beside(self) -> Q | None:
        """What of `visible` is of organizations that the actor does not see whole, if any can be.

        Says it without the workspaces of the others, whose rows would all be looked at in vain.
        """
        partly = tuple(set(self.member_of) - set(self.paying))
        if not self.elsewhere and not partly:
            return None
        own = Q(workspace_id__in=self.elsewhere) | Q(
            workspace_id__isnull=True, customer_id__in=partly
        )
        owned = tuple(set(self.owned) & set(self.elsewhere))
        mine = Q(workspace_id__in=owned) | (Q(user_id=self.actor.user_id) & own)
        return self.by_key & ~Q(customer_id__in=self.paying) & mine

    @property
    def by_key(self) -> Q:
        """An API key's own limits."""
        limits = Q()
        if self.actor.key_organization_id is not None:
            limits &= Q(customer_id=self.actor.key_organization_id)
        if self.actor.key_workspace_id is not None:
            limits &= Q(workspace_id=self.actor.key_workspace_id)
        return limits


def of(actor: Actor) -> Reach:
    """The actor's reach at this moment; raises ScopeMissing for a key that may not see costs."""
    access.authorise_listing(actor, Permission.BILLING_VIEW)
    known = _kept.get()
    if known is not None and known.actor == actor:
        return known
    memberships = OrganizationMembership.objects.filter(user_id=actor.user_id, user__is_active=True)
    if actor.key_organization_id is not None:
        memberships = memberships.filter(organization=actor.key_organization_id)
    return with_roles(actor, dict(memberships.values_list("organization_id", "role")))


def with_roles(actor: Actor, roles: Mapping[UUID, str]) -> Reach:
    """The reach of an actor whose roles in organizations were just read."""
    own = WorkspaceMembership.objects.filter(workspace=OuterRef("pk"), user_id=actor.user_id)
    # Seeing a workspace is judged by its own rules, not by whether a key may list workspaces.
    visible = workspaces.workspaces_of(replace(actor, scopes=None))
    rows = visible.annotate(own_role=Subquery(own.values("role")[:1])).values_list(
        "pk", "organization_id", "own_role", "visibility", "default_role"
    )
    paying = tuple(organization for organization, role in roles.items() if role in _PAYING)
    owned, working, elsewhere = [], [], []
    for workspace_id, organization_id, own_role, visibility, default_role in rows:
        inherited = default_role if visibility == Visibility.ORGANIZATION else None
        if (own_role or inherited) in _WORKING:
            working.append(workspace_id)
            if organization_id not in paying:
                elsewhere.append(workspace_id)
        if own_role == WorkspaceRole.OWNER:
            owned.append(workspace_id)
    return Reach(
        actor=actor,
        paying=paying,
        member_of=tuple(roles),
        owned=tuple(owned),
        working=tuple(working),
        elsewhere=tuple(elsewhere),
    )


@contextmanager
def kept(seen: Reach) -> Iterator[None]:
    """Inside, `of` answers this reach to its actor: one page asks for several things at once."""
    token = _kept.set(seen)
    try:
        yield
    finally:
        _kept.reset(token)


_kept: ContextVar[Reach | None] = ContextVar("billing_reach", default=None)


def events(actor: Actor, filters: UsageFilters) -> QuerySet[UsageEvent]:
    """The events that the actor may see and the filters mean.

    Raises NotFound for an id that is not the actor's to name, as for one that does not exist;
    Forbidden for a workspace where the actor's role does not cover costs.
    """
    return checked(actor, filters).events.filter(condition(filters))


def branches(actor: Actor, filters: UsageFilters) -> list[QuerySet[UsageEvent]]:
    """The same events as `events`, in parts that share none: each has an index in time's order.

    An organization seen whole is one part, all that is seen beside those is another. Whoever sees
    very many organizations gets one part. Raises as `events` does.
    """
    seen = checked(actor, filters)
    asked = filters.organization_id
    whole = [one for one in seen.paying if asked in (None, one)]
    if len(whole) > MOST_BRANCHES:
        return [seen.events.filter(condition(filters))]
    parts = [seen.by_key & Q(customer_id=one) for one in whole]
    beside = seen.beside
    if beside is not None:
        parts.append(beside)
    return [UsageEvent.objects.filter(part, condition(filters)) for part in parts]


def checked(actor: Actor, filters: UsageFilters) -> Reach:
    """The actor's reach, once all that the filters name is the actor's to name; raises alike."""
    reach = of(actor)
    _check_ids(reach, filters)
    return reach


def _check_ids(reach: Reach, filters: UsageFilters) -> None:
    actor = reach.actor
    if filters.organization_id is not None and filters.organization_id not in reach.member_of:
        raise NotFound
    if filters.workspace_id is not None:
        workspace_access.workspace(actor, filters.workspace_id, Permission.BILLING_VIEW)
    if filters.user_id is not None and not _knows_user(reach, filters.user_id):
        raise NotFound
    if filters.provider_id is not None and not _knows_provider(reach, filters.provider_id):
        raise NotFound
    if filters.api_key_id is not None and not _knows_key(reach, filters.api_key_id):
        raise NotFound
    for column in ("conversation_id", "run_id", "request_id"):
        _require_seen(reach, column, getattr(filters, column))


def _knows_user(reach: Reach, user_id: UUID) -> bool:
    if user_id == reach.actor.user_id or reach.events.filter(user_id=user_id).exists():
        return True
    colleagues = OrganizationMembership.objects.filter(organization__in=reach.administered)
    members = WorkspaceMembership.objects.filter(workspace__in=reach.owned)
    return colleagues.filter(user_id=user_id).exists() or members.filter(user_id=user_id).exists()


def _knows_provider(reach: Reach, provider_id: UUID) -> bool:
    cards = ProviderCard.objects.filter(
        Q(organization__in=reach.administered)
        | Q(owner_id=reach.actor.user_id)
        | Q(workspace_id__in=reach.working),
        provider_id=provider_id,
    )
    return cards.exists() or reach.events.filter(provider_id=provider_id).exists()


def _knows_key(reach: Reach, api_key_id: UUID) -> bool:
    keys = ApiKey.objects.filter(
        Q(user_id=reach.actor.user_id) | Q(organization__in=reach.administered), pk=api_key_id
    )
    return keys.exists() or reach.events.filter(api_key_id=api_key_id).exists()


def _require_seen(reach: Reach, column: str, value: UUID | None) -> None:
    """What only apps above know exists for us when it has usage that the actor sees."""
    if value is not None and not reach.events.filter(**{column: value}).exists():
        raise NotFound


_EQUAL = (
    "workspace_id",
    "user_id",
    "provider_id",
    "api_key_id",
    "conversation_id",
    "run_id",
    "request_id",
    "agent_id",
    "model",
    "status",
    "outcome",
    "source",
    "billing_mode",
)
_OTHER = {
    "start": "occurred_at__gte",
    "end": "occurred_at__lt",
    "organization_id": "customer_id",
    "min_cost": "estimated_cost__gte",
}


def condition(filters: UsageFilters) -> Q:
    """What the filters mean, on usage events."""
    lookups = {name: name for name in _EQUAL} | _OTHER
    return Q(
        **{
            lookup: value
            for name, lookup in lookups.items()
            if (value := getattr(filters, name)) is not None
        }
    )
