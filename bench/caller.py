"""Asks chat completions over kept connections, in as few instructions as Python allows.

The driver shares its core with the vendor's double: a client library would be slower than what it
measures.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from statistics import quantiles
from typing import cast
from urllib.parse import urlsplit

WITHIN_S = 120
_TOKEN = re.compile(rb'" (\d+):(\d+)"')
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_LAST = b"0\r\n\r\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where and as whom to ask, and for which model."""

    url: str
    key: str
    model: str = "sim-echo"

    def request(
        self, *, tokens: int = 0, first_ms: int = 0, pace_us: int = 0, max_tokens: int = 16
    ) -> bytes:
        """The bytes of a request: whole without tokens, else streamed by that plan."""
        plan = f"plan:{tokens}:{first_ms}:{pace_us}"
        body = {
            "model": self.model,
            "messages": [
                {"role": "system", "content": "You are a helpful assistant. Be brief."},
                {"role": "user", "content": f"Say hello to everybody who reads this. {plan}"},
            ],
            "max_tokens": max(tokens, max_tokens),
            "stream": bool(tokens),
        }
        if tokens:
            body["stream_options"] = {"include_usage": True}
        content = json.dumps(body, separators=(",", ":")).encode()
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: {urlsplit(self.url).netloc}\r\n"
            f"authorization: Bearer {self.key}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(content)}\r\n\r\n"
        )
        return head.encode() + content


@dataclass(slots=True)
class Heard:
    """One answer: when its first token came, and how long each token was under way."""

    status: int = 0
    first_ms: float = 0.0
    lags_ms: list[float] = field(default_factory=list)
    tokens: int = 0
    body: bytes = b""


class _Line(asyncio.Protocol):
    """One connection; ``ask`` answers when the whole answer is there."""

    def __init__(self, *, keeps_lags: bool) -> None:
        self._keeps_lags = keeps_lags
        self._lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is not of that class

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        if not self._done.done():
            self._done.set_exception(ConnectionError("the server hung up"))

    async def ask(self, request: bytes) -> Heard:
        self._heard, self._head, self._rest, self._size = Heard(), b"", b"", -1
        self._done = asyncio.get_running_loop().create_future()
        self._began = time.monotonic_ns()
        self._transport.write(request)
        await self._done
        return self._heard

    def close(self) -> None:
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        if not self._head:
            self._rest += data
            self._head, found, data = self._rest.partition(b"\r\n\r\n")
            if not found:
                self._head = b""
                return
            self._heard.status = int(self._head[9:12])
            length = _LENGTH.search(self._head)
            self._size = int(length[1]) if length else -1
            self._rest = b""
        self._take(data)

    def _take(self, data: bytes) -> None:
        heard = self._heard
        if self._size >= 0:
            heard.body += data
            if len(heard.body) >= self._size:
                self._done.set_result(None)
            return
        whole = self._rest + data
        now, end = time.monotonic_ns(), 0
        for found in _TOKEN.finditer(whole):
            if not heard.tokens:
                heard.first_ms = (now - self._began) / 1e6
            heard.tokens += 1
            end = found.end()
            if self._keeps_lags:
                heard.lags_ms.append((now - int(found[2])) / 1e6)
        self._rest = whole[max(end, len(whole) - 64) :]
        if heard.status != 200:
            heard.body += data
        if whole.endswith(_LAST):
            self._done.set_result(None)


async def _ask_on_one(
    door: Door, request: bytes, times: int, *, keeps_lags: bool, wait_s: float
) -> list[Heard]:
    address, loop = urlsplit(door.url), asyncio.get_running_loop()
    await asyncio.sleep(wait_s)
    _, line = await loop.create_connection(
        lambda: _Line(keeps_lags=keeps_lags), str(address.hostname), address.port or 80
    )
    try:
        return [await line.ask(request) for _ in range(times)]
    finally:
        line.close()


async def ask(
    door: Door,
    request: bytes,
    *,
    at_once: int,
    each: int,
    keeps_lags: bool = False,
    spread_s: float = 0.0,
    refusals: tuple[int, ...] = (),
) -> list[Heard]:
    """The answers on so many connections, so many on each; raises for other statuses than 200."""
    async with asyncio.timeout(WITHIN_S):
        found = await asyncio.gather(
            *(
                _ask_on_one(
                    door, request, each, keeps_lags=keeps_lags, wait_s=spread_s * n / at_once
                )
                for n in range(at_once)
            )
        )
    heard = [one for line in found for one in line]
    for one in heard:
        if one.status not in (200, *refusals):
            raise AssertionError(f"{door.url}: {one.status} {one.body[:300]!r}")
    return heard


def cuts(values: Iterable[float]) -> tuple[float, float]:
    """p50 and p99."""
    found = quantiles(values, n=100)
    return found[49], found[98]
