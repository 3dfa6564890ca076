"""Signing up: a user, the personal organization and the first session, in one transaction."""

from __future__ import annotations

import re
from dataclasses import dataclass

from django.db import IntegrityError, transaction

from accounts.errors import EmailTaken
from accounts.models import Organization, OrganizationMembership, User
from accounts.services import audit, passwords, sessions
from accounts.services.sessions import TokenPair
from accounts.types import OrganizationKind, OrganizationRole
from ideplatform.kit import crypto, ids, throttle


@dataclass(frozen=True, slots=True, kw_only=True)
class Registered:
    """A new user and the tokens of the first session."""

    user: User
    tokens: TokenPair


def register(
    *, email: str, password: crypto.Secret, full_name: str, ip: str, user_agent: str
) -> Registered:
    """Sign somebody up and in.

    Raises EmailTaken (the case of an address does not matter), WeakPassword, TooManyRequests.
    """
    throttle.take(throttle.of_ip(throttle.REGISTER, ip))
    candidate = User(email=email.strip(), full_name=full_name)
    passwords.check_strength(password.reveal(), user=candidate)
    candidate.set_password(password.reveal())
    return _store(candidate, ip=ip, user_agent=user_agent)


@transaction.atomic
def _store(candidate: User, *, ip: str, user_agent: str) -> Registered:
    user = create(candidate)
    pair = sessions.sign_in(user=user, ip=ip, user_agent=user_agent)
    audit.record(
        action="user.registered",
        actor_id=user.pk,
        session_id=pair.session_id,
        target=user.pk,
        ip=ip,
    )
    return Registered(user=user, tokens=pair)


@transaction.atomic
def create(candidate: User) -> User:
    """Store a prepared user with a personal organization; raises EmailTaken."""
    try:
        with transaction.atomic():
            candidate.save(force_insert=True)
    except IntegrityError:
        raise EmailTaken from None
    personal = Organization.objects.create(
        name=candidate.full_name or candidate.email.partition("@")[0],
        slug=_slug(candidate),
        kind=OrganizationKind.PERSONAL,
        personal_user=candidate,
    )
    OrganizationMembership.objects.create(
        organization=personal, user=candidate, role=OrganizationRole.OWNER
    )
    return candidate


def _slug(user: User) -> str:
    """Readable, and unique by the random part of the user's id."""
    name = re.sub(r"[^a-z0-9]+", "-", user.email.partition("@")[0].lower()).strip("-")
    return f"{name[:30] or 'user'}-{ids.base32(user.pk)[-10:]}"
