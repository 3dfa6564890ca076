"""The two forms of an answer: server-sent events, each as soon as it is known, or one body."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Final

from providers.gateway import passthrough, replies
from providers.gateway.dialects.answers import Collector
from providers.gateway.dialects.contract import Asked, Dialect
from providers.gateway.exchange import Exchange, told
from providers.gateway.request import Request
from providers.types import Chunk, DialectName, Passed, Started, Stop, Usage

PING: Final = b": ping\n\n"
_PINGS: Final = {
    DialectName.CHAT: PING,
    DialectName.RESPONSES: PING,
    DialectName.MESSAGES: b'event: ping\ndata: {"type": "ping"}\n\n',
}


async def answer(
    request: Request, dialect: Dialect, asked: Asked, chunks: AsyncGenerator[Chunk, None]
) -> None:
    """Give a call's answer to the client in its dialect, streamed or whole."""
    kind = Streamed if asked.is_streamed else Whole
    await kind(request, dialect, asked, chunks).run()


class Streamed(Exchange):
    """Server-sent events, each as soon as it is known."""

    def __init__(
        self,
        request: Request,
        dialect: Dialect,
        asked: Asked,
        chunks: AsyncGenerator[Chunk, None],
    ) -> None:
        self.ping = _PINGS[dialect.NAME]
        super().__init__(request, dialect, asked, chunks)
        self._writer = dialect.writer(self._opening)
        self._is_begun = False
        self._passed: Passed | None = None
        self._endings: list[Passed] = []

    async def _content(self, chunk: Chunk) -> None:
        if type(chunk) is not Passed:
            await self._send(self._beginning() + self._writer.chunk(chunk))
            return
        self._is_begun = True
        self._passed = chunk
        if chunk.is_ending:
            self._endings.append(chunk)
        else:
            await self._send(chunk.data)

    def _beginning(self) -> bytes:
        """The writer's own first words, once: what is passed on has the vendor's."""
        if self._is_begun:
            return b""
        self._is_begun = True
        return self._writer.start(self._started or Started(model=self._opening.model))

    async def _end(self, usage: Usage, stop: Stop) -> None:
        last = self._caught_up()
        for chunk in passthrough.priced(self._endings, usage, self._dialect.NAME):
            last += self._writer.chunk(chunk)
        await self._send_last(last + self._writer.end(usage, stop))

    async def _fail(self, error: Exception) -> None:
        await self._send_last(self._caught_up() + self._writer.fail(told(error)))

    async def _send(self, data: bytes) -> None:
        await self._client.write(data)

    async def _send_last(self, data: bytes) -> None:
        await self._client.finish(data)

    def _caught_up(self) -> bytes:
        """What the writer says before its last words.

        Bytes that were passed on went past it; what they left open is told to it now.
        """
        if self._passed is not None and not self._endings:
            self._writer.chunk(self._passed)
        return self._beginning()


class Whole(Exchange):
    """One JSON body, when all is known."""

    def __init__(
        self,
        request: Request,
        dialect: Dialect,
        asked: Asked,
        chunks: AsyncGenerator[Chunk, None],
    ) -> None:
        super().__init__(request, dialect, asked, chunks)
        self._parts = Collector()

    async def _content(self, chunk: Chunk) -> None:
        self._parts.add(chunk)

    async def _end(self, usage: Usage, stop: Stop) -> None:
        if self._client.is_gone:
            return
        if self._started is not None:
            self._parts.add(self._started)
        body = self._dialect.render(self._parts.answer(usage, stop), self._opening)
        await replies.json(self._request, body, headers=self._headers())

    async def _fail(self, error: Exception) -> None:
        await replies.problem(self._request, self._dialect.NAME, error, headers=self._headers())
