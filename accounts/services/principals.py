"""What this process remembers of credentials, and when it may believe it.

A principal counts only while the access feed is fresh, for at most a minute, and only if the feed
knows no change of its user, session or key that was not certainly visible when it was read.
`session:{user_id}:{session_id}` in Redis shares it between processes under the same rule; it is
signed, because Redis is no authority.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from uuid import UUID

import msgspec

from accounts.services import feed, keys
from accounts.types import Actor
from ideplatform.kit import clock, crypto, redis

TTL_S = int(feed.LONGEST_TRUST.total_seconds())
MAX_ENTRIES = 10_000
_MAC_BYTES = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Principal:
    """An actor, when its credential ends by itself, and how fresh the reading was."""

    actor: Actor
    expires_at: float
    read_at: float
    mark: int

    def is_current(self) -> bool:
        """Whether it may be believed now, if the feed is fresh."""
        now = clock.now().timestamp()
        actor = self.actor
        subjects = (actor.user_id, actor.session_id, actor.api_key_id)
        return (
            now < self.expires_at
            and now < self.read_at + TTL_S
            and all(s is None or feed.latest(s) <= self.mark for s in subjects)
        )


class _Shared(msgspec.Struct, array_like=True):
    """A session's principal as Redis holds it."""

    user_id: UUID
    session_id: UUID
    is_staff: bool
    is_superuser: bool
    read_at: float
    mark: int


_remembered: dict[bytes, Principal] = {}


def recall(digest: bytes) -> Actor | None:
    """The actor of a credential that this process may still believe: a dictionary look-up."""
    principal = _remembered.get(digest)
    if principal is None or not feed.is_fresh():
        return None
    if principal.is_current():
        return principal.actor
    _remembered.pop(digest, None)
    return None


def remember(digest: bytes, principal: Principal) -> None:
    """Keep a principal in this process; the oldest half goes when there are too many."""
    if len(_remembered) >= MAX_ENTRIES:
        for old in list(_remembered)[: MAX_ENTRIES // 2]:
            _remembered.pop(old, None)
    _remembered[digest] = principal


def shared(*, user_id: UUID, session_id: UUID, expires_at: float) -> Principal | None:
    """A session's principal that another process read less than a minute ago."""
    if not feed.is_fresh():
        return None
    try:
        text = redis.client("cache").get(redis.session_key(user_id, session_id))
    except redis.ERRORS:
        return None
    value = _opened(text) if isinstance(text, bytes) else None
    if value is None or (value.user_id, value.session_id) != (user_id, session_id):
        return None
    actor = Actor(
        user_id=user_id,
        session_id=session_id,
        is_staff=value.is_staff,
        is_superuser=value.is_superuser,
    )
    principal = Principal(
        actor=actor, expires_at=expires_at, read_at=value.read_at, mark=value.mark
    )
    return principal if principal.is_current() else None


def share(principal: Principal) -> None:
    """Let other processes know a session's principal for the rest of its minute."""
    actor = principal.actor
    if actor.session_id is None:
        return
    value = _Shared(
        actor.user_id,
        actor.session_id,
        actor.is_staff,
        actor.is_superuser,
        principal.read_at,
        principal.mark,
    )
    try:
        key = redis.session_key(actor.user_id, actor.session_id)
        redis.client("cache").set(key, _signed(value), ex=TTL_S)
    except redis.ERRORS:
        return


def at_address(actor: Actor, ip: str) -> Actor:
    """The same actor, speaking from an address."""
    return dataclasses.replace(actor, ip=ip)


def _signed(value: _Shared) -> bytes:
    body = msgspec.msgpack.encode(value)
    return keys.signing().mac(b"principal|" + body, kid=keys.signing().newest) + body


def _opened(text: bytes) -> _Shared | None:
    mac, body = text[:_MAC_BYTES], text[_MAC_BYTES:]
    expected = keys.signing().mac(b"principal|" + body, kid=keys.signing().newest)
    return msgspec.msgpack.decode(body, type=_Shared) if crypto.same(mac, expected) else None
