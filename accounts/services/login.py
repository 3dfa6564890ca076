"""Signing in with e-mail and password, throttled without ever locking anybody out.

Five tries per address and account in 15 minutes, thirty per address in ten. When an account meets
50 wrong tries an hour from anywhere, only addresses where its owner has signed in before may go on.
An unknown account is limited, and pays the hash, exactly like a known one.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.contrib.auth import hashers
from django.db import transaction
from django.db.models.functions import Now

from accounts.errors import BadCredentials
from accounts.models import RefreshSession, User
from accounts.services import audit, passwords, sessions
from accounts.services.sessions import TokenPair
from accounts.types import SessionKind
from ideplatform.kit import crypto, throttle
from ideplatform.kit.errors import TooManyRequests


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedIn:
    """Who signed in, and the tokens of the new session."""

    user: User
    tokens: TokenPair


def sign_in(*, email: str, password: crypto.Secret, ip: str, user_agent: str) -> SignedIn:
    """Open a session; raises BadCredentials or TooManyRequests, the same for every account."""
    user = prove(email=email, password=password, ip=ip)
    return _open(user, ip=ip, user_agent=user_agent)


def sign_in_browser(
    *, email: str, password: crypto.Secret, ip: str, user_agent: str
) -> RefreshSession:
    """Open the session that a browser's cookie will name; refuses exactly as `sign_in` does."""
    user = prove(email=email, password=password, ip=ip)
    return _open_browser(user, ip=ip, user_agent=user_agent)


def prove(*, email: str, password: crypto.Secret, ip: str) -> User:
    """Whose address and password these are; raises BadCredentials or TooManyRequests.

    A try counts from its beginning, so that parallel ones cannot pass the limit, and is given
    back when it was right.
    """
    account = email.strip().lower()
    user = User.objects.by_email(account).first()
    taken = throttle.take(
        throttle.of_account(throttle.LOGIN_PAIR, account, ip=ip),
        throttle.of_ip(throttle.LOGIN_IP, ip),
    )
    everywhere = _take_everywhere(account, user, ip)
    if not passwords.matches(user, password.reveal()) or user is None or not user.is_active:
        _note_refusal(user, ip)
        raise BadCredentials
    throttle.give_back(taken)
    if everywhere is not None:
        throttle.give_back(everywhere)
    _renew_hash(user, password)
    return user


def _take_everywhere(account: str, user: User | None, ip: str) -> throttle.Taken | None:
    try:
        return throttle.take(throttle.of_account(throttle.LOGIN_ACCOUNT, account))
    except TooManyRequests:
        if user is None or not _is_known(user, ip):
            raise
        return None


def _is_known(user: User, ip: str) -> bool:
    """Whether the owner signed in from this address in the last 90 days."""
    recent = RefreshSession.objects.filter(user=user, created_at__gte=Now() - sessions.REMEMBERED)
    return bool(ip) and recent.filter(ip=ip).exists()


def _note_refusal(user: User | None, ip: str) -> None:
    audit.record(
        action="session.refused",
        outcome=audit.DENIED,
        actor_id=user.pk if user else None,
        ip=ip,
    )


def _renew_hash(user: User, password: crypto.Secret) -> None:
    """Follow the hasher's parameters when they have grown."""
    if hashers.identify_hasher(user.password).must_update(user.password):
        user.set_password(password.reveal())
        user.save(update_fields=["password", "updated_at"])


@transaction.atomic
def _open(user: User, *, ip: str, user_agent: str) -> SignedIn:
    pair = sessions.sign_in(user=user, ip=ip, user_agent=user_agent)
    _note_opening(user, pair.session_id, ip)
    return SignedIn(user=user, tokens=pair)


@transaction.atomic
def _open_browser(user: User, *, ip: str, user_agent: str) -> RefreshSession:
    row = sessions.begin(user=user, kind=SessionKind.BROWSER, ip=ip, user_agent=user_agent)
    _note_opening(user, row.pk, ip)
    return row


def _note_opening(user: User, session_id: UUID, ip: str) -> None:
    audit.record(
        action="session.opened",
        actor_id=user.pk,
        session_id=session_id,
        target=session_id,
        ip=ip,
    )
