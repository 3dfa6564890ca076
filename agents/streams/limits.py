"""What one client may do to a socket: how often, how badly, how many at once."""

from __future__ import annotations

import time
from collections import Counter
from uuid import UUID

from django.conf import settings

from agents.errors import TooManySockets
from ideplatform.kit import redis
from ideplatform.kit.errors import TooManyRequests

MESSAGES_PER_S = 50.0
BURST = 200
SOCKETS_PER_USER = 20
UNAUTHENTICATED_PER_IP = 5
SEAT_KEPT_S = 90

_strangers: Counter[str] = Counter()
_seated: Counter[UUID] = Counter()


class Pace:
    """A bucket of `BURST` messages that refills with `MESSAGES_PER_S`."""

    def __init__(self) -> None:
        self._left = float(BURST)
        self._at = time.monotonic()

    def count(self) -> None:
        """One message; raises TooManyRequests when the bucket is empty."""
        now = time.monotonic()
        self._left = min(float(BURST), self._left + (now - self._at) * MESSAGES_PER_S)
        self._at = now
        if self._left < 1:
            raise TooManyRequests(
                f"at most {MESSAGES_PER_S:.0f} messages a second", retry_after_s=1
            )
        self._left -= 1


def admit_stranger(ip: str) -> None:
    """A socket that has not yet said who it is; raises TooManySockets beyond 5 per address."""
    if _strangers[ip] >= UNAUTHENTICATED_PER_IP:
        raise TooManySockets("too many sockets of this address have not signed in")
    _strangers[ip] += 1


def dismiss_stranger(ip: str) -> None:
    """The socket signed in, or went."""
    _strangers[ip] -= 1
    if _strangers[ip] <= 0:
        del _strangers[ip]


async def take_seat(user_id: UUID, socket_id: UUID) -> None:
    """One of a user's 20 sockets over all processes; raises TooManySockets.

    Redis counts; without it each process allows its share.
    """
    taken = await _count_in_redis(user_id, socket_id)
    if taken is None:
        share = max(1, SOCKETS_PER_USER // int(settings.ENV.web_processes))
        if _seated[user_id] >= share:
            raise TooManySockets
    elif taken > SOCKETS_PER_USER:
        await _forget_in_redis(user_id, socket_id)
        raise TooManySockets
    _seated[user_id] += 1


async def keep_seat(user_id: UUID, socket_id: UUID) -> None:
    """The socket is still there; called every 30 s."""
    await _count_in_redis(user_id, socket_id)


async def leave_seat(user_id: UUID, socket_id: UUID) -> None:
    """The socket closed."""
    _seated[user_id] -= 1
    if _seated[user_id] <= 0:
        del _seated[user_id]
    await _forget_in_redis(user_id, socket_id)


async def _count_in_redis(user_id: UUID, socket_id: UUID) -> int | None:
    """Write the seat down and count the living ones; None when Redis is away."""
    client, now = redis.async_client("cache"), time.time()
    try:
        async with client, client.pipeline(transaction=True) as pipeline:
            pipeline.zremrangebyscore(_key(user_id), "-inf", now)
            pipeline.zadd(_key(user_id), {str(socket_id): now + SEAT_KEPT_S})
            pipeline.expire(_key(user_id), SEAT_KEPT_S)
            pipeline.zcard(_key(user_id))
            answers = await pipeline.execute()
    except redis.ERRORS:
        return None
    return int(answers[-1])


async def _forget_in_redis(user_id: UUID, socket_id: UUID) -> None:
    client = redis.async_client("cache")
    try:
        async with client:
            await client.zrem(_key(user_id), str(socket_id))
    except redis.ERRORS:
        return  # the seat expires by itself


def _key(user_id: UUID) -> str:
    return f"sockets:{user_id}"
