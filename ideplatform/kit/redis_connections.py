"""Asynchronous Redis connections whose callers can be cancelled.

redis-py writes inside `asyncio.wait_for`, and that of Python 3.11 swallows a cancellation which
arrives together with its result (python/cpython#86296, mended in 3.12): a cancelled task went on
in most of our trials. Here the write stands inside `asyncio.timeout`, which does not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import redis.asyncio
from redis import TimeoutError as RedisTimeout
from redis.asyncio.connection import AbstractConnection


class _Cancellable(AbstractConnection):
    async def send_packed_command(
        self, command: bytes | str | Iterable[bytes], check_health: bool = True
    ) -> None:
        if not self.is_connected:
            await self.connect_check_health(check_health=False)
        if check_health:
            await self.check_health()  # type: ignore[no-untyped-call]  # redis-py leaves it open
        limit_s, self.socket_timeout = self.socket_timeout, None  # the base then writes bare
        try:
            async with asyncio.timeout(limit_s):
                await super().send_packed_command(command, check_health=False)
        except TimeoutError:
            raise RedisTimeout("Timeout writing to socket") from None
        finally:
            self.socket_timeout = limit_s


class Plain(_Cancellable, redis.asyncio.Connection):
    """`redis://`"""


class Encrypted(_Cancellable, redis.asyncio.SSLConnection):
    """`rediss://`"""


class Local(_Cancellable, redis.asyncio.UnixDomainSocketConnection):
    """`unix://`"""


BY_SCHEME: dict[str, type[AbstractConnection]] = {
    "redis": Plain,
    "rediss": Encrypted,
    "unix": Local,
}
