"""Passwords: Argon2id, judged before they are taken, never logged."""

from __future__ import annotations

from django.contrib.auth import hashers, password_validation
from django.core.exceptions import ValidationError
from django.db import transaction

from accounts.errors import BadCredentials, WeakPassword
from accounts.models import User
from accounts.services import access, audit, sessions
from accounts.types import Actor
from ideplatform.kit import crypto, throttle
from ideplatform.kit.errors import Pointer


def check_strength(password: str, *, user: User | None = None, pointer: str = "/password") -> None:
    """Refuse a guessable password; raises WeakPassword with what to do better."""
    try:
        password_validation.validate_password(password, user)
    except ValidationError as weak:
        raise WeakPassword(
            errors=[Pointer(pointer=pointer, detail=text) for text in weak.messages]
        ) from None


def matches(user: User | None, password: str) -> bool:
    """Whether the password is the user's; nobody's password costs the same time."""
    if user is None:
        hashers.make_password(password)
        return False
    return user.check_password(password)


def prove(*, actor: Actor, password: str) -> User:
    """The actor's user, whose password was given; raises BadCredentials, TooManyRequests."""
    user = User.objects.get(pk=actor.user_id)
    taken = throttle.take(
        throttle.of_account(throttle.LOGIN_PAIR, user.email.lower(), ip=actor.ip),
        throttle.of_ip(throttle.LOGIN_IP, actor.ip),
    )
    if not matches(user, password):
        raise BadCredentials
    throttle.give_back(taken)
    return user


@transaction.atomic
def change(*, actor: Actor, old: crypto.Secret, new: crypto.Secret) -> None:
    """Set a new password and end the user's other sessions.

    Raises BadCredentials, TooManyRequests, WeakPassword.
    """
    user = prove(actor=actor, password=old.reveal())
    check_strength(new.reveal(), user=user, pointer="/new_password")
    user.set_password(new.reveal())
    user.save(update_fields=["password", "updated_at"])
    sessions.revoke_all(user_id=user.pk, reason="password_changed", keep=actor.session_id)
    audit.record(action="password.changed", actor=actor, target=user.pk)


def reauthenticate(*, actor: Actor, password: crypto.Secret) -> None:
    """Prove again who one is, for changes that need a recent proof."""
    prove(actor=actor, password=password.reveal())
    session_id = access.session_of(actor)
    with transaction.atomic():
        sessions.confirm(session_id=session_id)
        audit.record(action="session.reauthenticated", actor=actor, target=session_id)
