"""Names of what usage is grouped and filtered by. Ids come from what the reader already sees."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db.models import F, Q, QuerySet

from accounts.models import ApiKey, OrganizationMembership, User
from billing.models import ProviderCard
from billing.selectors.reach import Reach
from workspaces.models import Workspace

MOST_CHOICES: Final = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """One thing to choose."""

    id: UUID
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Choices:
    """What a reader may filter by, of one organization or of everything within reach."""

    workspaces: tuple[Named, ...]
    people: tuple[Named, ...]
    keys: tuple[Named, ...]
    providers: tuple[Named, ...]


def of(dimension: str, ids: Iterable[UUID]) -> dict[object, str]:
    """The names of ids that a summary grouped by; what was deleted since has none."""
    wanted = set(ids)
    rows = _ROWS[dimension]() if dimension in _ROWS and wanted else None
    return {} if rows is None else dict(rows.filter(key__in=wanted).values_list("key", "label"))


def choices(seen: Reach, organization_id: UUID | None) -> Choices:
    """The workspaces, people, keys and providers of an organization that the reader may name."""
    return Choices(
        workspaces=_chosen(_workspaces(), Q(pk__in=_workspace_ids(seen, organization_id))),
        people=_chosen(_people(), _people_seen(seen, organization_id)),
        keys=_chosen(_keys(), keys_seen(seen, organization_id)),
        providers=_chosen(_providers(), _providers_seen(seen, organization_id)),
    )


def keys(seen: Reach, organization_id: UUID) -> list[ApiKey]:
    """The API keys of an organization that were not revoked: all for who sees its money, else the
    reader's own."""
    rows = ApiKey.objects.filter(keys_seen(seen, organization_id), revoked_at=None)
    return list(rows.select_related("user").order_by("name", "pk")[:MOST_CHOICES])


def keys_seen(seen: Reach, organization_id: UUID | None) -> Q:
    own = Q(user_id=seen.actor.user_id)
    if organization_id is None:
        return own | Q(organization__in=seen.administered)
    here = Q(organization=organization_id)
    return here if organization_id in seen.administered else here & own


def _people_seen(seen: Reach, organization_id: UUID | None) -> Q:
    """Colleagues where the reader sees the organization's money, else themselves."""
    administered = seen.administered
    if organization_id is not None:
        administered = tuple(one for one in administered if one == organization_id)
    colleagues = OrganizationMembership.objects.filter(organization__in=administered)
    return Q(pk=seen.actor.user_id) | Q(pk__in=colleagues.values("user_id"))


def _providers_seen(seen: Reach, organization_id: UUID | None) -> Q:
    seen_ones = (
        Q(organization__in=seen.administered)
        | Q(owner_id=seen.actor.user_id)
        | Q(workspace_id__in=seen.working)
    )
    return seen_ones if organization_id is None else seen_ones & Q(organization=organization_id)


def _workspace_ids(seen: Reach, organization_id: UUID | None) -> QuerySet[Workspace, Any]:
    rows = Workspace.objects.filter(
        Q(pk__in=[*seen.working, *seen.owned]) | Q(organization__in=seen.administered)
    )
    if organization_id is not None:
        rows = rows.filter(organization=organization_id)
    return rows.values("pk")


def _chosen(rows: QuerySet[Any, Any], condition: Q) -> tuple[Named, ...]:
    found = rows.filter(condition).order_by("label", "key")[:MOST_CHOICES]
    return tuple(Named(id=row["key"], name=row["label"]) for row in found.values("key", "label"))


def _workspaces() -> QuerySet[Any, Any]:
    return Workspace.objects.filter(deleted_at__isnull=True).annotate(key=F("pk"), label=F("name"))


def _people() -> QuerySet[Any, Any]:
    return User.objects.annotate(key=F("pk"), label=F("email"))


def _keys() -> QuerySet[Any, Any]:
    return ApiKey.objects.annotate(key=F("pk"), label=F("name"))


def _providers() -> QuerySet[Any, Any]:
    return ProviderCard.objects.annotate(key=F("provider_id"), label=F("name"))


_ROWS: Final = {
    "workspace": _workspaces,
    "user": _people,
    "api_key": _keys,
    "provider": _providers,
}
