"""The web entry: slow clients are refused, and a shutdown loses nobody."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from ideplatform.embedded import ports
from ideplatform.serving import BODY_BYTES_PER_S
from tests.waiting import eventually

HEAD_S, BODY_S = 0.3, 0.5


@dataclass(frozen=True)
class Running:
    port: int
    process: subprocess.Popen[bytes]

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=5)

    def answers(self) -> bool:
        """Whether it serves; only then does it also handle signals."""
        try:
            return self.get("/").endswith(b"hello")
        except ConnectionRefusedError:
            return False

    def get(self, path: str) -> bytes:
        with self.connect() as client:
            client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
            return all_of(client)


@contextlib.contextmanager
def serving(*, grace_s: float = 0, spread_s: float = 0, finish_s: float = 2) -> Iterator[Running]:
    port = ports.free_port()
    times = [str(value) for value in (HEAD_S, BODY_S, grace_s, spread_s, finish_s)]
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.embedded.small_server", str(port), *times],
        stdout=subprocess.PIPE,
    )
    try:
        running = Running(port, process)
        eventually(running.answers, within_s=10)
        yield running
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    with serving() as running:
        yield running


def all_of(client: socket.socket) -> bytes:
    received = b""
    with contextlib.suppress(ConnectionResetError):
        while data := client.recv(65_536):
            received += data
    return received


def problem_in(answer: bytes) -> dict[str, object]:
    problem: dict[str, object] = json.loads(answer.partition(b"\r\n\r\n")[2])
    return problem


def test_a_head_that_does_not_arrive_in_time_is_408(server: Running):
    with server.connect() as client:
        began = time.monotonic()
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n")
        answer = all_of(client)
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert problem_in(answer)["code"] == "request_timeout"
    assert HEAD_S * 0.9 < time.monotonic() - began < 3


def test_a_head_that_drips_gets_no_more_time(server: Running):
    with server.connect() as client:
        client.settimeout(0.02)
        began = time.monotonic()
        client.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")
        answer = eventually(lambda: _drip(client), within_s=3)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert time.monotonic() - began < 2 * HEAD_S


def _drip(client: socket.socket) -> bytes:
    """Send one more byte of a header that never ends; answer what came back."""
    client.sendall(b"x")
    with contextlib.suppress(TimeoutError):
        return client.recv(65_536)
    return b""


def test_a_connection_that_never_speaks_is_closed_without_a_word(server: Running):
    with server.connect() as client:
        assert all_of(client) == b""


def test_the_head_of_a_second_request_has_its_own_deadline(server: Running):
    with server.connect() as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: b"hello" in client.recv(65_536))
        client.sendall(b"GET / HTTP/1.1\r\n")
        assert all_of(client).startswith(b"HTTP/1.1 408 ")


def test_a_body_that_does_not_arrive_in_time_is_408(server: Running):
    with server.connect() as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc")
        answer = all_of(client)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert server.process.stdout is not None
    assert server.process.stdout.readline() == b"disconnected\n"


def test_a_body_in_pieces_within_the_deadline_is_read_whole(server: Running):
    with server.connect() as client:
        client.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n")
        client.sendall(b"Connection: close\r\n\r\nabc")
        client.sendall(b"def")
        assert all_of(client).endswith(b"\r\n\r\nabcdef")


def test_a_large_body_that_keeps_coming_may_take_longer(server: Running):
    size = 4 * BODY_BYTES_PER_S
    with server.connect() as client:
        began = time.monotonic()
        client.sendall(
            b"POST /echo HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Content-Length: %d\r\n\r\n" % size
        )
        client.sendall(b"x" * (size - 1))
        with contextlib.suppress(TimeoutError):
            client.settimeout(BODY_S * 1.6)
            assert client.recv(1) == b"", "the body is not complete, so there is no answer"
        client.settimeout(5)
        client.sendall(b"x")
        answer = all_of(client)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert time.monotonic() - began > BODY_S


@pytest.mark.parametrize("pieces", [1, 70], ids=["one piece", "many"])
def test_a_head_beyond_its_size_is_431(server: Running, pieces: int):
    head = b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"x" * 70_000 + b"\r\n"
    step = len(head) // pieces
    with server.connect() as client, contextlib.suppress(OSError):
        for start in range(0, len(head), step):
            client.sendall(head[start : start + step])
        answer = all_of(client)
        assert answer.startswith(b"HTTP/1.1 431 ")
        assert problem_in(answer)["code"] == "head_too_large"


def test_what_is_not_http_is_400(server: Running):
    with server.connect() as client:
        client.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n")
        assert all_of(client).startswith(b"HTTP/1.1 400 ")


def test_service_goes_on_during_the_grace_and_ends_after_it():
    with serving(grace_s=0.6) as server:
        server.process.send_signal(signal.SIGTERM)
        assert server.get("/").endswith(b"\r\n\r\nhello")
        eventually(lambda: ports.is_free(server.port), within_s=5)
        assert server.process.wait(5) == -signal.SIGTERM


def test_an_open_request_finishes_before_the_process_ends():
    with serving(finish_s=5) as server, server.connect() as client:
        client.sendall(b"GET /slow?1 HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: server.get("/"))
        server.process.send_signal(signal.SIGTERM)
        answer = all_of(client)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"connection: close" in answer
        assert server.process.wait(5) == -signal.SIGTERM


def test_a_request_that_never_ends_is_cut_at_the_end_of_the_drain():
    with serving(finish_s=0.3) as server, server.connect() as client:
        client.sendall(b"GET /slow?60 HTTP/1.1\r\nHost: x\r\n\r\n")
        eventually(lambda: server.get("/"))
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(10) == -signal.SIGTERM
        assert time.monotonic() - began < 4


async def test_every_socket_is_told_1012_and_subscribers_hear_it_spread_over_time():
    with serving(spread_s=1, finish_s=5) as server:
        base = f"ws://127.0.0.1:{server.port}"
        polite = [await connect(f"{base}/polite") for _ in range(4)]
        mute = await connect(f"{base}/mute")
        for client in [*polite, mute]:
            assert await client.recv() == "open"
        began = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        ends = await asyncio.gather(*(_farewell(client) for client in polite))
        assert [(text, code) for text, code, _ in ends] == [("draining", 1012)] * 4
        moments = sorted(at - began for _, _, at in ends)
        assert moments[-1] - moments[0] > 0.5
        with pytest.raises(ConnectionClosed) as closed:
            await mute.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1012
        assert await asyncio.to_thread(server.process.wait, 10) == -signal.SIGTERM


async def _farewell(client) -> tuple[object, int, float]:
    text = await client.recv()
    with contextlib.suppress(ConnectionClosed):
        await client.recv()
    return text, client.close_code, time.monotonic()
