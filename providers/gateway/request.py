"""One HTTP request as the gateway reads it: raw bytes in, nothing of a framework."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final
from uuid import UUID

from django.conf import settings

from ideplatform.kit import ids, peers
from ideplatform.kit.errors import RequestTimeout, TooLarge

Scope = Mapping[str, Any]
Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Any, Receive, Send], Awaitable[None]]

BODY_S: Final = 30.0
MIB: Final = 1024 * 1024


class ClientGone(Exception):
    """The client went away before its request was whole: there is nobody to answer."""


class Request:
    """A request to `/v1/*`. `request_id` is ours alone: a UUIDv7, whatever the client sent.

    Header names are lower case. A header that came twice is joined by a comma, so that two
    credentials are never taken for one. `is_read`: nothing of a body is left unread.
    """

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.method: str = scope["method"]
        self.path: str = scope["path"]
        self.query: str = scope["query_string"].decode("latin-1")
        self.receive = receive
        self.send = send
        self.request_id: UUID = ids.new()
        self.headers = _headers(scope["headers"])
        self.is_read = self.method in ("GET", "HEAD", "OPTIONS", "DELETE")
        self._client = scope.get("client")

    @property
    def ip(self) -> str:
        """The client's address, behind the proxies that are trusted."""
        remote = self._client[0] if self._client else ""
        return peers.ip(remote, self.headers.get("x-forwarded-for", ""))

    async def body(self) -> bytes:
        """The whole body; raises TooLarge (413), RequestTimeout (408), ClientGone.

        Counted while reading: a false length costs no more memory than an honest one.
        """
        limit = settings.ENV.gateway_max_body_mb * MIB
        refusal = TooLarge(f"at most {limit} bytes are accepted here")
        declared = self.headers.get("content-length", "")
        if declared.isascii() and declared.isdigit() and int(declared[:20]) > limit:
            raise refusal
        pieces: list[bytes] = []
        left, has_more = limit, True
        try:
            async with asyncio.timeout(BODY_S):
                while has_more:
                    message = await self.receive()
                    if message["type"] == "http.disconnect":
                        raise ClientGone
                    piece = message.get("body", b"")
                    left -= len(piece)
                    if left < 0:
                        raise refusal
                    pieces.append(piece)
                    has_more = message.get("more_body", False)
        except TimeoutError:
            raise RequestTimeout from None
        self.is_read = True
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _headers(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        found[name] = f"{found[name]}, {value}" if name in found else value
    return found
