"""Redis clients by role, the seed's keys, and the doorbell.

Redis is bell and accelerator: every caller must live without it. All clients set
`socket_timeout`; blocking readers choose theirs above their own block time.
"""

from __future__ import annotations

import functools
from typing import Literal
from urllib.parse import urlsplit
from uuid import UUID

import redis
import redis.asyncio
from django.conf import settings
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from ideplatform.kit import redis_connections

Role = Literal["bus", "tail", "cache", "broker"]
TIMEOUT_S = 1.0
ERRORS = (redis.RedisError, OSError)
# One retry at once, for a pooled connection that a restart of Redis has ended. The library's
# default, three with exponential back-off, holds each caller 3.4 s while Redis is away.
_RETRIES = 1


def url(role: Role) -> str:
    """The address of a role's Redis."""
    env = settings.ENV
    return getattr(env, f"redis_{role}_url") or env.redis_url


@functools.cache
def client(role: Role) -> redis.Redis:
    """The process's shared synchronous client of a role."""
    return redis.Redis.from_url(
        url(role),
        socket_timeout=TIMEOUT_S,
        socket_connect_timeout=TIMEOUT_S,
        retry=Retry(NoBackoff(), _RETRIES),
    )


def async_client(role: Role, *, socket_timeout_s: float = TIMEOUT_S) -> redis.asyncio.Redis:
    """A new asynchronous client; its owner closes it. One event loop only."""
    pool = redis.asyncio.ConnectionPool.from_url(
        url(role),
        socket_timeout=socket_timeout_s,
        socket_connect_timeout=TIMEOUT_S,
        retry=AsyncRetry(NoBackoff(), _RETRIES),
    )
    pool.connection_class = redis_connections.BY_SCHEME[urlsplit(url(role)).scheme]
    return redis.asyncio.Redis.from_pool(pool)


def ring(channel: str, message: bytes = b"") -> None:
    """Wake whoever waits; losing a ring costs only the waiter's next poll."""
    try:
        client("bus").publish(channel, message)
    except ERRORS:
        return


def session_key(user_id: UUID, session_id: UUID) -> str:
    return f"session:{user_id}:{session_id}"


def provider_key(provider_id: UUID) -> str:
    return f"cache:provider:{provider_id}"


def agent_key(agent_id: str) -> str:
    return f"cache:agent:{agent_id}"


def user_limit_key(user_id: UUID, endpoint: str) -> str:
    return f"ratelimit:{user_id}:{endpoint}"


def ip_limit_key(ip: str, endpoint: str) -> str:
    return f"ratelimit:ip:{ip}:{endpoint}"


def tail_key(run_id: UUID) -> str:
    return f"run:{run_id}"
