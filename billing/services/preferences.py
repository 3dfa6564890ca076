"""How a person wants to see money: their own choice, nobody else's."""

from __future__ import annotations

from accounts.services import access
from accounts.types import Actor
from billing import windows
from billing.models import ViewPreference
from billing.types import Precision


def save(*, actor: Actor, tz: str, precision: Precision, gets_alerts: bool) -> ViewPreference:
    """Keep the choice; raises InvalidInput for a zone that nobody knows, SessionRequired."""
    access.authorise_self(actor)
    windows.zone_of(tz)
    row, _ = ViewPreference.objects.update_or_create(
        user_id=actor.user_id,
        defaults={"tz": tz, "precision": precision, "gets_alerts": gets_alerts},
    )
    return row
