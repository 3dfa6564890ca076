"""The floor of the gateway: bare aiohttp in and out. `python -m bench.passing --fd N URL`.

It knows no caller, no price and no dialect: a request goes on as it came, and its answer comes
back piece by piece.
"""

from __future__ import annotations

import argparse
import asyncio
import socket

import aiohttp
import uvloop
from aiohttp import web

_FORWARDED = ("authorization", "content-type", "accept")
_UPSTREAM = web.AppKey("upstream", str)
_HTTP = web.AppKey("http", aiohttp.ClientSession)


async def _forward(request: web.Request) -> web.StreamResponse:
    body = await request.read()
    headers = {name: request.headers[name] for name in _FORWARDED if name in request.headers}
    url = request.app[_UPSTREAM] + request.path
    async with request.app[_HTTP].post(url, data=body, headers=headers) as answer:
        response = web.StreamResponse(status=answer.status)
        response.content_type = answer.content_type
        if answer.content_length is not None:
            response.content_length = answer.content_length
        await response.prepare(request)
        async for piece in answer.content.iter_any():
            await response.write(piece)
        await response.write_eof()
        return response


async def _ready(_request: web.Request) -> web.StreamResponse:
    return web.Response(text="ready")


async def serve(descriptor: int, upstream: str) -> None:
    """Serve on an open socket until the process is ended."""
    app = web.Application()
    app[_UPSTREAM] = upstream
    app[_HTTP] = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    app.router.add_get("/ready", _ready)
    app.router.add_post("/{path:.*}", _forward)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.SockSite(runner, socket.socket(fileno=descriptor), backlog=2_048).start()
    await asyncio.Event().wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fd", type=int, required=True)
    parser.add_argument("upstream")
    options = parser.parse_args()
    uvloop.run(serve(options.fd, options.upstream))


if __name__ == "__main__":
    main()
