"""For whom a run acts: the person, with no more than the credential that opened it allowed."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import ApiKey, User
from accounts.services import sessions
from accounts.types import Actor, Scope
from agents.services import runs
from agents.types import Run
from ideplatform.kit.errors import Forbidden, NotFound, Unauthenticated


def acting(run: Run) -> Actor:
    """The actor of a run, as rights are now: they are judged again at every tool call.

    Raises Forbidden when the person was deactivated, or the key revoked or expired.
    """
    return calling(user_id=run.actor_id, api_key_id=run.api_key_id)


def calling(*, user_id: UUID, api_key_id: UUID | None) -> Actor:
    """The actor behind a person and, where there is one, their key, as rights are now.

    Raises Forbidden when the person was deactivated, or the key revoked or expired.
    """
    user = User.objects.filter(pk=user_id, is_active=True).first()
    if user is None:
        raise Forbidden("the person of this run is no longer active")
    if api_key_id is None:
        return Actor(user_id=user.pk, is_staff=user.is_staff, is_superuser=user.is_superuser)
    alive = Q(expires_at=None) | Q(expires_at__gt=Now())
    key = ApiKey.objects.filter(alive, pk=api_key_id, user_id=user_id, revoked_at=None).first()
    if key is None:
        raise Forbidden("the key that opened this run is no longer valid")
    return Actor(
        user_id=user.pk,
        api_key_id=key.pk,
        scopes=frozenset(Scope(scope) for scope in key.scopes),
        key_organization_id=key.organization_id,
        key_workspace_id=key.workspace_id,
    )


def require_valid(actor: Actor) -> None:
    """Whether a socket's credential still holds; raises Unauthenticated."""
    if actor.session_id is not None:
        sessions.live(user_id=actor.user_id, session_id=actor.session_id)
        return
    alive = Q(expires_at=None) | Q(expires_at__gt=Now())
    if actor.api_key_id is None:
        raise Unauthenticated
    key = ApiKey.objects.filter(
        alive, pk=actor.api_key_id, revoked_at=None, user_id=actor.user_id, user__is_active=True
    )
    if not key.exists():
        raise Unauthenticated("the API key was revoked or has expired")


def lost_runs(*, actor: Actor, run_ids: Sequence[UUID]) -> list[UUID]:
    """Which of these runs the actor may no longer read; raises Unauthenticated."""
    require_valid(actor)
    lost = []
    for run_id in run_ids:
        try:
            runs.readable(actor=actor, run_id=run_id)
        except (NotFound, Forbidden):
            lost.append(run_id)
    return lost
