"""What one way to a vendor costs: CPU of requests and tokens, first tokens, lags, memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import bench.environment
from bench import caller
from bench.caller import Door
from bench.harness import Pair, cpu_s, rss_bytes

AT_ONCE = 16
REQUESTS_EACH = 40
STREAMS, STREAM_TOKENS = 8, 2_000
FIRST_TOKENS = 150
PACED_STREAMS, PACED_TOKENS, PACED_FIRST_MS, PACED_US = 64, 100, 250, 21_333
"""64 streams of 47 tokens a second each are 3,000 a second together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One way to the vendor: its door, and the processes that it costs."""

    door: Door
    pid: int = 0
    has_stores: bool = False

    def cpu_s(self) -> tuple[float, float]:
        """CPU of its own process, and with its stores."""
        own = cpu_s([self.pid])
        return own, own + (cpu_s(bench.environment.store_pids()) if self.has_stores else 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """CPU of one request or token, alone and with the stores, and how many a second there were."""

    own_us: float
    all_us: float
    per_s: float

    @property
    def own_speed(self) -> float:
        """How many a second of CPU."""
        return 1e6 / self.own_us

    @property
    def all_speed(self) -> float:
        return 1e6 / self.all_us


async def _cost(side: Side, request: bytes, *, at_once: int, each: int, per: int) -> Cost:
    began, before = time.monotonic(), side.cpu_s()
    await caller.ask(side.door, request, at_once=at_once, each=each)
    after, took = side.cpu_s(), time.monotonic() - began
    units = at_once * each * per
    own, everything = (
        (late - early) / units * 1e6 for early, late in zip(before, after, strict=True)
    )
    return Cost(own_us=own, all_us=everything, per_s=units / took)


def requests(side: Side, *, each: int = REQUESTS_EACH) -> Cost:
    """What a whole answer costs."""
    return asyncio.run(_cost(side, side.door.request(), at_once=AT_ONCE, each=each, per=1))


def tokens(side: Side, *, count: int = STREAM_TOKENS) -> Cost:
    """What a token costs, in streams so long that nothing else counts."""
    request = side.door.request(tokens=count)
    return asyncio.run(_cost(side, request, at_once=STREAMS, each=1, per=count))


def first_tokens(side: Side) -> tuple[float, float]:
    """Milliseconds to the first token of one stream at a time: p50, p99."""
    request = side.door.request(tokens=2)
    heard = asyncio.run(caller.ask(side.door, request, at_once=1, each=FIRST_TOKENS))
    return caller.cuts(one.first_ms for one in heard)


@dataclass(frozen=True, slots=True, kw_only=True)
class Paced:
    """64 streams side by side: to the first token, and how long each token was under way."""

    first_p50: float
    first_p99: float
    lag_p50: float
    lag_p99: float
    rss_mb: float


def paced(side: Side) -> Paced:
    request = side.door.request(tokens=PACED_TOKENS, first_ms=PACED_FIRST_MS, pace_us=PACED_US)
    heard = asyncio.run(
        caller.ask(side.door, request, at_once=PACED_STREAMS, each=1, keeps_lags=True, spread_s=0.5)
    )
    first = caller.cuts(one.first_ms for one in heard)
    lag = caller.cuts(lag for one in heard for lag in one.lags_ms)
    rss_mb = rss_bytes([side.pid]) / 2**20 if side.pid else 0.0
    return Paced(
        first_p50=first[0], first_p99=first[1], lag_p50=lag[0], lag_p99=lag[1], rss_mb=rss_mb
    )


def by_turns(
    sides: dict[str, Callable[[], Any]], *, rounds: int, warm: bool = True
) -> dict[str, list[Any]]:
    """What each side measured in each round; who begins changes from round to round."""
    if warm:
        for measure in sides.values():
            measure()
    found: dict[str, list[Any]] = {name: [] for name in sides}
    names = list(sides)
    for number in range(rounds):
        turned = number % len(names)
        for name in names[turned:] + names[:turned]:
            found[name].append(sides[name]())
    return found


def pairs_of(floor: list[Any], ours: list[Any], *fields: str) -> list[Pair]:
    floor_field, ours_field = fields if len(fields) == 2 else fields * 2
    return [
        (getattr(one, floor_field), getattr(other, ours_field))
        for one, other in zip(floor, ours, strict=True)
    ]
