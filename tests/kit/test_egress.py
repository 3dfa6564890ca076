"""An outbound call reaches the checked address, and only it, within its bounds."""

from __future__ import annotations

import asyncio
import gzip
import socket
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from ideplatform.kit import egress, problems
from ideplatform.kit.egress import Timeouts, dialler
from ideplatform.kit.errors import InvalidInput
from tests.kit import certificates, wire

QUICK = Timeouts(connect_s=0.3, first_byte_s=0.3, idle_s=0.3, total_s=5)


@pytest.fixture(autouse=True)
async def _no_connection_stays() -> AsyncIterator[None]:
    yield
    await egress.aclose_all()


async def _echo(request: web.Request) -> web.Response:
    body = await request.read()
    return web.json_response({"headers": dict(request.headers), "body": body.decode()})


async def _get(url: str, **options: Any) -> tuple[int, bytes]:
    async with egress.request("GET", url, **options) as response:
        return response.status, await response.read()


# What is sent and what comes back


async def test_an_allowed_private_address_is_called_as_asked():
    async with wire.http(_echo) as server:
        with egress.opened(server.at):
            async with egress.request(
                "POST",
                f"http://{server.at}/v1/x?y=1",
                headers={"Authorization": "Bearer k", "X-Own": "ação"},
                json={"a": [1]},
            ) as response:
                body = await response.read()
    assert response.status == 200
    assert response.headers["content-type"].startswith("application/json")
    assert server.hits == ["POST /v1/x?y=1"]
    assert b'"Authorization": "Bearer k"' in body
    assert b'"Content-Type": "application/json"' in body
    assert b'"Accept-Encoding": "identity"' in body
    assert b'"User-Agent": "IDE-Mundial"' in body
    assert b'{\\"a\\":[1]}' in body


async def test_connections_are_pooled_and_cookies_are_not_kept():
    async def cookie(request: web.Request) -> web.Response:
        response = web.Response(text=request.headers.get("Cookie", "none"))
        response.set_cookie("session", "of-another-tenant")
        peers.append(request.get_extra_info("peername"))
        return response

    peers: list[object] = []
    async with wire.http(cookie) as server:
        with egress.opened(server.at):
            answers = [await _get(f"http://{server.at}/") for _ in range(3)]
    assert answers == [(200, b"none")] * 3
    assert len(set(peers)) == 1


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "internal"},
        {"hOST": "internal"},
        {"Content-Length": "5"},
        {"Transfer-Encoding": "chunked"},
        {"Proxy-Authorization": "x"},
        {"Connection": "upgrade"},
        {"X-A": "b\r\nX-C: d"},
        {"X-A": "b\nc"},
        {"X-A": "\x00"},
        {"X A": "b"},
        {"X_A": "b\x7f"},
        {"": "b"},
        {"X-A": "漢"},
    ],
)
async def test_headers_that_would_change_the_message_are_refused(headers):
    async with wire.http(_echo) as server:
        with egress.opened(server.at), pytest.raises(InvalidInput):
            await _get(f"http://{server.at}/", headers=headers)
    assert server.hits == []


async def test_other_methods_are_refused():
    with pytest.raises(InvalidInput):
        egress.request("CONNECT", "http://example.com/")


async def test_a_redirect_comes_back_and_is_not_followed():
    async with wire.http(_echo) as canary:

        async def redirect(_request: web.Request) -> web.Response:
            return web.Response(status=302, headers={"Location": f"http://{canary.at}/"})

        async with wire.http(redirect) as server:
            with egress.opened(server.at, canary.at):
                status, _ = await _get(f"http://{server.at}/")
    assert (status, canary.hits) == (302, [])


async def test_proxy_variables_are_ignored(monkeypatch):
    async with wire.http(_echo) as proxy, wire.http(_echo) as server:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, f"http://{proxy.at}")
        with egress.opened(server.at, proxy.at):
            status, _ = await _get(f"http://{server.at}/")
    assert (status, proxy.hits, server.hits) == (200, [], ["GET /"])


# Closed, refused, unresolvable, filtered: one answer


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]"]
)
async def test_a_closed_address_gets_no_connection(host):
    async with wire.http(_echo) as canary:
        with pytest.raises(egress.NotReachable):
            await _get(f"http://{host}:{canary.port}/")
    assert canary.hits == []


async def test_a_name_is_allowed_by_its_name_and_port():
    async with wire.http(_echo) as server:
        with egress.opened(f"localhost:{server.port}"):
            assert (await _get(f"http://localhost:{server.port}/"))[0] == 200
            with pytest.raises(egress.NotReachable):
                await _get(f"http://{server.at}/")
    assert server.hits == ["GET /"]


async def test_the_connector_itself_refuses_closed_literals():
    async with (
        wire.http(_echo) as canary,
        aiohttp.ClientSession(connector=dialler.connector()) as session,
    ):
        for host in ("127.0.0.1", "[::ffff:127.0.0.1]"):
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get(f"http://{host}:{canary.port}/")
    assert canary.hits == []


def _answers(*rounds: list[str]):
    """A name server that gives each connection the next round of addresses."""
    left = list(rounds)
    lock = threading.Lock()

    def lookup(_host: str, port: int, **_kind: object) -> list[tuple[object, ...]]:
        with lock:
            texts = left.pop(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, port)) for text in texts]

    return lookup


async def test_a_name_that_rebinds_is_checked_at_each_connection():
    connector = dialler.connector(_answers(["127.0.0.2"], ["127.0.0.1"]))
    async with (
        wire.raw(b"HTTP/1.1 204 No\r\nConnection: close\r\n\r\n", host="127.0.0.2") as open_,
        wire.raw(b"HTTP/1.1 200 OK\r\n\r\n", port=open_.port) as canary,
        aiohttp.ClientSession(connector=connector) as session,
    ):
        url = f"http://rebind.test:{open_.port}/"
        with egress.opened(f"127.0.0.2:{open_.port}"):
            async with session.get(url) as first:
                assert first.status == 204
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get(url)
    assert "Host: rebind.test" in open_.hits[0]
    assert (len(open_.hits), canary.hits) == (1, [])


async def test_one_closed_answer_refuses_the_whole_name():
    async with wire.raw(b"HTTP/1.1 204 No\r\n\r\n", host="127.0.0.2") as open_:
        connector = dialler.connector(_answers(["127.0.0.2", "127.0.0.1"]))
        async with aiohttp.ClientSession(connector=connector) as session:
            with (
                egress.opened(f"127.0.0.2:{open_.port}"),
                pytest.raises(aiohttp.ClientConnectorError),
            ):
                await session.get(f"http://mixed.test:{open_.port}/")
    assert open_.hits == []


def _full_listener() -> tuple[socket.socket, list[socket.socket]]:
    """A listening socket whose queue is full: the kernel drops further connection attempts."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(0)
    waiting = [socket.socket() for _ in range(4)]
    for client in waiting:
        client.setblocking(False)
        client.connect_ex(listener.getsockname())
    return listener, waiting


async def test_blocked_refused_unresolvable_and_filtered_are_one_answer():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        refused = f"127.0.0.1:{free.getsockname()[1]}"
    listener, waiting = _full_listener()
    filtered = f"127.0.0.1:{listener.getsockname()[1]}"
    seen = []
    with egress.opened(refused, filtered):
        for host in ("10.255.255.1:80", refused, "no-such-name.invalid:80", filtered):
            with pytest.raises(egress.NotReachable) as failed:
                await _get(f"http://{host}/", timeouts=QUICK)
            seen.append(problems.encode(problems.of(failed.value)))
    for open_socket in (listener, *waiting):
        open_socket.close()
    assert len(set(seen)) == 1
    assert b'"code":"not_reachable"' in seen[0]


async def test_the_answer_can_be_made_alike_in_time_too():
    started = time.monotonic()
    with pytest.raises(egress.NotReachable):
        await _get("http://10.0.0.1/", alike_after_s=0.25)
    assert 0.25 <= time.monotonic() - started < 1


# Deadlines and broken answers


async def test_no_first_byte_in_time():
    async with wire.raw(b"", hold=True) as server:
        with egress.opened(server.at), pytest.raises(egress.AnswerTimeout):
            await _get(f"http://{server.at}/", timeouts=QUICK)


async def test_the_idle_deadline_is_told_from_the_first_byte_deadline():
    async with wire.raw(b"HTTP/1.1 200 OK\r\n\r\nsome", hold=True) as server:
        slow_start = Timeouts(connect_s=1, first_byte_s=60, idle_s=0.2, total_s=90)
        started = time.monotonic()
        with egress.opened(server.at):
            async with egress.request("GET", f"http://{server.at}/", timeouts=slow_start) as answer:
                pieces = answer.iter_any()
                assert await anext(pieces) == b"some"
                with pytest.raises(egress.AnswerTimeout):
                    await anext(pieces)
    assert time.monotonic() - started < 2


async def test_a_trickle_ends_at_the_total_deadline():
    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b".")
            await asyncio.sleep(0.02)

    bounds = Timeouts(connect_s=0.2, first_byte_s=1, idle_s=1, total_s=0.4)
    async with wire.http(trickle) as server:
        started = time.monotonic()
        with egress.opened(server.at), pytest.raises(egress.AnswerTimeout):
            await _get(f"http://{server.at}/", timeouts=bounds)
    assert 0.3 < time.monotonic() - started < 2


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnope",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
    ],
)
async def test_a_cut_or_malformed_answer_is_broken(answer):
    async with wire.raw(answer) as server:
        with egress.opened(server.at), pytest.raises(egress.AnswerBroken):
            await _get(f"http://{server.at}/", timeouts=QUICK)


async def test_the_answer_is_bounded_after_decompression_in_bytes_and_in_memory():
    bomb = gzip.compress(b"\0" * 64 * 1024 * 1024)
    head = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(bomb)
    async with wire.raw(head + bomb) as server:
        with egress.opened(server.at):
            tracemalloc.start()
            with pytest.raises(egress.AnswerTooLarge):
                await _get(f"http://{server.at}/", max_bytes=1024 * 1024)
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
    assert peak < 8 * 1024 * 1024


async def test_an_answer_of_the_exact_bound_passes():
    async with wire.raw(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello") as server:
        with egress.opened(server.at):
            assert await _get(f"http://{server.at}/", max_bytes=5) == (200, b"hello")
            with pytest.raises(egress.AnswerTooLarge):
                await _get(f"http://{server.at}/", max_bytes=4)


async def test_leaving_an_unread_stream_ends_the_connection():
    ended = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while True:
                await response.write(b"x" * 10_000)
        finally:
            ended.set()

    async with wire.http(endless) as server:
        with egress.opened(server.at):
            async with egress.request("GET", f"http://{server.at}/") as answer:
                await anext(answer.iter_any())
            await asyncio.wait_for(ended.wait(), 2)


# Lines, events, TLS, sync


async def test_lines_are_bounded_and_whole():
    body = "uma\r\nação\n\nfim".encode()
    async with wire.raw(b"HTTP/1.1 200 OK\r\n\r\n" + body) as server:
        with egress.opened(server.at):
            async with egress.request("GET", f"http://{server.at}/") as answer:
                lines = [line async for line in egress.iter_lines(answer)]
            async with egress.request("GET", f"http://{server.at}/") as answer:
                with pytest.raises(egress.AnswerTooLarge):
                    [line async for line in egress.iter_lines(answer, max_line_bytes=4)]
    assert lines == [b"uma", "ação".encode(), b"", b"fim"]


async def test_events_are_read_from_a_response():
    async with wire.raw(b"HTTP/1.1 200 OK\r\n\r\ndata: 1\n\ndata: 2\n\n") as server:
        with egress.opened(server.at):
            async with egress.request("GET", f"http://{server.at}/") as answer:
                events = [event.data async for event in egress.iter_sse(answer)]
    assert events == [b"1", b"2"]


async def test_tls_is_verified_for_the_name_of_the_url(tmp_path, monkeypatch):
    trust, context = certificates.write(tmp_path, "localhost")
    names: list[str | None] = []
    context.sni_callback = lambda _socket, name, _context: names.append(name)
    async with wire.http(_echo, tls=context) as server:
        with egress.opened(f"localhost:{server.port}", server.at):
            with pytest.raises(egress.TlsFailed):
                await _get(f"https://localhost:{server.port}/")
            await egress.aclose_all()
            monkeypatch.setenv("SSL_CERT_FILE", str(trust))
            assert (await _get(f"https://localhost:{server.port}/"))[0] == 200
            with pytest.raises(egress.TlsFailed):  # trusted, but not for this name
                await _get(f"https://{server.at}/")
    assert names[:2] == ["localhost", "localhost"]
    assert len(server.hits) == 1


def test_sync_code_fetches_whole_answers():
    ready, done = threading.Event(), threading.Event()
    ports: list[int] = []

    async def serve() -> None:
        async with wire.http(_echo) as server:
            ports.append(server.port)
            ready.set()
            await asyncio.to_thread(done.wait, 10)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(5)
    with egress.opened(f"127.0.0.1:{ports[0]}"):
        answer = egress.fetch("PUT", f"http://127.0.0.1:{ports[0]}/x", body=b"hi")
    done.set()
    thread.join(5)
    assert answer.status == 200
    assert b'"body": "hi"' in answer.body


async def test_sync_calls_are_refused_inside_a_loop():
    with pytest.raises(RuntimeError):
        egress.fetch("GET", "http://example.com/")


@pytest.mark.parametrize(
    "bounds", [{"connect_s": 0}, {"idle_s": -1}, {"connect_s": 5, "total_s": 5}]
)
def test_deadlines_must_make_sense(bounds):
    with pytest.raises(ValueError, match=r"deadline|connect_s"):
        Timeouts(**bounds)
