"""Stands between a client and the platform, passes everything on, and keeps what was said."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web

_HOP_BY_HOP = {
    *("connection", "host", "keep-alive", "transfer-encoding", "content-length"),
    *("content-encoding", "accept-encoding"),
}


@dataclass(slots=True)
class Exchange:
    """One request and its answer, as they passed."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    status: int = 0
    media: str = ""
    answer: bytes = b""


@dataclass(slots=True)
class Recorder:
    """A running recorder; ``exchanges`` grows as answers begin."""

    url: str
    exchanges: list[Exchange] = field(default_factory=list)


@contextmanager
def recording(upstream: str) -> Iterator[Recorder]:
    """A recorder on a free loopback port, in a thread of its own."""
    recorder = Recorder(url="")
    started, loop = threading.Event(), asyncio.new_event_loop()

    async def serve() -> web.AppRunner:
        app = web.Application(client_max_size=2**26)
        http = aiohttp.ClientSession(upstream, auto_decompress=True)
        app.router.add_route("*", "/{path:.*}", _forwarding(recorder, http))
        app.on_cleanup.append(lambda _: http.close())
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        recorder.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        started.set()
        return runner

    def live() -> None:
        asyncio.set_event_loop(loop)
        runner = loop.run_until_complete(serve())
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())

    thread = threading.Thread(target=live, name="recorder", daemon=True)
    thread.start()
    try:
        if not started.wait(10):
            raise AssertionError("the recorder did not start")
        yield recorder
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)


def _forwarding(recorder: Recorder, http: aiohttp.ClientSession):
    async def forward(request: web.Request) -> web.StreamResponse:
        exchange = Exchange(
            method=request.method,
            target=request.raw_path,
            headers={name.lower(): value for name, value in request.headers.items()},
            body=await request.read(),
        )
        recorder.exchanges.append(exchange)
        kept = {n: v for n, v in exchange.headers.items() if n not in _HOP_BY_HOP}
        async with http.request(
            exchange.method, exchange.target, data=exchange.body or None, headers=kept
        ) as answer:
            exchange.status = answer.status
            exchange.media = answer.content_type
            headers = {n: v for n, v in answer.headers.items() if n.lower() not in _HOP_BY_HOP}
            response = web.StreamResponse(status=answer.status, headers=headers)
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                exchange.answer += piece
                await response.write(piece)
            await response.write_eof()
            return response

    return forward
