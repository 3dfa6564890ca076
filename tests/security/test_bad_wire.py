"""What only a real server can be sent: raw heads and bodies, streams, frames. It serves on."""

from __future__ import annotations

import http.client
import json
import socket
import struct
from typing import Any
from urllib.parse import urlsplit

import pytest
import websockets.sync.client
from websockets.exceptions import ConnectionClosed

from ideplatform import pages
from tests import operations
from tests.conftest import LiveWeb
from tests.security import attacks

SIGN_IN = b"POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
RAW = {
    "a header of 64 KiB": SIGN_IN + b"X: " + b"a" * 65_536 + b"\r\n\r\n",
    "ten thousand headers": SIGN_IN + b"X: a\r\n" * 10_000 + b"\r\n",
    "two lengths": SIGN_IN + b"Content-Length: 2\r\nContent-Length: 30\r\n\r\n{}",
    "length and chunks": SIGN_IN
    + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    "a chunk that lies": SIGN_IN + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n{}",
    "a chunk of no number": SIGN_IN + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n",
    "a negative length": SIGN_IN + b"Content-Length: -1\r\n\r\n{}",
    "a length of no number": SIGN_IN + b"Content-Length: two\r\n\r\n{}",
    "folded header": SIGN_IN + b"X: a\r\n b\r\nContent-Length: 2\r\n\r\n{}",
    "space before colon": SIGN_IN + b"X : a\r\nContent-Length: 2\r\n\r\n{}",
    "NUL in a header": SIGN_IN + b"X: a\0b\r\nContent-Length: 2\r\n\r\n{}",
    "NUL in the target": b"GET /a\0b HTTP/1.1\r\nHost: x\r\n\r\n",
    "a bare line feed": SIGN_IN.replace(b"\r\n", b"\n") + b"Content-Length: 2\n\n{}",
    "no version": b"GET /api/v1/schema\r\n\r\n",
    "version 9.9": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    "absolute target": b"GET http://evil.example/api/v1/auth/me HTTP/1.1\r\nHost: x\r\n\r\n",
    "a long target": b"GET /" + b"a" * 60_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "an encrypted hello": bytes.fromhex("16030100a5010000a10303") + b"\0" * 160,
    "deep JSON": SIGN_IN + b"Content-Length: 200000\r\n\r\n" + b"[" * 200_000,
    "a raw high byte in the target": b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    "two requests in one": (SIGN_IN + b"Content-Length: 2\r\n\r\n{}") * 2,
}
FRAMES = {
    "no JSON": b"{",
    "an array": b"[]",
    "deep": b"[" * 100_000,
    "no type": b"{}",
    "unknown type": b'{"type":"surprise"}',
    "type of a wrong type": b'{"type":{"a":1}}',
    "unknown member": b'{"type":"ping","surprise":1}',
    "wrong member": b'{"type":"cancel","run_id":7}',
    "NUL": b'{"type":"ping","nonce":"a\\u0000b"}',
    "giant integer": b'{"type":"subscribe","run_id":"x","after":' + b"9" * 500 + b"}",
    "NaN": b'{"type":"subscribe","after":NaN}',
    "both seed and typed": b'{"type":"start","messages":"x"}',
    "seed with wrong messages": b'{"messages":{"role":1}}',
    "lone surrogate": b'{"type":"ping","nonce":"\\ud800"}',
}


def _answer(address: str, raw: bytes) -> bytes:
    """The first answer to raw bytes; nothing if the server hangs up without one."""
    parts = urlsplit(address)
    with socket.create_connection((str(parts.hostname), parts.port), timeout=10) as wire:
        try:
            wire.sendall(raw)
            wire.shutdown(socket.SHUT_WR)
        except OSError:
            pass
        received = b""
        try:
            while piece := wire.recv(65_536):
                received += piece
        except OSError:
            pass
        return received


def _serves(live_web: LiveWeb) -> bool:
    parts = urlsplit(live_web.url)
    wire = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=10)
    wire.request("GET", "/api/v1/schema")
    return wire.getresponse().status == 200


def test_raw_requests_are_refused_and_the_server_serves_on(live_web: LiveWeb):
    with attacks.nothing_changes():
        for name, raw in RAW.items():
            answer = _answer(live_web.url, raw)
            status = int(answer.split(b" ", 2)[1]) if answer else 400
            assert (name, 400 <= status < 500) == (name, True), answer[:500]
            assert not any(word in answer for word in (b"Traceback", b'File "', b"psycopg"))
    assert _serves(live_web)


def test_a_client_that_resets_its_connection_harms_nobody(live_web: LiveWeb):
    parts = urlsplit(live_web.url)
    for cut in range(0, len(SIGN_IN), 13):
        wire = socket.create_connection((str(parts.hostname), parts.port), timeout=10)
        wire.sendall(SIGN_IN[:cut] or b"P")
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        wire.close()
    assert _serves(live_web)


def test_malformed_frames_are_answered_with_problems_until_the_third(live_web: LiveWeb):
    stage = operations.stage()
    for name, frame in FRAMES.items():
        with websockets.sync.client.connect(
            live_web.ws_url + "/api/v1/ws/agents", additional_headers=dict(stage.headers)
        ) as wire:
            for _ in range(3):
                wire.send(frame.decode())
            problems, code = _to_the_end(wire)
        assert [problem["code"] for problem in problems] == ["malformed_frame"] * 3, name
        assert all(problem["code"] in pages.known() for problem in problems)
        assert code == 4400, name
    assert _serves(live_web)


def _to_the_end(wire: websockets.sync.client.ClientConnection) -> tuple[list[dict[str, Any]], int]:
    problems = []
    try:
        while True:
            frame = json.loads(wire.recv(timeout=10))
            if frame["type"] == "error":
                problems.append(frame["problem"])
    except ConnectionClosed:
        return problems, int(wire.protocol.close_code or 0)


@pytest.mark.parametrize("name", ["download_file", "export_files"])
def test_odd_questions_to_streams_are_taken_or_refused(live_web: LiveWeb, name: str):
    stage = operations.stage()
    (one,) = (found for found in operations.every() if found.id == name)
    base = stage.request(one)
    for parameter in one.parameters("query"):
        for text in attacks.ODD_NUMBERS + attacks.ODD_STRINGS:
            answer = base.with_(query=dict(base.query) | {parameter["name"]: text}).send()
            assert attacks.faults_of_any(answer) == [], (parameter["name"], text)
