"""Clients that stream a run over any number of sockets and believe nothing."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import aiohttp

API = "/api/v1"
RETRY_S = 0.2


class Broken(AssertionError):
    """A promise of the stream was not kept."""


@dataclass(slots=True)
class Reader:
    """One run as one client saw it: every frame, in the order of arrival."""

    url: str
    token: str
    workspace_id: str
    prompt: str
    agent_id: str = "universal"
    request_id: str = field(default_factory=lambda: str(uuid4()))
    run_id: str = ""
    after: int = 0
    frames: list[dict[str, Any]] = field(default_factory=list)
    sockets: int = 0

    @property
    def text(self) -> str:
        """The answer: deltas that a later attempt superseded are not part of it."""
        superseded = {f["supersedes"] for f in self.frames if f["type"] == "attempt"}
        deltas = (f for f in self.frames if f["type"] == "delta")
        return "".join(f["content"] for f in deltas if f["step_id"] not in superseded)

    @property
    def end(self) -> dict[str, Any] | None:
        last = self.frames[-1] if self.frames else None
        return last if last and last["type"] in {"complete", "error"} else None

    async def read(self, *, within_s: float) -> None:
        """Read to the end of the run, redialling after every drop."""
        async with asyncio.timeout(within_s), aiohttp.ClientSession() as http:
            while self.end is None:
                with contextlib.suppress(aiohttp.ClientError, OSError):
                    await self._one_socket(http)
                await asyncio.sleep(RETRY_S)

    async def _one_socket(self, http: aiohttp.ClientSession) -> None:
        headers = {"authorization": f"Bearer {self.token}"}
        url = self.url + API + "/ws/agents"
        async with http.ws_connect(url, headers=headers, max_msg_size=0) as socket:
            self.sockets += 1
            await socket.send_json({"type": "hello", "client": "reader"})
            await socket.send_json(self._opening())
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    self._take(message.json())
                if self.end is not None:
                    return

    def _opening(self) -> dict[str, Any]:
        if self.run_id:
            return {
                "type": "subscribe",
                "run_id": self.run_id,
                "after": self.after,
                "fence": self.frames[-1]["fence"] if self.frames else None,
            }
        return {
            "type": "start",
            "request_id": self.request_id,
            "workspace_id": self.workspace_id,
            "agent_id": self.agent_id,
            "prompt": self.prompt,
        }

    def _take(self, frame: dict[str, Any]) -> None:
        if frame["type"] == "rewind":
            self.frames = [kept for kept in self.frames if kept["seq"] <= frame["to_seq"]]
            self.after = frame["to_seq"]
        elif frame["type"] == "started":
            self.run_id = frame["run_id"]
        elif "seq" in frame:
            if frame["seq"] <= self.after:
                raise Broken(f"{frame['type']} {frame['seq']} came again after {self.after}")
            self.after = frame["seq"]
            self.frames.append(frame)
        elif frame["type"] == "error":
            if not frame["problem"]["retryable"]:
                raise Broken(f"refused: {frame['problem']}")
            raise ConnectionError("asked to try again")
