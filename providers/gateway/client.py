"""The other end of a streamed answer: bytes to it, signs of life, and the news that it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from providers.gateway.request import Receive, Send

PING_S: Final = 15.0
STALLED_S: Final = 60.0  # a client that takes nothing for so long counts as gone
Headers = list[tuple[bytes, bytes]]
HeadersOf = Callable[[], Headers]


class Client:
    """One client. Writing waits for it, so a slow one costs the server's own buffer and no more.

    While nothing is written for 15 s it gets `ping`: proxies end what is silent for a minute. The
    first ping opens the answer if nothing did; a fault after that is told inside the answer.
    `on_gone` is called once: with False when the client has left, with True when it is there but
    has taken nothing for a minute, so that the writing itself must be ended.
    """

    def __init__(
        self,
        *,
        receive: Receive,
        send: Send,
        headers: HeadersOf,
        ping: bytes,
        ping_s: float = PING_S,
        stalled_s: float = STALLED_S,
        on_gone: Callable[[bool], None],
    ) -> None:
        self.is_open = False
        self.is_gone = False
        self._receive = receive
        self._send = send
        self._headers = headers
        self._ping = ping
        self._ping_s = ping_s
        self._stalled_s = stalled_s
        self._on_gone = on_gone
        self._loop = asyncio.get_running_loop()
        self._moved_at = self._loop.time()
        self._is_writing = False
        self._sign: asyncio.Task[None] | None = None
        self._watcher = self._loop.create_task(self._watch())
        self._timer: asyncio.TimerHandle | None = None
        if ping:
            self._timer = self._loop.call_later(ping_s, self._tick)

    async def write(self, data: bytes) -> None:
        """Send some bytes of the answer, with its head before the first."""
        if self.is_gone or not data:
            return
        if self._sign is not None:
            await self._sign
        self._moved_at = self._loop.time()
        self._is_writing = True
        try:
            await self._open()
            await self._send({"type": "http.response.body", "body": data, "more_body": True})
        finally:
            self._is_writing = False

    async def finish(self, data: bytes) -> None:
        """Send the last bytes and end the answer."""
        await self.write(data)
        if not self.is_gone:
            await self._open()
            await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def leave(self) -> None:
        """Stop watching and pinging; whoever made the client calls it."""
        self._watcher.cancel()
        if self._timer is not None:
            self._timer.cancel()
        if self._sign is not None:
            self._sign.cancel()

    async def _open(self) -> None:
        if not self.is_open:
            self.is_open = True
            head = {"type": "http.response.start", "status": 200, "headers": self._headers()}
            await self._send(head)

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            continue
        self._lost(is_stalled=False)

    def _lost(self, *, is_stalled: bool) -> None:
        if not self.is_gone:
            self.is_gone = True
            self._on_gone(is_stalled)

    def _tick(self) -> None:
        silent_s = self._loop.time() - self._moved_at
        is_writing = self._is_writing or self._sign is not None
        if is_writing and silent_s >= self._stalled_s:
            self._lost(is_stalled=True)
            return
        if not is_writing and silent_s >= self._ping_s:
            self._sign = self._loop.create_task(self._show_life())
            silent_s = 0.0
        left_s = max(self._ping_s - silent_s, self._ping_s / 15)
        self._timer = self._loop.call_later(left_s, self._tick)

    async def _show_life(self) -> None:
        with suppress(OSError):
            await self._open()
            self._moved_at = self._loop.time()
            await self._send({"type": "http.response.body", "body": self._ping, "more_body": True})
        self._sign = None
