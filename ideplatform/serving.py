"""The production web server: uvicorn with deadlines for slow clients and a shutdown that drains.

Neither uvicorn nor daphne limits the time or the size of a request's head, nor the time of
its body: one client that sends a byte a minute would hold a connection for ever.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from http import HTTPStatus
from types import FrameType
from typing import Any

import structlog
from uvicorn import Config, Server
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from ideplatform.env import Env
from ideplatform.kit import draining, problems
from ideplatform.kit.errors import PlatformError, RequestTimeout
from ideplatform.observability import health, loops
from ideplatform.observability import server as metrics_server

log = structlog.get_logger(__name__)

HEAD_S = 10.0
HEAD_BYTES = 64 * 1024
BODY_S = 30.0
BODY_BYTES_PER_S = 256 * 1024  # a body that comes faster than this may go on after BODY_S
SOCKET_MESSAGE_BYTES = 8 * 1024 * 1024  # of a collaboration update; agent frames check 256 KiB
PING_S = 20.0
CANCEL_S = 2.0  # for requests that are cut at the end of a drain
POLL_S = 0.05


class HeadTooLarge(PlatformError):
    code, title, status = "head_too_large", "The request's headers are too large", 431


class DeadlineProtocol(HttpToolsProtocol):
    """HTTP/1.1 with a deadline for the head (10 s, 64 KiB) and for the body (30 s), else 408.

    A timer exists only while something is missing, so that a request that arrives in one
    piece costs none.
    """

    head_s = HEAD_S
    body_s = BODY_S

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._timer: asyncio.TimerHandle | None = None
        self._head_is_open = False
        self._body_is_open = False
        self._head_bytes = 0  # as received so far, the head not being complete
        self._header_bytes = 0  # of complete headers; the first may come in one large piece
        self._body_bytes = 0
        self._since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._arm(self.head_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        was_open = self._head_is_open, self._body_is_open
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._head_is_open:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES:
                self._refuse(HeadTooLarge())
                return
        is_open = self._head_is_open, self._body_is_open
        if is_open == (False, False):
            self._disarm()
        elif is_open != was_open or self._timer is None:
            self._since = self.loop.time()
            self._arm(self.head_s if self._head_is_open else self.body_s)

    def on_message_begin(self) -> None:
        self._head_is_open = True
        self._head_bytes = self._header_bytes = 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        self._header_bytes += len(name) + len(value)
        if self._header_bytes > HEAD_BYTES:
            raise ValueError("head too large")  # ends in send_400_response
        super().on_header(name, value)

    def send_400_response(self, msg: str) -> None:
        if self._header_bytes > HEAD_BYTES:
            self._refuse(HeadTooLarge())
        else:
            self._disarm()
            super().send_400_response(msg)

    def on_headers_complete(self) -> None:
        self._head_is_open, self._body_is_open = False, True
        self._body_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._body_is_open = False
        super().on_message_complete()

    def handle_websocket_upgrade(self) -> None:
        self._disarm()
        self._head_is_open = self._body_is_open = False
        super().handle_websocket_upgrade()

    def _arm(self, delay_s: float) -> None:
        self._disarm()
        self._timer = self.loop.call_later(delay_s, self._on_deadline)

    def _disarm(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_deadline(self) -> None:
        """Refuse a slow client; give a steady one, or one that waits for us, more time."""
        self._timer = None
        if not (self._head_is_open or self._body_is_open):
            self.transport.close()  # connected and never said a word
            return
        if self._body_is_open:
            if self.flow.read_paused or self.cycle.waiting_for_100_continue:  # it waits for us
                self._arm(self.body_s)
                return
            earned_s = self._body_bytes / BODY_BYTES_PER_S - (self.loop.time() - self._since)
            if earned_s > 0:
                self._arm(earned_s)
                return
        self._refuse(RequestTimeout())

    def _refuse(self, error: PlatformError) -> None:
        """Answer ``error`` if no answer has begun, and end the connection."""
        self._disarm()
        cycle = self.cycle
        if self._head_is_open:  # the cycle is the one of an earlier request
            has_answered = cycle is not None and not cycle.response_complete
        else:
            has_answered = cycle.response_started
            cycle.disconnected = True
            cycle.message_event.set()
        if not has_answered and not self.transport.is_closing():
            self.transport.write(_rendered(error))
        self.transport.close()


class DrainingServer(Server):
    """uvicorn's server with the shutdown of a process that others take over from."""

    def __init__(self, config: Config, *, grace_s: float, spread_s: float, finish_s: float) -> None:
        super().__init__(config)
        self._grace_s = grace_s
        self._spread_s = spread_s
        self._finish_s = finish_s

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, a second one leaves at once."""
        if self.should_exit:
            self.force_exit = True
        health.start_draining()
        super().handle_exit(sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and watch the loop for as long as it turns."""
        await super().startup(sockets)
        self._loop_watch = asyncio.create_task(loops.watch("web"))

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """/ready says 503; service goes on for a while; then listeners, sockets, requests end."""
        health.start_draining()
        log.info("web.drain_started", sockets=draining.subscribed())
        await self._serve_on(self._grace_s)
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        deadline = time.monotonic() + self._finish_s
        farewells = asyncio.create_task(draining.announce(spread_s=self._spread_s))
        for connection in list(self.server_state.connections):
            if isinstance(connection, HttpToolsProtocol):
                connection.shutdown()
        while not farewells.done() and not self.force_exit:
            await asyncio.wait([farewells], timeout=POLL_S)
        farewells.cancel()
        for connection in list(self.server_state.connections):  # sockets nobody spoke for: 1012
            connection.shutdown()
        await self._requests_end(deadline)
        await self.lifespan.shutdown()
        log.info("web.drained")

    async def _serve_on(self, seconds: float) -> None:
        """Normal service while the load balancers learn that we leave."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and not self.force_exit:  # noqa: ASYNC110 (set by a signal)
            await asyncio.sleep(POLL_S)

    async def _requests_end(self, deadline: float) -> None:
        """Let open requests finish until ``deadline``, then cut them."""
        state = self.server_state
        while (state.connections or state.tasks) and not self.force_exit:
            if time.monotonic() > deadline:
                break
            await asyncio.sleep(POLL_S)
        for connection in list(state.connections):
            connection.shutdown()
        tasks = list(state.tasks)
        if tasks:
            log.warning("web.requests_cut", count=len(tasks))
            for task in tasks:
                task.cancel(msg="the process ends")
            await asyncio.wait(tasks, timeout=CANCEL_S)


def serve(env: Env, *, host: str, port: int, descriptor: int | None) -> None:
    """Serve the platform until a signal; ``descriptor`` is a listening socket we inherited."""
    # At INFO it logs the address of every socket with its query string, and tickets in it.
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    config = Config(
        "ideplatform.asgi:application",
        host=host,
        port=port,
        loop="uvloop",
        http=DeadlineProtocol,
        ws="websockets-sansio",
        ws_max_size=SOCKET_MESSAGE_BYTES,
        ws_ping_interval=PING_S,
        ws_ping_timeout=PING_S,
        ws_per_message_deflate=False,  # 256 KiB of memory a socket, for frames of 200 bytes
        lifespan="auto",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,  # TRUSTED_PROXY_COUNT decides, in one place
        backlog=2048,
    )
    server = DrainingServer(
        config, grace_s=env.drain_grace_s, spread_s=env.socket_spread_s, finish_s=env.drain_s
    )
    metrics_server.start(host=env.metrics_host, port=env.metrics_port)
    listener = _inherited(descriptor) if descriptor is not None else config.bind_socket()
    server.run(sockets=[listener])


def _inherited(descriptor: int) -> socket.socket:
    """The supervisor's listening socket; not handed on to children of our own."""
    listener = socket.socket(fileno=descriptor)
    listener.setblocking(False)
    listener.set_inheritable(False)
    return listener


def _rendered(error: PlatformError) -> bytes:
    body = problems.encode(problems.of(error))
    head = (
        f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\n"
        f"content-type: {problems.CONTENT_TYPE}\r\n"
        f"content-length: {len(body)}\r\n"
        "connection: close\r\n\r\n"
    )
    return head.encode("ascii") + body
