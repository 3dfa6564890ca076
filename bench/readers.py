"""Clients that read runs by the agent socket and note when each token arrived."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import aiohttp
import msgspec

SOCKETS_PER_PERSON = 20
"""The platform's own limit; each socket reads one run."""

STARTS_AT_ONCE = 20


class _Frame(msgspec.Struct):
    type: str
    seq: int = 0
    to_seq: int = 0
    content: str = ""
    error: str = ""


_decode = msgspec.json.Decoder(_Frame).decode


class Reader:
    """One run over one socket."""

    def __init__(self, *, token: str, workspace_id: str) -> None:
        self._token = token
        self._workspace_id = workspace_id
        self._spoken = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._seqs: list[tuple[int, int]] = []
        self.lags: list[tuple[int, int]] = []
        """Each token's departure and its lag, in nanoseconds of the monotonic clock."""
        self.rewinds = 0

    def start(self, http: aiohttp.ClientSession, url: str) -> None:
        self._task = asyncio.create_task(self._read(http, url))

    async def spoken(self) -> None:
        """Until the first token came; raises what ended the reading before."""
        assert self._task is not None
        spoken = asyncio.ensure_future(self._spoken.wait())
        await asyncio.wait([spoken, self._task], return_when=asyncio.FIRST_COMPLETED)
        spoken.cancel()
        if self._task.done():
            self._task.result()

    async def ended(self) -> None:
        """Until the run's end; raises AssertionError when a token was lost or came twice."""
        assert self._task is not None
        await self._task

    def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _read(self, http: aiohttp.ClientSession, url: str) -> None:
        headers = {"Authorization": f"Bearer {self._token}"}
        address = f"{url}/api/v1/ws/agents"
        async with http.ws_connect(address, headers=headers, max_msg_size=0) as socket:
            await socket.send_json(
                {
                    "type": "start",
                    "agent_id": "universal",
                    "workspace_id": self._workspace_id,
                    "prompt": "Count.",
                }
            )
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT and self._take(message.data):
                    return
        raise AssertionError("the socket closed before the end of the run")

    def _take(self, text: str) -> bool:
        """Note a frame's tokens; whether it is the last frame."""
        now = time.monotonic_ns()
        frame = _decode(text)
        match frame.type:
            case "delta":
                self._count(frame, now)
            case "rewind":
                self._forget(frame.to_seq)
            case "error" | "attempt":
                raise AssertionError(f"the run was not carried through: {text}")
        return frame.type == "complete"

    def _count(self, frame: _Frame, now: int) -> None:
        for token in frame.content.split():
            number, _, departed_at = token.partition(":")
            if int(number) != len(self.lags) + 1:
                raise AssertionError(f"token {number} came after {len(self.lags)}")
            self.lags.append((int(departed_at), now - int(departed_at)))
        self._seqs.append((frame.seq, len(self.lags)))
        self._spoken.set()

    def _forget(self, to_seq: int) -> None:
        """The journal says that what came after an event did not survive."""
        self.rewinds += 1
        while self._seqs and self._seqs[-1][0] > to_seq:
            self._seqs.pop()
        del self.lags[self._seqs[-1][1] if self._seqs else 0 :]


async def open_all(readers: Sequence[Reader], url: str, http: aiohttp.ClientSession) -> None:
    """Start every run, a few at a time, and wait until each has said its first token."""
    for start in range(0, len(readers), STARTS_AT_ONCE):
        some = readers[start : start + STARTS_AT_ONCE]
        for reader in some:
            reader.start(http, url)
        await asyncio.gather(*(reader.spoken() for reader in some))
