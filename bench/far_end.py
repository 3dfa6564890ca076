"""The other end of outbound calls: plain answers, and a provider whose tokens say when they left.

`python -m bench.far_end PORT` serves until its standard input ends. It is as thin as a server can
be, so that its core, which the clients share, does not limit what is measured.

A stream of `/v1/chat/completions` sends one token, then waits for `/__go`; from then on every
stream sends a token each `pace_ms`, all of them out of step. `/__rush` ends the pacing: each stream
sends `tokens` more, as fast as they are taken, and ends. A token's text is ` <number>:<nanoseconds
of the machine's monotonic clock>`.
"""

from __future__ import annotations

import asyncio
import sys
import time
from dataclasses import dataclass, field

import msgspec
import uvloop
from aiohttp import web

BODY = b"x" * 200
PIECES = 200
RUSH_TOKENS_AT_ONCE = 8
_HEAD = b'data: {"id":"far-%d","object":"chat.completion.chunk","model":"sim-echo","choices":'
_TOKEN = _HEAD + b'[{"index":0,"delta":{"content":" %d:%d"},"finish_reason":null}]}\n\n'
_END = (
    _HEAD + b'[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n' + _HEAD + b'[],"usage":'
    b'{"prompt_tokens":20,"completion_tokens":%d,"total_tokens":%d}}\n\ndata: [DONE]\n\n'
)


@dataclass(slots=True)
class _Plan:
    """What every open stream does next."""

    pace_s: float = 0.0
    rush_tokens: int = 0
    streams: int = 0
    waiting: int = 0
    go: asyncio.Event = field(default_factory=asyncio.Event)
    rush: asyncio.Event = field(default_factory=asyncio.Event)


_PLAN = web.AppKey("plan", _Plan)


class _Stream:
    def __init__(self, number: int, response: web.StreamResponse, plan: _Plan) -> None:
        self._number = number
        self._response = response
        self._plan = plan
        self._sent = 0

    async def play(self) -> None:
        await self._send(1)
        self._plan.waiting += 1
        try:
            await self._plan.go.wait()
        finally:
            self._plan.waiting -= 1
        await self._walk()
        await self._run()
        await self._response.write(_END % (self._number, self._number, self._sent, 20 + self._sent))

    async def _walk(self) -> None:
        """One token each `pace_s` until the rush; due times do not drift."""
        loop, pace_s = asyncio.get_running_loop(), self._plan.pace_s
        due = loop.time() + pace_s * (self._number % 97) / 97
        while not self._plan.rush.is_set():
            await asyncio.sleep(max(0.0, due - loop.time()))
            await self._send(1)
            due += pace_s

    async def _run(self) -> None:
        for _ in range(0, self._plan.rush_tokens, RUSH_TOKENS_AT_ONCE):
            await self._send(RUSH_TOKENS_AT_ONCE)
            await asyncio.sleep(0)

    async def _send(self, count: int) -> None:
        now = time.monotonic_ns()
        first, self._sent = self._sent, self._sent + count
        tokens = (_TOKEN % (self._number, first + place, now) for place in range(1, count + 1))
        await self._response.write(b"".join(tokens))


async def _complete(request: web.Request) -> web.StreamResponse:
    await request.read()
    plan = request.app[_PLAN]
    plan.streams += 1
    response = web.StreamResponse(headers={"content-type": "text/event-stream"})
    stream = _Stream(plan.streams, response, plan)
    await response.prepare(request)
    await stream.play()
    return response


async def _models(_request: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": [{"id": "sim-echo", "object": "model"}]})


async def _go(request: web.Request) -> web.Response:
    plan = request.app[_PLAN]
    plan.pace_s = float(request.query["pace_ms"]) / 1_000
    plan.go.set()
    return web.Response()


async def _rush(request: web.Request) -> web.Response:
    plan = request.app[_PLAN]
    plan.rush_tokens = int(request.query["tokens"])
    plan.rush.set()
    return web.Response()


async def _reset(request: web.Request) -> web.Response:
    """Forget the plan; streams of the former one are over or their clients have gone."""
    plan = request.app[_PLAN]
    plan.go, plan.rush = asyncio.Event(), asyncio.Event()
    return web.Response()


async def _waiting(request: web.Request) -> web.Response:
    return web.Response(body=msgspec.json.encode(request.app[_PLAN].waiting))


async def _once(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(body=BODY)


async def _pieces(request: web.Request) -> web.StreamResponse:
    await request.read()
    response = web.StreamResponse()
    await response.prepare(request)
    for _ in range(PIECES):
        await response.write(BODY)
        await asyncio.sleep(0)
    return response


async def serve(port: int) -> None:
    """Serve on loopback until standard input ends; prints the port once it listens."""
    app = web.Application()
    app[_PLAN] = _Plan()
    app.router.add_post("/v1/chat/completions", _complete)
    app.router.add_get("/v1/models", _models)
    for path, handler in (("/__go", _go), ("/__rush", _rush), ("/__reset", _reset)):
        app.router.add_post(path, handler)
    app.router.add_get("/__waiting", _waiting)
    app.router.add_post("/once", _once)
    app.router.add_post("/pieces", _pieces)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, backlog=2_048).start()
    print(runner.addresses[0][1], flush=True)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
