"""What the kit's guards cost: ratios to a floor measured in the same run, interleaved.

`python -m bench.kit` prints one line per ratio and fails when one misses its target. Units: CPU
microseconds per operation of this process; the server side runs in another one.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from uuid import UUID

import aiohttp
from aiohttp import web

import tests.environment  # noqa: F401 - completes the environment of this process
from ideplatform.kit import egress, redis, throttle

BODY = b"x" * 200
ROUNDS = 30
CALLS = 100
CHUNKS = 200


async def _serve() -> None:
    async def once(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=BODY)

    async def stream(request: web.Request) -> web.StreamResponse:
        await request.read()
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(CHUNKS):
            await response.write(BODY)
            await asyncio.sleep(0)
        return response

    app = web.Application()
    app.router.add_post("/once", once)
    app.router.add_post("/stream", stream)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


async def _cost(work: Callable[[], Awaitable[None]], calls: int) -> float:
    started = time.process_time()
    for _ in range(calls):
        await work()
    return (time.process_time() - started) / calls


async def _compared(
    floor: Callable[[], Awaitable[None]], ours: Callable[[], Awaitable[None]], calls: int
) -> tuple[float, float]:
    """The round of the median ratio; both sides take turns, so noise meets them alike."""
    rounds = [(await _cost(floor, calls), await _cost(ours, calls)) for _ in range(ROUNDS)]
    return sorted(rounds, key=lambda pair: pair[1] / pair[0])[ROUNDS // 2]


async def _egress(port: int, path: str, calls: int) -> tuple[float, float]:
    """Against bare aiohttp with the same deadlines."""
    url = f"http://127.0.0.1:{port}{path}"
    bounds = egress.DEFAULT_TIMEOUTS.for_aiohttp

    async def floor() -> None:
        async with session.post(url, data=BODY, timeout=bounds) as response:
            async for _ in response.content.iter_any():
                pass

    async def ours() -> None:
        async with egress.request("POST", url, body=BODY) as response:
            async for _ in response.iter_any():
                pass

    with egress.opened(f"127.0.0.1:{port}"):
        async with aiohttp.ClientSession() as session:
            answer = await _compared(floor, ours, calls)
        await egress.aclose_all()
    return answer


async def _limiter() -> tuple[float, float]:
    """Against one INCR."""
    limit = throttle.Limit(endpoint="bench", count=1_200, without_redis="open")
    claim = throttle.of_user(limit, UUID(int=7))
    client = redis.async_client("cache")

    async def floor() -> None:
        await client.incr("bench:floor")

    async def ours() -> None:
        await throttle.atake(claim)

    await client.delete(claim.key)
    answer = await _compared(floor, ours, 1_200 // ROUNDS)
    await client.delete(claim.key, "bench:floor")
    await throttle.aclose()
    await client.aclose()
    return answer


def _report(name: str, measured: tuple[float, float], target: float) -> bool:
    floor, ours = measured
    ratio = ours / floor
    verdict = "ok" if ratio <= target else "MISSED"
    print(
        f"{name}: {ours * 1e6:.0f} us / {floor * 1e6:.0f} us = {ratio:.2f}"
        f" (target {target}) {verdict}"
    )
    return ratio <= target


def main() -> None:
    server = subprocess.Popen(
        [sys.executable, "-m", "bench.kit", "serve"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        results = [
            _report("egress, one answer", asyncio.run(_egress(port, "/once", CALLS)), 1.1),
            _report("egress, 200 pieces", asyncio.run(_egress(port, "/stream", 10)), 1.1),
            _report("limiter over INCR", asyncio.run(_limiter()), 2.0),
        ]
    finally:
        server.kill()
        server.wait()
    sys.exit(0 if all(results) else 1)


if __name__ == "__main__":
    asyncio.run(_serve()) if sys.argv[1:] == ["serve"] else main()
