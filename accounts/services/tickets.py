"""Socket tickets: what a browser may put into a socket's URL instead of a credential.

A ticket lives 30 seconds, opens one path once, and dies with its session. Stock Yjs clients dial
the same URL again, so a collaboration ticket may be reusable: 10 minutes.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection
from django.db.models.functions import Now

from accounts.models import WsTicket
from accounts.services import access
from accounts.types import Actor
from ideplatform.kit import crypto
from ideplatform.kit.db import database_now
from ideplatform.kit.errors import InvalidInput, Pointer, Unauthenticated

PREFIX = "imt"
LIFE = timedelta(seconds=30)
REUSABLE_LIFE = timedelta(minutes=10)
PATHS = "/api/v1/ws/"
REUSABLE_PATHS = "/api/v1/ws/collaboration"


def create(*, actor: Actor, path: str, is_reusable: bool = False) -> tuple[crypto.Secret, datetime]:
    """A ticket for one socket path and when it ends. Raises InvalidInput for other paths."""
    if not path.startswith(PATHS):
        raise InvalidInput(errors=[Pointer(pointer="/path", detail=f"begins with {PATHS}")])
    if is_reusable and not path.startswith(REUSABLE_PATHS):
        raise InvalidInput(
            errors=[Pointer(pointer="/reusable", detail=f"only for {REUSABLE_PATHS}")]
        )
    ticket = crypto.new_token(PREFIX)
    expires_at = database_now() + (REUSABLE_LIFE if is_reusable else LIFE)
    WsTicket.objects.create(
        token_hash=crypto.token_hash(ticket.reveal()),
        user_id=actor.user_id,
        session_id=access.session_of(actor),
        path=path,
        is_reusable=is_reusable,
        expires_at=expires_at,
    )
    return ticket, expires_at


def redeem(text: str, *, path: str) -> tuple[UUID, UUID]:
    """The user and session of a ticket, which a plain ticket does not survive.

    A ticket shown at another path is spent all the same. Raises Unauthenticated.
    """
    found = _spend(crypto.token_hash(text)) or _reuse(crypto.token_hash(text))
    if found is None or found[2] != path:
        raise Unauthenticated("the ticket is unknown, spent, expired or for another path")
    return found[0], found[1]


def sweep() -> int:
    """Delete expired tickets; returns how many."""
    count, _ = WsTicket.objects.filter(expires_at__lt=Now()).delete()
    return count


def _spend(digest: bytes) -> tuple[UUID, UUID, str] | None:
    """One statement, so that of two who show the same ticket one is refused."""
    with connection.cursor() as cursor:
        cursor.execute(
            "DELETE FROM ws_tickets WHERE token_hash = %s AND NOT is_reusable"
            " RETURNING user_id, session_id, path, expires_at > clock_timestamp()",
            [digest],
        )
        row = cursor.fetchone()
    return row[:3] if row is not None and row[3] else None


def _reuse(digest: bytes) -> tuple[UUID, UUID, str] | None:
    rows = WsTicket.objects.filter(token_hash=digest, is_reusable=True, expires_at__gt=Now())
    return rows.values_list("user_id", "session_id", "path").first()
