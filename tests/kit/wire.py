"""Small real servers for the tests of outbound calls."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Server:
    """A listening server; `hits` counts the connections or requests that reached it."""

    port: int = 0
    hits: list[str] = field(default_factory=list)

    @property
    def at(self) -> str:
        return f"127.0.0.1:{self.port}"


@asynccontextmanager
async def raw(answer: bytes, *, host: str = "127.0.0.1", hold: bool = False, port: int = 0):
    """A TCP server: reads a request head, sends `answer`, and closes unless it holds."""
    server = Server()
    release = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            server.hits.append(head.decode("latin-1"))
            writer.write(answer)
            await writer.drain()
            if hold:
                await release.wait()
        except (asyncio.IncompleteReadError, ConnectionError):
            server.hits.append("")
        finally:
            writer.close()

    listener = await asyncio.start_server(serve, host, port)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        release.set()
        listener.close()


async def ok(_request: web.Request) -> web.Response:
    """The plainest handler."""
    return web.Response(text="ok")


@asynccontextmanager
async def http(handler: Handler, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[Server]:
    """An HTTP server that answers every path with `handler`."""
    server = Server()

    async def counted(request: web.Request) -> web.StreamResponse:
        server.hits.append(f"{request.method} {request.path_qs}")
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", counted)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    server.port = runner.addresses[0][1]
    try:
        yield server
    finally:
        await runner.cleanup()
