"""Who looks at the dashboard: their organizations, and how they want to see money."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from accounts.models import OrganizationMembership, User
from accounts.selectors import user_of
from accounts.services import access
from accounts.types import (
    ORGANIZATION_PERMISSIONS,
    Actor,
    OrganizationKind,
    OrganizationRole,
    Permission,
)
from billing.models import ViewPreference
from billing.selectors import reach
from billing.selectors.reach import Reach
from billing.types import Precision
from ideplatform.kit.errors import NotFound


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """An organization of the viewer, and what their role lets them see and change of its money."""

    id: UUID
    name: str
    kind: OrganizationKind
    role: OrganizationRole

    @property
    def sees_money(self) -> bool:
        return Permission.BILLING_VIEW in ORGANIZATION_PERMISSIONS[self.role]

    @property
    def manages_money(self) -> bool:
        return Permission.BILLING_MANAGE in ORGANIZATION_PERMISSIONS[self.role]


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """How amounts and days are shown, and whether alerts come by e-mail."""

    tz: str = "UTC"
    precision: Precision = Precision.COMMON
    gets_alerts: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Viewer:
    """A person with their organizations: teams whose money they see come first."""

    actor: Actor
    name: str
    places: tuple[Place, ...]
    preferences: Preferences
    reach: Reach

    def place(self, organization_id: UUID | None) -> Place:
        """The one that was asked for, else the first; raises NotFound for a foreign one."""
        if organization_id is None:
            return self.places[0]
        for one in self.places:
            if one.id == organization_id:
                return one
        access.authorise(self.actor, Permission.BILLING_VIEW, organization_id)
        raise NotFound


def viewer(actor: Actor) -> Viewer:
    """Everything that a page needs to know of its reader, in two queries."""
    rows = list(
        OrganizationMembership.objects.filter(user_id=actor.user_id, user__is_active=True)
        .select_related("organization", "user__billing_preference")
        .order_by("organization__name", "organization_id")
    )
    user = rows[0].user if rows else user_of(actor)
    return Viewer(
        actor=actor,
        name=user.full_name or user.email,
        places=tuple(sorted(map(_place, rows), key=_rank)),
        preferences=_preferences(user),
        reach=reach.with_roles(actor, {row.organization_id: row.role for row in rows}),
    )


def _place(row: OrganizationMembership) -> Place:
    return Place(
        id=row.organization_id,
        name=row.organization.name,
        kind=OrganizationKind(row.organization.kind),
        role=OrganizationRole(row.role),
    )


def _rank(place: Place) -> tuple[bool, bool]:
    return place.kind == OrganizationKind.PERSONAL, not place.sees_money


def _preferences(user: User) -> Preferences:
    row: ViewPreference | None = getattr(user, "billing_preference", None)
    if row is None:
        return Preferences()
    return Preferences(tz=row.tz, precision=Precision(row.precision), gets_alerts=row.gets_alerts)
