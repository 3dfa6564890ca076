"""Real clients of the agent socket."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import websockets
from websockets.asyncio.client import ClientConnection

from accounts.models import User
from accounts.services import sessions

PATH = "/api/v1/ws/agents"


def an_access_token(user: User) -> str:
    return sessions.sign_in(user=user, ip="127.0.0.1", user_agent="test").access


class AgentClient:
    """One socket that speaks JSON."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket

    async def send(self, **frame: Any) -> None:
        await self.socket.send(json.dumps(frame))

    async def next(self, *kinds: str) -> dict[str, Any]:
        """The next frame (of one of these types, others passed over)."""
        while True:
            frame: dict[str, Any] = json.loads(await self.socket.recv())
            if not kinds or frame["type"] in kinds:
                return frame

    async def until(self, *kinds: str) -> list[dict[str, Any]]:
        """Every frame up to the first of these types."""
        found = [await self.next()]
        while found[-1]["type"] not in kinds:
            found.append(await self.next())
        return found

    async def closed(self) -> int:
        """Read to the close, and say its code."""
        await self.socket.wait_closed()
        return int(self.socket.close_code or 0)


@asynccontextmanager
async def dialled(ws_url: str, *, query: str = "", **options: Any) -> AsyncIterator[AgentClient]:
    async with websockets.connect(ws_url + PATH + query, max_size=None, **options) as socket:
        yield AgentClient(socket)


def bearer(token: str) -> dict[str, Any]:
    return {"additional_headers": {"Authorization": f"Bearer {token}"}}
