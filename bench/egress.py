"""What `kit.egress` adds to an outbound call, against bare aiohttp with the same deadlines."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import aiohttp

import bench.environment
from bench import ground
from bench.far_end import BODY, PIECES
from bench.harness import Pair, Report, aturns
from ideplatform.kit import egress

ROUNDS = 31
TARGET = 1.1


async def _cpu_us(work: Callable[[], Awaitable[None]], calls: int) -> float:
    """Microseconds of this process's CPU per call."""
    began = time.process_time()
    for _ in range(calls):
        await work()
    return (time.process_time() - began) / calls * 1e6


async def _compared(url: str, calls: int) -> list[Pair]:
    bounds = egress.DEFAULT_TIMEOUTS.for_aiohttp

    async def floor() -> None:
        async with session.post(url, data=BODY, timeout=bounds) as response:
            async for _ in response.content.iter_any():
                pass

    async def ours() -> None:
        async with egress.request("POST", url, body=BODY) as response:
            async for _ in response.iter_any():
                pass

    async with aiohttp.ClientSession() as session:
        pairs = await aturns(
            lambda: _cpu_us(floor, calls), lambda: _cpu_us(ours, calls), rounds=ROUNDS
        )
    await egress.aclose_all()
    return pairs


def main() -> None:
    bench.environment.measure_here()
    report = Report("egress")
    with ground.far_end() as url:
        for name, path, calls in (
            ("egress / aiohttp, one answer", "/once", 150),
            (f"egress / aiohttp, {PIECES} pieces", "/pieces", 15),
        ):
            pairs = asyncio.run(_compared(url + path, calls))
            report.add(name, pairs, unit="CPU us", bound="at most", target=TARGET)
    report.finish()


if __name__ == "__main__":
    main()
