"""Deep, giant, chunked and NUL requests over a real socket end in a 4xx, never in more memory."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator

import pytest
import uvicorn

from ideplatform.kit import guards
from ideplatform.kit.errors import PlatformError
from tests.waiting import eventually

MIB = 1024 * 1024


async def _application(scope, receive, send):
    """Parses its JSON body as every edge does."""
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    try:
        guards.parse_json(body)
        status = 200
    except PlatformError as refused:
        status = refused.status
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.fixture(scope="module")
def address() -> Iterator[tuple[str, int]]:
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(guards.Guard(_application), log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    eventually(lambda: server.started)
    yield listener.getsockname()
    server.should_exit = True
    thread.join(10)
    listener.close()


def _answer(address: tuple[str, int], *pieces: bytes) -> bytes:
    """Everything the server says to raw bytes; it may hang up while we still send."""
    with socket.create_connection(address, timeout=10) as client:
        try:
            for piece in pieces:
                client.sendall(piece)
        except (BrokenPipeError, ConnectionResetError):
            pass
        received = b""
        try:
            while b"\r\n\r\n" not in received and (piece := client.recv(65_536)):
                received += piece
        except ConnectionResetError:
            pass
        return received


def _head(target: str = "/x", length: int | None = None) -> bytes:
    size = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    return f"POST {target} HTTP/1.1\r\nHost: x\r\n{size}\r\n\r\n".encode()


def _status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def _chunk(data: bytes) -> bytes:
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{}", 200),
        (b"[" * 500_000, 400),
        (b"[" * 500_000 + b"]" * 500_000, 400),
        (b'"a\\u0000"', 422),
        (b"9" * 4_000, 422),
        (b"NaN", 400),
        (b'"\\ud800"', 400),
        (b"\xff\xfe", 400),
    ],
)
def test_json_bodies(address, body, status):
    assert _status(_answer(address, _head(length=len(body)), body)) == status


def test_a_declared_giant_is_refused_unread(address):
    answer = _answer(address, _head(length=10 * 1024 * MIB))
    assert _status(answer) == 413
    assert b"application/problem+json" in answer


def test_an_endless_chunked_body_is_refused_at_its_limit(address):
    pieces = [_chunk(b" " * 65_536)] * 40
    assert _status(_answer(address, _head(), *pieces)) == 413


def test_a_chunked_body_within_the_limit_passes(address):
    pieces = [_chunk(json.dumps({"a": 1}).encode()), b"0\r\n\r\n"]
    assert _status(_answer(address, _head(), *pieces)) == 200


@pytest.mark.parametrize("target", ["/a%00b", "/a?q=%00", "/%ff", "/a?q=%ed%a0%80", "/%zz"])
def test_targets(address, target):
    assert _status(_answer(address, _head(target, 2), b"{}")) == 400
