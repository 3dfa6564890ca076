"""What the guard lets through before any parser: paths, headers, lengths."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ideplatform.kit import guards
from ideplatform.kit.guards import Guard

MIB = 1024 * 1024


class _Application:
    """Reads the whole body, then answers; keeps what it saw."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Any]] = []
        self.pieces: list[bytes] = []

    async def __call__(self, scope, receive, send):
        self.seen.append(scope)
        if scope["type"] != "http":
            await send({"type": "websocket.accept"})
            return
        while True:
            message = await receive()
            self.pieces.append(message["body"])
            if not message.get("more_body"):
                break
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"ok"})


def _scope(path: str = "/", *, headers=(), query: bytes = b"", kind: str = "http", raw=None):
    return {
        "type": kind,
        "path": path,
        "raw_path": raw if raw is not None else path.encode(),
        "query_string": query,
        "headers": list(headers),
    }


async def _pieces(pieces: list[bytes]) -> AsyncIterator[dict[str, Any]]:
    for index, piece in enumerate(pieces):
        yield {"type": "http.request", "body": piece, "more_body": index < len(pieces) - 1}


async def _through(application, scope, pieces=(b"",), **options):
    sent: list[dict[str, Any]] = []
    messages = _pieces(list(pieces))

    async def send(message):
        sent.append(message)

    await Guard(application, **options)(scope, messages.__anext__, send)
    return sent


async def test_a_clean_request_passes_with_its_body():
    app = _Application()
    sent = await _through(app, _scope("/api/v1/x"), [b"ab", b"cd"])
    assert (sent[0]["status"], app.pieces) == (200, [b"ab", b"cd"])


async def test_headers_with_underscores_are_dropped():
    app = _Application()
    headers = [(b"x_user", b"evil"), (b"x-user", b"good"), (b"x-a_b", b"evil")]
    await _through(app, _scope(headers=headers))
    await _through(app, _scope(headers=headers, kind="websocket"))
    assert [scope["headers"] for scope in app.seen] == [[(b"x-user", b"good")]] * 2


@pytest.mark.parametrize(
    ("path", "limit"),
    [
        ("/api/v1/auth/login", 1),
        ("/api/v1/workspaces", 1),
        ("/v1/chat/completions", 32),
        ("/api/v1/workspaces/w1/files/upload", 16),
        ("/api/v1/workspaces/w1/files/content", 16),
        ("/api/v1/workspaces/w1/files/import", 100),
        ("/api/v1/workspaces/w1/import", 100),
        ("/api/v1/memory/items", 4),
        ("/api/v1/workspaces/w1/memory", 4),
        ("/api/v1/filesystem/files/v1/", 1),
    ],
)
async def test_each_path_has_its_limit(path, limit):
    piece = b"x" * (MIB // 2)
    app = _Application()
    sent = await _through(app, _scope(path), [piece] * limit * 2)
    assert (sent[0]["status"], sum(map(len, app.pieces))) == (200, limit * MIB)
    sent = await _through(_Application(), _scope(path), [piece] * limit * 2 + [b"y"])
    assert sent[0]["status"] == 413


async def test_a_body_is_counted_while_it_comes_and_refused_with_a_problem():
    app = _Application()
    read: list[int] = []

    async def endless() -> dict[str, Any]:
        read.append(1)
        return {"type": "http.request", "body": b"x" * 1_000, "more_body": True}

    sent: list[dict[str, Any]] = []

    async def send(message):
        sent.append(message)

    await Guard(app, limits=(), default_limit=10_000)(_scope(), endless, send)
    assert len(read) == 11
    assert sent[0]["status"] == 413
    assert (b"content-type", b"application/problem+json") in sent[0]["headers"]
    problem = json.loads(sent[1]["body"])
    assert (problem["code"], problem["status"]) == ("too_large", 413)


async def test_a_declared_length_is_refused_before_anything_is_read():
    app = _Application()
    sent = await _through(app, _scope(headers=[(b"content-length", b"1048577")]))
    assert (sent[0]["status"], app.seen) == (413, [])


async def test_a_body_that_grows_after_the_answer_began_ends_the_connection():
    async def early(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while True:
            await receive()

    async def more() -> dict[str, Any]:
        return {"type": "http.request", "body": b"x" * 600, "more_body": True}

    sent: list[dict[str, Any]] = []

    async def send(message):
        sent.append(message)

    with pytest.raises(Exception, match=r"^$"):
        await asyncio.wait_for(
            Guard(early, limits=(), default_limit=1_000)(_scope(), more, send), 2
        )
    assert [message["type"] for message in sent] == ["http.response.start"]


@pytest.mark.parametrize(
    ("raw", "query"),
    [
        (b"/a%00b", b""),
        (b"/%ff", b""),
        (b"/%ed%a0%80", b""),
        (b"/a%zz", b""),
        (b"/a%4", b""),
        (b"/", b"q=%00"),
        (b"/", b"q=\x00"),
        (b"/", b"q=%ed%a0%80"),
        (b"/", b"q=\xff"),
        (b"/", b"q=%c3"),
        (b"/", b"q=%"),
    ],
)
async def test_a_target_that_no_database_can_hold_is_refused(raw, query):
    app = _Application()
    sent = await _through(app, _scope("/x", raw=raw, query=query))
    assert (sent[0]["status"], app.seen) == (400, [])
    closed = await _through(app, _scope("/x", raw=raw, query=query, kind="websocket"))
    assert (closed, app.seen) == ([{"type": "websocket.close", "code": 4400}], [])


async def test_ordinary_targets_pass():
    app = _Application()
    targets = [
        (b"/a%2Fb", b"q=a%20b&p=%C3%A7"),
        ("/ação".encode(), b""),
        (b"/x?leaked", b""),
        (b"", b"q=100%25"),
    ]
    for raw, query in targets:
        sent = await _through(app, _scope("/100%", raw=raw, query=query))
        assert sent[0]["status"] == 200
    assert len(app.seen) == 4


async def test_other_scopes_pass_untouched():
    app = _Application()
    lifespan = {"type": "lifespan"}
    await _through(app, lifespan)
    assert app.seen == [lifespan]


@settings(deadline=None)
@given(st.binary(max_size=30), st.binary(max_size=30))
def test_any_target_is_judged(path, query):
    assert guards.target_is_clean(path, query) in {True, False}
