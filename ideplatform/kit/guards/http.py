"""The ASGI guard in front of everything: bodies, headers and request targets.

Sizes are counted while reading, so a body without a length, or with a false one, costs no more
memory than an honest one.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import unquote_to_bytes

from ideplatform.kit import problems
from ideplatform.kit.errors import MalformedRequest, PlatformError, TooLarge
from ideplatform.kit.guards.text import MIB

Scope = dict[str, Any]
Message = dict[str, Any]
BodyLimit = tuple[re.Pattern[str], int]


Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]
WsgiApplication = Callable[[dict[str, Any], Any], Iterable[bytes]]

# The first pattern that matches the whole path decides; every other path takes the default.
BODY_LIMITS: Final[Sequence[BodyLimit]] = (
    (re.compile(r"/v1/.*"), 32 * MIB),
    (re.compile(r"/api/v1/workspaces/[^/]+/(files/)?import/?"), 100 * MIB),
    (re.compile(r"/api/v1/workspaces/[^/]+/files(/.*)?"), 16 * MIB),
    (re.compile(r"/api/v1/(workspaces/[^/]+/)?memory(/.*)?"), 4 * MIB),
    (re.compile(r"/api/v1/billing/reconcile"), 16 * MIB),  # a vendor's report, uploaded
)
DEFAULT_BODY_LIMIT: Final = MIB
_NOT_PLAIN: Final = "the path or query is not plain UTF-8"
_BAD_ESCAPE: Final = re.compile(rb"%(?![0-9A-Fa-f]{2})")


class _Exceeded(Exception):
    """Rises through the application from its own `receive`."""


class Guard:
    """Wraps an ASGI application; answers what it refuses with a problem object.

    Headers with `_` are dropped: WSGI and CGI readers would take `X_User` for `X-User`.
    A target with NUL, or that is not UTF-8 once unescaped, is 400: databases answer it with 500.
    """

    def __init__(
        self,
        app: Application,
        *,
        limits: Sequence[BodyLimit] = BODY_LIMITS,
        default_limit: int = DEFAULT_BODY_LIMIT,
    ) -> None:
        self._app = app
        self._limits = limits
        self._default = default_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = [pair for pair in scope["headers"] if b"_" not in pair[0]]
        scope = {**scope, "headers": headers}
        if not scope_is_clean(scope):
            await _refuse(scope, send, MalformedRequest(_NOT_PLAIN))
        elif scope["type"] == "websocket":
            await self._app(scope, receive, send)
        else:
            await self._counted(scope, receive, send)

    async def _counted(self, scope: Scope, receive: Receive, send: Send) -> None:
        limit = _limit(self._limits, scope["path"], self._default)
        refusal = TooLarge(f"at most {limit} bytes are accepted here")
        if _declared_length(scope["headers"]) > limit:
            await _refuse(scope, send, refusal)
            return
        reading = _Reading(receive, limit)
        sending = _Sending(send)
        try:
            await self._app(scope, reading, sending)
        except _Exceeded:
            if sending.has_started:
                raise
            await _refuse(scope, send, refusal)


class WsgiGuard:
    """The same for deployments that serve REST, admin and dashboard by WSGI.

    The server has joined headers already, so those with `_` cannot be told apart; it also demands
    a length of every body.
    """

    def __init__(
        self,
        app: WsgiApplication,
        *,
        limits: Sequence[BodyLimit] = BODY_LIMITS,
        default_limit: int = DEFAULT_BODY_LIMIT,
    ) -> None:
        self._app = app
        self._limits = limits
        self._default = default_limit

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        refusal = self._refusal(environ)
        if refusal is None:
            return self._app(environ, start_response)
        body = problems.encode(problems.of(refusal))
        headers = [
            ("Content-Type", problems.CONTENT_TYPE),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        start_response(f"{refusal.status} {HTTPStatus(refusal.status).phrase}", headers)
        return [body]

    def _refusal(self, environ: Mapping[str, Any]) -> PlatformError | None:
        path = environ.get("PATH_INFO", "").encode("latin-1")
        query = environ.get("QUERY_STRING", "").encode("latin-1")
        if not target_is_clean(path.replace(b"%", b"%25"), query):
            return MalformedRequest(_NOT_PLAIN)
        length = environ.get("CONTENT_LENGTH") or "0"
        if not (length.isascii() and length.isdigit()):
            return MalformedRequest("Content-Length is a number of bytes")
        limit = _limit(self._limits, path.decode(), self._default)
        if int(length[:20]) > limit:
            return TooLarge(f"at most {limit} bytes are accepted here")
        return None


def target_is_clean(path: bytes, query: bytes) -> bool:
    """Whether path and query, unescaped, are UTF-8 without NUL."""
    if b"%" not in path + query and path.isascii() and query.isascii():
        return b"\0" not in path + query
    return all(_is_plain(part) for part in (path, query))


def scope_is_clean(scope: Mapping[str, Any]) -> bool:
    """The same of an ASGI scope."""
    return target_is_clean(_raw_path(scope), scope["query_string"])


class _Reading:
    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._left = limit

    async def __call__(self) -> Message:
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            raise _Exceeded
        return message


class _Sending:
    def __init__(self, send: Send) -> None:
        self._send = send
        self.has_started = False

    async def __call__(self, message: Message) -> None:
        self.has_started = True
        await self._send(message)


def _limit(limits: Sequence[BodyLimit], path: str, default: int) -> int:
    for pattern, limit in limits:
        if pattern.fullmatch(path):
            return limit
    return default


def _is_plain(part: bytes) -> bool:
    if _BAD_ESCAPE.search(part):
        return False
    plain = unquote_to_bytes(part)
    try:
        plain.decode()
    except UnicodeDecodeError:
        return False
    return b"\0" not in plain


def _raw_path(scope: Mapping[str, Any]) -> bytes:
    raw: bytes | None = scope.get("raw_path")
    # Servers may add the query to raw_path, and those without it have unescaped the path already.
    return raw.partition(b"?")[0] if raw else _requoted(scope["path"])


def _requoted(path: str) -> bytes:
    return path.encode("utf-8", "surrogateescape").replace(b"%", b"%25")


def _declared_length(headers: Sequence[tuple[bytes, bytes]]) -> int:
    for name, value in headers:
        if name.lower() == b"content-length" and value.isdigit():
            return int(value[:20])
    return 0


async def _refuse(scope: Scope, send: Send, error: PlatformError) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 4000 + error.status})
        return
    body = problems.encode(problems.of(error))
    headers = [
        (b"content-type", problems.CONTENT_TYPE.encode()),
        (b"content-length", str(len(body)).encode()),
        # The rest of the refused body is never read, so the connection cannot be reused.
        (b"connection", b"close"),
    ]
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
