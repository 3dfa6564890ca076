"""The plumbing of an agent socket: who sits on it, what it still may, how it ends.

Stock Channels hops to a thread for every frame; `dispatch` here does not. All database work goes
through `run_db`, one hop per frame that needs it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any
from uuid import UUID

from channels.generic.websocket import AsyncWebsocketConsumer

from accounts.services import feed as access_feed
from accounts.services import sockets
from accounts.types import Actor
from agents import frames
from agents.services import actors
from agents.streams import limits
from agents.streams.feeds import Feed
from ideplatform.kit import draining, ids, peers, problems
from ideplatform.kit.db import run_db
from ideplatform.kit.errors import NotFound, PlatformError, Unauthenticated
from ideplatform.observability import metrics

AUTH_WITHIN_S = 5.0
REVALIDATE_S = 30.0
RESTARTS = 1012
KIND = "agents"


class Socket(AsyncWebsocketConsumer):  # type: ignore[misc]  # channels is untyped
    """A socket that knows its actor and the runs it follows; subclasses read its frames."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.socket_id = ids.new()
        self.actor: Actor | None = None
        self.feeds: dict[UUID, Feed] = {}
        self.is_closed = False
        self._is_stranger = False
        self._background: list[asyncio.Task[None]] = []
        self._endings: list[Callable[[], None]] = []

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Hand an ASGI message to its handler on this loop."""
        match message["type"]:
            case "websocket.receive":
                await self.websocket_receive(message)
            case "websocket.connect":
                await self.websocket_connect(message)
            case "websocket.disconnect":
                await self.websocket_disconnect(message)

    async def connect(self) -> None:
        """Authenticate before the first byte is read; a refusal is accepted, told and closed."""
        try:
            handshake = await run_db(
                sockets.authenticate,
                headers=self._headers(),
                subprotocols=self.scope.get("subprotocols", []),
                query=self.scope["query_string"].decode(),
                path=self.scope["path"],
                ip=self._ip,
            )
            if handshake.actor is None:
                limits.admit_stranger(self._ip)
                self._is_stranger = True
        except PlatformError as refusal:
            await self.accept(self._subprotocol(""))
            await self.refuse(refusal)
            return
        await self.accept(self._subprotocol(handshake.subprotocol))
        metrics.sockets_open.labels(kind=KIND).inc()
        self._endings.append(metrics.sockets_open.labels(kind=KIND).dec)
        self._endings.append(draining.subscribe(self._farewell))
        if handshake.actor is None:
            self.later(self._require_auth())
        else:
            await self._guarded(self._seat(handshake.actor), closes=True)

    async def emit(self, frame: frames.ServerFrame | frames.Event) -> None:
        """Send one frame of the socket's own."""
        await self.send_raw(frames.encode(frame))

    async def refuse(self, error: PlatformError, *, code: int | None = None) -> None:
        """Say why, and close with 4000 + status (or `code`)."""
        await self.emit(frames.error(problems.of(error)))
        await self.close_with(4000 + error.status if code is None else code)

    async def disconnect(self, code: int) -> None:
        """The client went: the runs go on, and so do their journals."""
        await self._end()

    async def sign_in(self, text: str) -> None:
        """Judge a credential of a first message; raises Unauthenticated, TooManySockets."""
        actor = await run_db(sockets.authenticate_text, text, path=self.scope["path"], ip=self._ip)
        if self.actor is None:
            await self._seat(actor)
        elif actor.user_id != self.actor.user_id:
            raise Unauthenticated("this socket belongs to somebody else")

    def who(self) -> Actor:
        """The actor; raises Unauthenticated when the socket has none."""
        if self.actor is None:
            raise Unauthenticated
        return self.actor

    def later(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something beside the frames, for as long as the socket lives."""
        self._background = [task for task in self._background if not task.done()]
        self._background.append(asyncio.create_task(work))

    def drop(self, run_id: UUID) -> None:
        """Follow a run no longer."""
        followed = self.feeds.pop(run_id, None)
        if followed is not None:
            followed.stop()

    async def _seat(self, actor: Actor) -> None:
        await limits.take_seat(actor.user_id, self.socket_id)
        if self._is_stranger:
            limits.dismiss_stranger(self._ip)
            self._is_stranger = False
        self.actor = actor
        loop = asyncio.get_running_loop()
        self._endings.append(access_feed.subscribe(lambda change: _tell(loop, self._heard, change)))
        self.later(self._revalidate_regularly())

    def _heard(self, subjects: tuple[UUID, ...]) -> None:
        """Somebody's rights shrank: look at once when it may be about us."""
        actor = self.actor
        if actor is None or self.is_closed:
            return
        mine = {actor.user_id, actor.session_id, actor.api_key_id, actor.key_organization_id}
        followed = {place for feed in self.feeds.values() for place in feed.places}
        if (mine | followed) & set(subjects):
            self.later(self._revalidate())

    async def _revalidate_regularly(self) -> None:
        while True:
            await asyncio.sleep(REVALIDATE_S)
            await limits.keep_seat(self.who().user_id, self.socket_id)
            await self._revalidate()

    async def _revalidate(self) -> None:
        """Close when the credential ended; stop what may no longer be read."""
        try:
            lost = await run_db(actors.lost_runs, actor=self.who(), run_ids=list(self.feeds))
        except Unauthenticated as revoked:
            metrics.sockets_dropped_total.labels(reason="revoked").inc()
            for run_id in list(self.feeds):
                self.drop(run_id)
            await self.refuse(revoked)
            return
        for run_id in lost:
            self.drop(run_id)
            problem = problems.of(NotFound()) | {"run_id": str(run_id)}
            await self.emit(frames.error(problem))

    async def _require_auth(self) -> None:
        await asyncio.sleep(AUTH_WITHIN_S)
        if self.actor is None:
            await self.refuse(Unauthenticated(f"sign in within {AUTH_WITHIN_S:.0f} seconds"))

    async def _farewell(self) -> None:
        """This process ends: say where to go on, and close."""
        cursors = [frames.Resume(run_id=f.run_id, after=f.after) for f in self.feeds.values()]
        metrics.sockets_dropped_total.labels(reason="drain").inc()
        await self.emit(frames.Draining(runs=cursors))
        await self.close_with(RESTARTS)

    async def _guarded(self, work: Coroutine[Any, Any, None], *, closes: bool) -> None:
        try:
            await work
        except PlatformError as error:
            await (self.refuse(error) if closes else self.emit(frames.error(problems.of(error))))

    async def send_raw(self, data: bytes) -> None:
        if not self.is_closed:
            try:
                await self.send(text_data=data.decode())
            except OSError:  # the client has gone; its disconnect message is on the way
                self.is_closed = True

    async def close_with(self, code: int) -> None:
        if not self.is_closed:
            self.is_closed = True
            await self._end()
            with suppress(OSError, RuntimeError):
                await self.close(code)

    async def _end(self) -> None:
        self.is_closed = True
        for followed in self.feeds.values():
            followed.stop()
        self.feeds.clear()
        for ending in self._endings:
            ending()
        self._endings.clear()
        if self._is_stranger:
            limits.dismiss_stranger(self._ip)
            self._is_stranger = False
        actor, self.actor = self.actor, None
        mine = asyncio.current_task()
        for task in self._background:
            if task is not mine:
                task.cancel()
        if actor is not None:
            await limits.leave_seat(actor.user_id, self.socket_id)

    @property
    def _ip(self) -> str:
        remote = (self.scope.get("client") or ("", 0))[0]
        return peers.ip(remote, self._headers().get("x-forwarded-for", ""))

    def _headers(self) -> dict[str, str]:
        return {
            name.decode("latin-1").lower(): value.decode("latin-1")
            for name, value in self.scope["headers"]
        }

    def _subprotocol(self, credential: str) -> str | None:
        offered = self.scope.get("subprotocols", [])
        if frames.PROTOCOL in offered:
            return frames.PROTOCOL
        return credential if credential in offered else None


def _tell(
    loop: asyncio.AbstractEventLoop,
    heard: Callable[[tuple[UUID, ...]], None],
    change: access_feed.Change,
) -> None:
    """From the feed's thread to the socket's loop, which may have ended."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(heard, change.subjects())
