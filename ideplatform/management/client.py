"""A client of a running platform, as an IDE would be one: REST, the agent socket, resumption.

Used by `manage.py demo`; it knows nothing of Django and reaches only the address it is given.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from types import TracebackType
from typing import Any, Self

import aiohttp

API = "/api/v1"
Json = dict[str, Any]
RECONNECT_S = 0.25
GIVE_UP_S = 60
_ENDS = {"complete", "error"}


class Refused(Exception):
    """The platform answered with a problem."""

    def __init__(self, problem: Mapping[str, object]) -> None:
        super().__init__(str(problem.get("detail") or problem.get("title")))
        self.problem = problem


class Client:
    """One signed-in session. Use as an async context manager."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self.access = ""
        self._http = aiohttp.ClientSession()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._http.close()

    async def sign_in(self, email: str, password: str) -> None:
        pair = await self.call("POST", "/auth/login", {"email": email, "password": password})
        self.access = pair["access"]

    async def call(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        raw: bytes | None = None,
        content_type: str = "application/json",
        query: Mapping[str, str] | None = None,
    ) -> Json:
        """One REST call; raises Refused with the problem of an answer from 400 up."""
        headers = {"authorization": f"Bearer {self.access}"} if self.access else {}
        if raw is not None:
            headers["content-type"] = content_type
        async with self._http.request(
            method, self.url + API + path, json=body, data=raw, headers=headers, params=query
        ) as answer:
            content: Json = await answer.json(content_type=None) if answer.status != 204 else {}
            if answer.status >= 400:
                raise Refused(content)
            return content

    async def run(self, start: Json) -> AsyncIterator[Json]:
        """Start a run and yield its journalled frames, each once, over any number of sockets."""
        run_id, after = "", 0
        deadline = asyncio.get_running_loop().time() + GIVE_UP_S
        while True:
            opening = (
                {"type": "subscribe", "run_id": run_id, "after": after}
                if run_id
                else {"type": "start"} | start
            )
            try:
                async for frame in self._socket(opening):
                    if frame["type"] == "error" and "seq" not in frame:
                        raise Refused(frame["problem"])
                    run_id = frame.get("run_id", run_id)
                    if frame.get("seq", 0) <= after:
                        continue
                    after = frame["seq"]
                    deadline = asyncio.get_running_loop().time() + GIVE_UP_S
                    yield frame
                    if frame["type"] in _ENDS:
                        return
            except aiohttp.ClientError:
                if asyncio.get_running_loop().time() > deadline:
                    raise
            await asyncio.sleep(RECONNECT_S)

    async def _socket(self, opening: Json) -> AsyncIterator[Json]:
        """The frames of one socket until it closes."""
        async with self._http.ws_connect(
            self.url + API + "/ws/agents",
            headers={"authorization": f"Bearer {self.access}"},
            protocols=("mundial.v1",),
            max_msg_size=0,
        ) as socket:
            await socket.send_json({"type": "hello", "client": "demo"})
            await socket.send_json(opening)
            async for message in socket:
                if message.type is aiohttp.WSMsgType.TEXT:
                    yield message.json()
