"""One-use tokens of dialogs: whoever sends a form twice has done it once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from django.db import IntegrityError, transaction

from accounts.types import Actor
from billing.errors import SecondPersonRequired
from billing.models import SpentToken
from ideplatform.kit.errors import Conflict, NotFound

_GUARD = "two_persons"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a dialog led to: it is done, or it waits for a second person. `target` is an id."""

    is_done: bool
    target: str


class TokenReused(Conflict):
    code, title = "token_reused", "This form was sent by somebody else; open it anew"


def once(*, actor: Actor, token: UUID, work: Callable[[], Outcome]) -> Outcome:
    """Do the work in one transaction, or answer what it led to when its form came before.

    Raises TokenReused for another person's token, SecondPersonRequired when the database found
    that the operator's day is full, and what the work raises; then the token is still good.
    """
    try:
        with transaction.atomic():
            return _once(actor, token, work)
    except IntegrityError as refused:
        diagnosis = getattr(refused.__cause__, "diag", None)
        if getattr(diagnosis, "constraint_name", "") != _GUARD:
            raise
        raise SecondPersonRequired from None


def _once(actor: Actor, token: UUID, work: Callable[[], Outcome]) -> Outcome:
    mine = SpentToken(token=token, actor_id=actor.user_id)
    # Whoever comes second waits here for the first one's end.
    SpentToken.objects.bulk_create([mine], ignore_conflicts=True)
    spent = SpentToken.objects.select_for_update().filter(pk=token).first()
    if spent is None:
        raise NotFound
    if spent.actor_id != actor.user_id:
        raise TokenReused
    if spent.result:
        state, _, target = spent.result.partition(" ")
        return Outcome(is_done=state == "done", target=target)
    outcome = work()
    state = "done" if outcome.is_done else "asked"
    SpentToken.objects.filter(pk=token).update(result=f"{state} {outcome.target}")
    return outcome
