"""Sessions: a family of refresh tokens, rotated on use, ended as one.

simplejwt's own rotation lets eight of eight parallel refreshes succeed; a row under lock does not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from accounts.errors import SessionExpired, SessionRevoked
from accounts.models import RefreshSession, User, WsTicket
from accounts.services import access, audit, feed, tokens
from accounts.types import Actor, SessionKind
from ideplatform.kit.db import database_now
from ideplatform.kit.errors import NotFound, PlatformError

GRACE = timedelta(seconds=10)
SEEN_EVERY = timedelta(minutes=1)
REMEMBERED = timedelta(days=90)


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenPair:
    """What a client holds after signing in or refreshing; its repr shows no token."""

    user_id: UUID
    session_id: UUID
    access: str = field(repr=False)
    refresh: str = field(repr=False)
    access_expires_at: datetime


@transaction.atomic
def begin(
    *, user: User, kind: SessionKind = SessionKind.TOKEN, ip: str = "", user_agent: str = ""
) -> RefreshSession:
    """Open a session for somebody who has just proved who they are."""
    now = database_now()
    return RefreshSession.objects.create(
        user=user,
        kind=kind,
        created_at=now,
        rotated_at=now,
        auth_at=now,
        last_seen_at=now,
        expires_at=now + timedelta(seconds=settings.ENV.refresh_token_s),
        ip=ip or None,
        user_agent=user_agent[:300],
    )


def issue(session: RefreshSession, *, now: datetime) -> TokenPair:
    """The tokens of the session's current generation."""
    access, access_expires_at = tokens.access(
        user_id=session.user_id, session_id=session.pk, now=now
    )
    refresh = tokens.refresh(
        user_id=session.user_id,
        session_id=session.pk,
        generation=session.generation,
        rotated_at=session.rotated_at,
        expires_at=session.expires_at,
    )
    return TokenPair(
        user_id=session.user_id,
        session_id=session.pk,
        access=access,
        refresh=refresh,
        access_expires_at=access_expires_at,
    )


def sign_in(*, user: User, ip: str, user_agent: str) -> TokenPair:
    """Open a session and issue its first tokens."""
    session = begin(user=user, ip=ip, user_agent=user_agent)
    return issue(session, now=session.rotated_at)


def rotate(*, refresh: str, ip: str = "") -> TokenPair:
    """Exchange a refresh token for its successor, on database time.

    Within 10 s the predecessor gets the same successor again (its client lost the answer). An
    older or a newer token was copied, or the database restored: the whole family ends.
    Raises SessionRevoked, SessionExpired, Unauthenticated.
    """
    claims = tokens.read_refresh(refresh)
    answer = _rotate(claims, ip=ip)
    if isinstance(answer, PlatformError):
        raise answer  # after the commit: the family stays revoked
    return answer


@transaction.atomic
def _rotate(claims: tokens.RefreshClaims, *, ip: str) -> TokenPair | PlatformError:
    session = (
        RefreshSession.objects.select_for_update(of=("self",))
        .select_related("user")
        .filter(pk=claims.session_id, user_id=claims.user_id)
        .first()
    )
    now = database_now()
    if session is None or session.revoked_at is not None or not session.user.is_active:
        return SessionRevoked()
    if session.expires_at <= now:
        return SessionExpired()
    if claims.generation == session.generation and claims.token_id == _current_id(session):
        _advance(session, now)
        return issue(session, now=now)
    if claims.generation == session.generation - 1 and now - session.rotated_at <= GRACE:
        return issue(session, now=now)
    _end(RefreshSession.objects.filter(pk=session.pk), reason="reuse")
    audit.record(
        action="session.reuse_detected",
        outcome=audit.DENIED,
        actor_id=session.user_id,
        session_id=session.pk,
        target=session.pk,
        ip=ip,
    )
    return SessionRevoked()


def _current_id(session: RefreshSession) -> UUID:
    return tokens.refresh_id(
        session_id=session.pk, generation=session.generation, rotated_at=session.rotated_at
    )


def _advance(session: RefreshSession, now: datetime) -> None:
    longest = session.created_at + timedelta(seconds=settings.ENV.session_absolute_s)
    session.generation += 1
    session.rotated_at = session.last_seen_at = now
    session.expires_at = min(now + timedelta(seconds=settings.ENV.refresh_token_s), longest)
    session.save(update_fields=["generation", "rotated_at", "expires_at", "last_seen_at"])


@transaction.atomic
def revoke(*, user_id: UUID, session_id: UUID, reason: str) -> None:
    """End one session of a user at once, everywhere; raises NotFound for any other id."""
    if not _end(_alive(user_id).filter(pk=session_id), reason=reason):
        raise NotFound


@transaction.atomic
def revoke_all(*, user_id: UUID, reason: str, keep: UUID | None = None) -> int:
    """End a user's sessions, but the one to `keep`; returns how many."""
    ended = _alive(user_id) if keep is None else _alive(user_id).exclude(pk=keep)
    return _end(ended, reason=reason)


@transaction.atomic
def log_out(*, actor: Actor) -> None:
    """End the session that is speaking, with its refresh tokens, tickets and cookie."""
    session_id = access.session_of(actor)
    revoke(user_id=actor.user_id, session_id=session_id, reason="logout")
    audit.record(action="session.closed", actor=actor, target=session_id)


def tokens_of(*, actor: Actor) -> TokenPair:
    """The current tokens of the session that is speaking (a browser's, by its cookie)."""
    session = live(user_id=actor.user_id, session_id=access.session_of(actor))
    return issue(session, now=database_now())


def _alive(user_id: UUID) -> QuerySet[RefreshSession]:
    return RefreshSession.objects.filter(user_id=user_id, revoked_at=None)


def _end(sessions: QuerySet[RefreshSession], *, reason: str) -> int:
    ids = list(sessions.select_for_update().values_list("pk", flat=True))
    RefreshSession.objects.filter(pk__in=ids).update(revoked_at=Now(), reason=reason)
    WsTicket.objects.filter(session_id__in=ids).delete()
    for session_id in ids:
        feed.announce(session_id=session_id)
    return len(ids)


def prune() -> int:
    """Forget sessions that ended 90 days ago; returns how many.

    Until then they say from where the account's owner signs in (`login`).
    """
    long_ago = Now() - REMEMBERED
    over = Q(expires_at__lt=long_ago) | Q(revoked_at__lt=long_ago)
    count, _ = RefreshSession.objects.filter(over).delete()
    return count


def seen(session: RefreshSession) -> None:
    """Note that a session is in use, at most once a minute."""
    RefreshSession.objects.filter(pk=session.pk, last_seen_at__lt=Now() - SEEN_EVERY).update(
        last_seen_at=Now()
    )


def confirm(*, session_id: UUID) -> datetime:
    """Note that the person proved again who they are; returns when."""
    now = database_now()
    RefreshSession.objects.filter(pk=session_id).update(auth_at=now)
    return now


def live(*, user_id: UUID, session_id: UUID) -> RefreshSession:
    """The session, if it is in force; raises SessionRevoked or SessionExpired."""
    session = (
        RefreshSession.objects.select_related("user")
        .filter(pk=session_id, user_id=user_id)
        .annotate(clock=Now())
        .first()
    )
    if session is None or session.revoked_at is not None or not session.user.is_active:
        raise SessionRevoked
    if session.expires_at <= session.clock:
        raise SessionExpired
    return session
