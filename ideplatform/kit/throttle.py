"""Rate limits: exact sliding windows on Redis time, all claims of a request in one script call.

A window is a sorted set of microsecond stamps under `ratelimit:{user_id}:{endpoint}` or
`ratelimit:ip:{ip}:{endpoint}`. Either every claim has room and each gains a stamp, or none does.
Without Redis a limit is open, or keeps a window in this process at 1/WEB_PROCESSES of its count.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import math
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from operator import itemgetter
from typing import Final, Literal
from uuid import UUID

import structlog
from django.conf import settings
from redis.commands.core import AsyncScript, Script

from ideplatform.kit import redis
from ideplatform.kit.errors import TooManyRequests
from ideplatform.observability import metrics

log = structlog.get_logger(__name__)

# After a failure Redis is left alone for this long, so an outage costs one wait, not one per call.
_PAUSE_S: Final = 1.0
_LOCAL_KEYS: Final = 10_000

_TAKE: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local wait, which = 0, 0
for i, key in ipairs(KEYS) do
  local count, window = tonumber(ARGV[3 * i - 2]), tonumber(ARGV[3 * i - 1])
  redis.call('ZREMRANGEBYSCORE', key, '-inf', string.format('%.0f', now - window))
  local size = redis.call('ZCARD', key)
  local cost = tonumber(ARGV[3 * i])
  if size + cost > count then
    local nth = math.min(size + cost - count, size) - 1
    local last = redis.call('ZRANGE', key, nth, nth, 'WITHSCORES')
    local left = (size == 0 and now or last[2]) + window - now
    if left > wait then wait, which = left, i end
  end
end
if wait > 0 then return {0, string.format('%.0f', wait), which} end
local stamps = {1}
for i, key in ipairs(KEYS) do
  local stamp, own = now, {}
  for n = 1, tonumber(ARGV[3 * i]) do
    while redis.call('ZADD', key, 'NX', string.format('%.0f', stamp),
                     string.format('%.0f', stamp)) == 0 do
      stamp = stamp + 1
    end
    own[n] = string.format('%.0f', stamp)
  end
  redis.call('PEXPIRE', key, string.format('%.0f', math.ceil(ARGV[3 * i - 1] / 1000)))
  stamps[i + 1] = table.concat(own, ' ')
end
return stamps
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """`count` requests in any `window_s` seconds."""

    endpoint: str
    count: int
    window_s: int = 60
    without_redis: Literal["open", "local"]


REGISTER: Final = Limit(endpoint="register", count=5, without_redis="local")
REFRESH: Final = Limit(endpoint="refresh", count=60, without_redis="local")
RUN_START: Final = Limit(endpoint="run_start", count=30, without_redis="local")
PROVIDER_TEST: Final = Limit(endpoint="provider_test", count=6, without_redis="local")
TOP_UP: Final = Limit(endpoint="top_up", count=20, without_redis="local")
USAGE_REPORT: Final = Limit(endpoint="usage_report", count=600, without_redis="local")
USAGE_REPORT_DAY: Final = Limit(
    endpoint="usage_report_day", count=50_000, window_s=86_400, without_redis="local"
)
EXPORT: Final = Limit(endpoint="export", count=20, window_s=3_600, without_redis="local")
SEARCH: Final = Limit(endpoint="search", count=60, without_redis="open")
WRITE: Final = Limit(endpoint="write", count=300, without_redis="open")
READ: Final = Limit(endpoint="read", count=1_200, without_redis="open")
LOGIN_PAIR: Final = Limit(endpoint="login_pair", count=5, window_s=900, without_redis="local")
LOGIN_IP: Final = Limit(endpoint="login_ip", count=30, window_s=600, without_redis="local")
LOGIN_ACCOUNT: Final = Limit(
    endpoint="login_account", count=50, window_s=3_600, without_redis="local"
)


@dataclass(frozen=True, slots=True)
class Claim:
    """One limit for one subject; `cost` is how many of its requests this one counts as."""

    limit: Limit
    key: str
    cost: int = 1


@dataclass(frozen=True, slots=True)
class Taken:
    """What a passed `take` counted; `give_back` uncounts exactly that."""

    claims: tuple[Claim, ...]
    stamps: tuple[str, ...]
    is_local: bool = False


def gateway() -> Limit:
    """Calls of one user through the gateway; its count is a setting."""
    count: int = settings.ENV.gateway_calls_per_minute
    return Limit(endpoint="gateway", count=count, without_redis="local")


def of_user(limit: Limit, user_id: UUID, *, cost: int = 1) -> Claim:
    return Claim(limit, redis.user_limit_key(user_id, limit.endpoint), cost)


def of_ip(limit: Limit, ip: str) -> Claim:
    """By address; IPv6 by its /64, which is what one customer holds."""
    return Claim(limit, redis.ip_limit_key(_subject(ip), limit.endpoint))


def of_account(limit: Limit, account: str, *, ip: str = "") -> Claim:
    """By a name that need not exist, such as an e-mail address, alone or from one address.

    The name is hashed: keys are no place for addresses.
    """
    digest = hashlib.sha256(account.encode("utf-8", "surrogatepass")).hexdigest()[:32]
    endpoint = f"{limit.endpoint}:{digest}"
    return Claim(limit, redis.ip_limit_key(_subject(ip) if ip else "any", endpoint))


def take(*claims: Claim) -> Taken:
    """Count one request; raises TooManyRequests with `retry_after_s`, and then counts nothing."""
    if _breaker.is_open():
        return _take_locally(claims)
    try:
        answer = _script()(keys=_keys(claims), args=_arguments(claims))
    except redis.ERRORS as failed:
        return _without_redis(claims, failed)
    return _judged(claims, answer)


async def atake(*claims: Claim) -> Taken:
    """`take` from a coroutine, which a Redis that hangs does not stop; one round trip."""
    if _breaker.is_open():
        return _take_locally(claims)
    try:
        answer = await _script_of_loop()(keys=_keys(claims), args=_arguments(claims))
    except redis.ERRORS as failed:
        return _without_redis(claims, failed)
    return _judged(claims, answer)


def give_back(taken: Taken) -> None:
    """Uncount what `take` counted, for example a sign-in that succeeded.

    Without Redis the count stays until its window ends.
    """
    if taken.is_local:
        _local.give_back(taken)
        return
    try:
        with redis.client("cache").pipeline(transaction=False) as pipeline:
            for claim, stamp in zip(taken.claims, taken.stamps, strict=True):
                pipeline.zrem(claim.key, *stamp.split())
            pipeline.execute()
    except redis.ERRORS as failed:
        _breaker.trip(failed)


class _Breaker:
    def __init__(self) -> None:
        self._until_s = 0.0

    def is_open(self) -> bool:
        return time.monotonic() < self._until_s

    def trip(self, failed: BaseException) -> None:
        self._until_s = time.monotonic() + _PAUSE_S
        log.warning("throttle.redis_lost", error=type(failed).__name__)


class _LocalWindows:
    """Windows of this process; when there are too many, the longest unused one is forgotten."""

    def __init__(self) -> None:
        self._windows: OrderedDict[str, deque[float]] = OrderedDict()
        self._lock = threading.Lock()

    def take(self, claims: Sequence[Claim]) -> Taken:
        now = time.monotonic()
        with self._lock:
            windows = [self._current(claim, now) for claim in claims]
            waits = [
                (_wait_s(window, claim) - now, claim)
                for claim, window in zip(claims, windows, strict=True)
                if len(window) + claim.cost > _share(claim.limit)
            ]
            if waits:
                wait_s, claim = max(waits, key=itemgetter(0))
                raise _too_many(claim, wait_s)
            for claim, window in zip(claims, windows, strict=True):
                window.extend([now] * claim.cost)
        return Taken(tuple(claims), (repr(now),) * len(claims), is_local=True)

    def give_back(self, taken: Taken) -> None:
        with self._lock:
            for claim, stamp in zip(taken.claims, taken.stamps, strict=True):
                window = self._windows.get(claim.key)
                for _ in range(claim.cost):
                    if window is not None and float(stamp) in window:
                        window.remove(float(stamp))

    def _current(self, claim: Claim, now: float) -> deque[float]:
        window = self._windows.setdefault(claim.key, deque())
        self._windows.move_to_end(claim.key)
        while window and window[0] <= now - claim.limit.window_s:
            window.popleft()
        if len(self._windows) > _LOCAL_KEYS:
            self._windows.popitem(last=False)
        return window


_breaker = _Breaker()
_local = _LocalWindows()


def _without_redis(claims: Sequence[Claim], failed: BaseException) -> Taken:
    _breaker.trip(failed)
    return _take_locally(claims)


def _take_locally(claims: Sequence[Claim]) -> Taken:
    return _local.take([claim for claim in claims if claim.limit.without_redis == "local"])


def _judged(claims: tuple[Claim, ...], answer: list[int | bytes]) -> Taken:
    passed, *values = answer
    if not passed:
        wait_us, which = values
        raise _too_many(claims[int(which) - 1], int(wait_us) / 1_000_000)
    stamps = tuple(value.decode() for value in values if isinstance(value, bytes))
    return Taken(claims, stamps)


def _too_many(claim: Claim, wait_s: float) -> TooManyRequests:
    metrics.rate_limited_total.labels(endpoint=claim.limit.endpoint).inc()
    return TooManyRequests(retry_after_s=max(1, math.ceil(wait_s)))


def _wait_s(window: deque[float], claim: Claim) -> float:
    """When the window has room for the claim, by this process's clock.

    One that asks for more than a whole window is told of when the window is empty.
    """
    if not window:
        return time.monotonic() + claim.limit.window_s
    leaving = min(len(window) + claim.cost - _share(claim.limit), len(window))
    return window[leaving - 1] + claim.limit.window_s


def _share(limit: Limit) -> int:
    return max(1, limit.count // int(settings.ENV.web_processes))


def _keys(claims: Sequence[Claim]) -> list[str]:
    return [claim.key for claim in claims]


def _arguments(claims: Sequence[Claim]) -> list[int]:
    return [
        value
        for claim in claims
        for value in (claim.limit.count, claim.limit.window_s * 1_000_000, claim.cost)
    ]


def _subject(ip: str) -> str:
    try:
        address = ip_address(ip)
    except ValueError:
        return "unknown"
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return f"{IPv6Address(int(address) >> 64 << 64)}/64"
    return str(address)


@functools.cache
def _script() -> Script:
    return redis.client("cache").register_script(_TAKE)


def _script_of_loop() -> AsyncScript:
    loop = asyncio.get_running_loop()
    found = _scripts.get(loop)
    if found is None:
        for ended in [one for one in list(_scripts) if one.is_closed()]:
            _scripts.pop(ended, None)
        found = _scripts[loop] = redis.async_client("cache").register_script(_TAKE)
    return found


_scripts: Final[dict[asyncio.AbstractEventLoop, AsyncScript]] = {}
