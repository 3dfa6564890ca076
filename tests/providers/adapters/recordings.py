"""Streams as the simulated vendor sends them, to be read again in pieces of any size."""

from __future__ import annotations

import http.client
import json
from collections.abc import AsyncIterator, Iterable
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

from multidict import CIMultiDict, CIMultiDictProxy

from ideplatform.kit.egress import Response

PATHS = {
    "chat": "/v1/chat/completions",
    "responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "google": "/v1beta/models/sim-echo:streamGenerateContent?alt=sse",
}
_HEADERS = {
    "Authorization": "Bearer sk-simulated-0001",
    "x-api-key": "sk-simulated-0001",
    "x-goog-api-key": "sk-simulated-0001",
    "anthropic-version": "2023-06-01",
    "Content-Type": "application/json",
}


def asking(vendor: str, prompt: str) -> dict[str, Any]:
    """The least request for a counted stream."""
    turn = {"role": "user", "content": prompt}
    match vendor:
        case "chat":
            options = {"stream": True, "stream_options": {"include_usage": True}}
            return {"model": "sim-echo", "messages": [turn], **options}
        case "responses":
            return {"model": "sim-echo", "input": prompt, "stream": True}
        case "anthropic":
            return {"model": "sim-echo", "messages": [turn], "stream": True, "max_tokens": 9_000}
    return {"contents": [{"role": "user", "parts": [{"text": prompt}]}]}


def recorded(url: str, vendor: str, body: dict[str, Any] | bytes) -> bytes:
    """The whole stream, byte for byte."""
    address = urlsplit(url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
    payload = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request("POST", PATHS[vendor], payload, _HEADERS)
    response = connection.getresponse()
    stream = response.read()
    connection.close()
    assert response.status == 200, stream
    return stream


class Pieces(Response):
    """An answer whose bytes come in the given pieces."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = list(pieces)
        self.status = 200
        self.headers = CIMultiDictProxy(CIMultiDict[str]())

    async def iter_any(self) -> AsyncIterator[bytes]:
        for piece in self._pieces:
            yield piece


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    """The stream in pieces that end at the places."""
    ends = sorted({place % (len(stream) + 1) for place in places} | {0, len(stream)})
    return [stream[start:end] for start, end in pairwise(ends)]
