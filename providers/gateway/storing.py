"""Responses that are kept: the exchange that writes down what it says, and coming back to one.

A kept answer goes on when its client leaves. Its last event is seen when it is stored, so whoever
resumes finds the same end; `cancel` stops it from any process.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Final, cast
from urllib.parse import parse_qs

from ideplatform.kit.errors import DatabaseDown, InvalidInput, PlatformError
from providers.gateway import calls, forms, replies, responses_routes
from providers.gateway.client import STALLED_S, Client
from providers.gateway.dialects import responses
from providers.gateway.exchange import STREAM_HEAD
from providers.gateway.forms import PING, Streamed
from providers.gateway.principal import Caller
from providers.gateway.request import Request
from providers.gateway.responses_routes import Order, Prepared, Recorder
from providers.types import Chunk

_TRUE: Final = frozenset({"true", "1"})
MAX_NUMBER: Final = 2**31


async def create(request: Request, caller: Caller, _: str) -> None:
    """`POST /v1/responses`."""
    asked = await calls.read(request, caller, responses)
    prepared = await responses_routes.prepare(asked)
    asked = await calls.prepared(request, prepared.asked)
    chunks = calls.chunks_of(asked.call)
    if asked.is_stored:
        kept = dataclasses.replace(prepared, asked=asked)
        await Stored(request, kept, chunks).run()
    else:
        await forms.answer(request, responses, asked, chunks)


class Stored(Streamed):
    """An answer whose events are kept, whether its client takes them or the whole."""

    def __init__(
        self, request: Request, prepared: Prepared, chunks: AsyncGenerator[Chunk, None]
    ) -> None:
        super().__init__(request, responses, prepared.asked, chunks)
        self._prepared = prepared
        self._recorder: Recorder | None = None
        self._is_answered = False

    async def _read(self) -> None:
        asked = self._prepared.asked
        if asked.in_background:
            recorder = await self._opened()
            if not asked.is_streamed:
                await self._reply(recorder.opened)
        await super()._read()

    async def _opened(self) -> Recorder:
        """The record, begun with the answer: a call that is refused leaves none."""
        if self._recorder is None:
            self._recorder = await responses_routes.record(
                self._prepared, self._opening, on_stop=self._stop
            )
        return self._recorder

    def _stop(self) -> None:
        """Somebody cancelled it: the vendor's work ends now."""
        self._is_cancelled = True
        if self._is_reading:
            self._limit.reschedule(self._loop.time())

    async def _send(self, data: bytes) -> None:
        recorder = await self._opened()
        if self._is_cancelled and self._is_reading:
            self._limit.reschedule(self._loop.time())
        kept = recorder.record(data)
        if self._prepared.asked.is_streamed:
            with suppress(TimeoutError):
                async with asyncio.timeout(STALLED_S):
                    await self._client.write(kept)

    async def _send_last(self, data: bytes) -> None:
        recorder = await self._opened()
        kept = recorder.record(data)
        with suppress(DatabaseDown):  # the events are still tried; the client has waited enough
            await recorder.flush()
        if self._prepared.asked.is_streamed:
            await self._client.finish(kept)
        else:
            await self._reply(recorder.answer)

    async def _tell(self, error: Exception) -> None:
        """A kept answer that fails says so in its record; one that was not begun, to its client."""
        if self._recorder is None:
            await super()._tell(error)
        elif self._prepared.asked.is_streamed or self._is_answered:
            await self._fail(error)
        else:
            self._is_answered = True
            await self._fail(error)
            await replies.problem(self._request, responses.NAME, error, headers=self._headers())

    async def _reply(self, body: bytes) -> None:
        if not (self._is_answered or self._client.is_gone):
            self._is_answered = True
            await replies.json(self._request, body, headers=self._headers())

    @property
    def _is_heard(self) -> bool:
        """Always: whoever comes back hears it."""
        return True

    def _on_gone(self, is_stalled: bool) -> None:
        """It runs on."""

    async def _close(self) -> None:
        if self._recorder is not None:
            await self._recorder.close()


async def retrieve(request: Request, caller: Caller, response_id: str) -> None:
    """`GET /v1/responses/{id}`, with `stream=true` its events after `starting_after`."""
    asked = parse_qs(request.query)
    if asked.get("stream", ["false"])[0] not in _TRUE:
        await replies.json(request, await responses_routes.retrieve(caller.context, response_id))
        return
    after = _number(asked.get("starting_after", [""])[0])
    events = await responses_routes.resume(caller.context, response_id, after)
    await _resumed(request, cast("AsyncGenerator[bytes, None]", events))


async def cancel(request: Request, caller: Caller, response_id: str) -> None:
    """`POST /v1/responses/{id}/cancel`."""
    await request.body()
    await replies.json(request, await responses_routes.cancel(caller.context, response_id))


async def delete(request: Request, caller: Caller, response_id: str) -> None:
    """`DELETE /v1/responses/{id}`."""
    await replies.json(request, await responses_routes.delete(caller.context, response_id))


async def input_items(request: Request, caller: Caller, response_id: str) -> None:
    """`GET /v1/responses/{id}/input_items`."""
    asked = parse_qs(request.query)
    order = asked.get("order", ["desc"])[0]
    if order not in ("asc", "desc"):
        raise InvalidInput("order is asc or desc")
    body = await responses_routes.input_items(
        caller.context,
        response_id,
        after=asked.get("after", [""])[0],
        limit=_number(asked.get("limit", ["20"])[0]),
        order=cast("Order", order),
    )
    await replies.json(request, body)


async def _resumed(request: Request, events: AsyncGenerator[bytes, None]) -> None:
    """Stream what is kept and what is still to come, for as long as the client listens."""
    limit = asyncio.timeout(None)
    loop = asyncio.get_running_loop()
    head = [*STREAM_HEAD, replies.header("x-request-id", str(request.request_id))]
    client = Client(
        receive=request.receive,
        send=request.send,
        headers=lambda: head,
        ping=PING,
        on_gone=lambda _: limit.reschedule(loop.time()),
    )
    try:
        with suppress(TimeoutError):
            async with limit:
                async for data in events:
                    await client.write(data)
                await client.finish(b"")
    except PlatformError as error:
        if client.is_open:
            await client.finish(b"")
        else:
            await replies.problem(request, responses.NAME, error)
    finally:
        client.leave()
        await events.aclose()


def _number(text: str) -> int:
    if not text:
        return -1
    if not (text.isascii() and text.isdigit() and int(text[:12]) < MAX_NUMBER):
        raise InvalidInput("starting_after and limit are numbers")
    return int(text)
