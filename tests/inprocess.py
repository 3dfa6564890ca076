"""The platform's real ASGI application, called in this process with raw bytes.

Everything runs in it as in production, guards included, but in the caller's database connection:
a test can send thousands of requests inside one transaction, and things that no HTTP client
library would let through.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

from asgiref.sync import async_to_sync
from django.core.signals import request_finished, request_started
from django.db import close_old_connections

Headers = Mapping[str, str] | Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back; header names are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def media(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0]

    def json(self) -> Any:
        return json.loads(self.body)


def send(method: str, target: str, *, headers: Headers = (), body: bytes = b"") -> Answer:
    """One request. `target` is the raw path and query; escapes in it are sent as they are."""
    messages: list[dict[str, Any]] = []
    pending = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if pending:
            return pending.pop()
        return await asyncio.Future()  # the client stays until it has its answer

    async def reply(message: dict[str, Any]) -> None:
        messages.append(message)

    from ideplatform.asgi import application

    with _kept_connection():
        async_to_sync(application)(_scope(method, target, headers, body), receive, reply)
    start = messages[0]
    return Answer(
        status=start["status"],
        headers={k.decode("latin-1").lower(): v.decode("latin-1") for k, v in start["headers"]},
        body=b"".join(message.get("body", b"") for message in messages[1:]),
    )


@contextmanager
def _kept_connection() -> Iterator[None]:
    """Django would close the caller's connection, in the middle of its transaction."""
    moments = (request_started, request_finished)
    for moment in moments:
        moment.disconnect(close_old_connections)
    try:
        yield
    finally:
        for moment in moments:
            moment.connect(close_old_connections)


def _scope(method: str, target: str, headers: Headers, body: bytes) -> dict[str, Any]:
    raw_path, _, query = target.partition("?")
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    sent = [(_bytes(name).lower(), _bytes(value)) for name, value in pairs]
    named = {name for name, _ in sent}
    if b"host" not in named:
        sent.append((b"host", b"testserver"))
    if body and b"content-length" not in named:
        sent.append((b"content-length", str(len(body)).encode()))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw_path, errors="surrogateescape"),
        "raw_path": raw_path.encode("utf-8", "surrogateescape"),
        "query_string": query.encode("utf-8", "surrogateescape"),
        "root_path": "",
        "headers": sent,
        "client": ("127.0.0.1", 50_000),
        "server": ("testserver", 80),
    }


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogateescape")
