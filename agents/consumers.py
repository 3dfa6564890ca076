"""`WS /api/v1/ws/agents`: one socket, many runs; and the founding client's one request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar
from uuid import UUID

import structlog
from django.conf import settings

from accounts.types import Permission
from agents import frames
from agents.errors import FrameTooLarge, MalformedFrame, SlowClient, TooManyRuns
from agents.services import requests, runs
from agents.streams import limits
from agents.streams.feeds import RUNS_PER_SOCKET, Feed
from agents.streams.socket import Socket
from agents.types import Run
from ideplatform.kit import accounting, problems
from ideplatform.kit.db import run_db
from ideplatform.kit.errors import PlatformError, Unauthenticated
from ideplatform.observability import metrics

log = structlog.get_logger(__name__)
R = TypeVar("R")

MALFORMED_IN_A_ROW = 3
NORMAL = 1000

for _frame in ("start", "cancel"):
    accounting.declare(f"frame {_frame}", permission=Permission.AGENT_RUN)
accounting.declare("frame subscribe", permission=Permission.RUN_READ)
for _frame in ("auth", "hello", "unsubscribe", "ack", "ping"):
    accounting.declare(f"frame {_frame}", public="touches nothing but this socket")


class AgentStream(Socket):
    """One client's socket. Everything it follows lives in journals; this holds cursors."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._window: int | None = None
        self._pace = limits.Pace()
        self._malformed = 0

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """Decode a frame and match it; nothing else."""
        if self.is_closed:
            return
        try:
            self._pace.count()
            frame = frames.decode(text_data if text_data is not None else bytes_data or b"")
            self._malformed = 0
            await self._enter(frame)
            match frame:
                case frames.Start():
                    await self.start(frame)
                case frames.SeedRequest():
                    await self.answer(frame)
                case frames.Subscribe():
                    await self.subscribe(frame)
                case frames.Cancel(run_id=run_id):
                    await self._at("cancel", runs.cancel, actor=self.who(), run_id=run_id)
                case _:
                    await self._settle(frame)
        except PlatformError as error:
            await self._failed(error)
        except Exception:  # one frame's fault is not the end of the socket's runs
            log.exception("frame.failed", socket_id=str(self.socket_id))
            problem = problems.internal(request_id=str(self.socket_id))
            await self.emit(frames.error(problem))

    async def start(self, frame: frames.Start) -> None:
        """Open a run, or find it again, and follow it."""
        self._require_room()
        try:
            wanted = requests.of_start(frame)
            run = await self._at("start", requests.open_run, actor=self.who(), wanted=wanted)
        except PlatformError as error:
            await self.emit(frames.error(problems.of(error, request_id=frame.request_id)))
            return
        await self.emit(
            frames.Started(
                request_id=frame.request_id,
                run_id=run.id,
                conversation_id=run.conversation_id,
                agent_id=run.agent_id,
            )
        )
        self._follow(run, after=frame.after)

    async def subscribe(self, frame: frames.Subscribe) -> None:
        """Follow a run that exists, after a cursor."""
        self._require_room(frame.run_id)
        run = await self._at("subscribe", runs.readable, actor=self.who(), run_id=frame.run_id)
        self._follow(run, after=frame.after, fence=frame.fence)

    async def answer(self, request: frames.SeedRequest) -> None:
        """The founding client's request: deltas, one end, close."""
        try:
            run = await self._at(
                "start", requests.open_run, actor=self.who(), wanted=requests.of_seed(request)
            )
        except PlatformError as error:
            await self.refuse(error, code=NORMAL)
            return
        self._feed(run, after=0, is_seed=True).start(self._fed_seed)

    async def _enter(self, frame: frames.AnyClientFrame | frames.SeedRequest) -> None:
        """Sign in by the first message, if nothing did before; raises Unauthenticated."""
        is_seed = isinstance(frame, frames.SeedRequest) and self.actor is None
        if (is_seed or isinstance(frame, frames.Auth)) and (token := _token(frame)):
            await self.sign_in(token)
        self.who()

    async def _settle(self, frame: frames.AnyClientFrame | frames.SeedRequest) -> None:
        """Frames that touch nothing but this socket."""
        match frame:
            case frames.Unsubscribe(run_id=run_id):
                self.drop(run_id)
            case frames.Ack(acks=acks):
                self._acknowledge(acks)
            case frames.Ping(nonce=nonce):
                await self.emit(frames.Pong(nonce=nonce))
            case frames.Hello(window_bytes=window):
                await self._greet(window)
            case frames.Auth():
                await self._greet(None)

    async def _greet(self, window: int | None) -> None:
        if window is not None:
            self._window = max(1_024, min(window, int(settings.ENV.ws_window_bytes)))
        await self.emit(
            frames.Welcome(
                protocol=frames.PROTOCOL,
                socket_id=self.socket_id,
                window_bytes=self._window,
                max_frame_bytes=frames.MAX_FRAME_BYTES,
                max_runs=RUNS_PER_SOCKET,
            )
        )

    async def _failed(self, error: PlatformError) -> None:
        """Tell the client; who does not sign in, or writes nonsense three times, is closed."""
        is_unreadable = isinstance(error, MalformedFrame | FrameTooLarge)
        self._malformed = self._malformed + 1 if is_unreadable else 0
        if isinstance(error, Unauthenticated):
            await self.refuse(error)
        elif self.actor is None:
            await self.refuse(Unauthenticated("the first message says who you are"))
        elif self._malformed >= MALFORMED_IN_A_ROW:
            await self.refuse(MalformedFrame("three unreadable messages in a row"))
        else:
            await self.emit(frames.error(problems.of(error)))

    def _follow(self, run: Run, *, after: int, fence: int | None = None) -> None:
        self._feed(run, after=after, fence=fence).start(self._fed)

    def _feed(
        self, run: Run, *, after: int, fence: int | None = None, is_seed: bool = False
    ) -> Feed:
        self.drop(run.id)
        self.feeds[run.id] = Feed(
            run_id=run.id,
            places=(run.workspace_id, run.organization_id),
            after=max(after, 0),
            fence=fence,
            window=self._window,
            send=self.send_raw,
            is_seed=is_seed,
        )
        return self.feeds[run.id]

    def _fed(self, ended: Feed, fault: BaseException | None) -> None:
        if self.feeds.get(ended.run_id) is ended:
            del self.feeds[ended.run_id]
        if isinstance(fault, SlowClient):
            metrics.sockets_dropped_total.labels(reason="slow_client").inc()
            self.later(self.close_with(4000 + fault.status))
        elif fault is not None and not self.is_closed:
            log.error("feed.failed", exc_info=fault, run_id=str(ended.run_id))
            problem = problems.internal(request_id=str(self.socket_id))
            self.later(self.emit(frames.error(problem | {"run_id": str(ended.run_id)})))

    def _fed_seed(self, ended: Feed, fault: BaseException | None) -> None:
        self._fed(ended, fault)
        self.later(self.close_with(NORMAL))

    def _require_room(self, run_id: UUID | None = None) -> None:
        if run_id not in self.feeds and len(self.feeds) >= RUNS_PER_SOCKET:
            raise TooManyRuns(f"at most {RUNS_PER_SOCKET} runs per socket")

    def _acknowledge(self, acks: list[frames.Acknowledged]) -> None:
        for ack in acks:
            if ack.run_id in self.feeds:
                self.feeds[ack.run_id].acknowledge(ack.seq)

    async def _at(self, frame: str, service: Callable[..., R], **arguments: Any) -> R:
        """A service under the frame's name, for the accounting of permissions."""
        with accounting.at(f"frame {frame}"):
            return await run_db(service, **arguments)


def _token(frame: frames.AnyClientFrame | frames.SeedRequest) -> str:
    """The credential of a message that may carry one."""
    return (frame.token or "") if isinstance(frame, frames.Auth | frames.SeedRequest) else ""
