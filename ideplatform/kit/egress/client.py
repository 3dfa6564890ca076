"""One outbound HTTP call: checked address, no redirects, no cookies, no proxies, bounded answer."""

from __future__ import annotations

import asyncio
import functools
import re
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Final

import aiohttp
import msgspec
from multidict import CIMultiDictProxy

from ideplatform.kit.egress import dialler, policy, urls
from ideplatform.kit.egress.errors import (
    AnswerBroken,
    AnswerTimeout,
    AnswerTooLarge,
    NotReachable,
    TlsFailed,
)
from ideplatform.kit.errors import InvalidInput, Upstream

MAX_BYTES = 64 * 1024 * 1024
USER_AGENT = "IDE-Mundial"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# What the client itself must decide: a caller's Host would undo the pinned name.
_OWN_HEADERS: Final = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^`|~-]{1,128}", re.ASCII)
_BAD_VALUE: Final = re.compile(r"[^\t\x20-\x7e\x80-\xff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Deadlines in seconds: to a connection (queue and name included), to the first byte, between
    two bytes, and over everything. Raises ValueError unless connect_s < total_s."""

    connect_s: float = 5
    first_byte_s: float = 30
    idle_s: float = 30
    total_s: float = 900
    for_aiohttp: aiohttp.ClientTimeout = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if min(self.connect_s, self.first_byte_s, self.idle_s) <= 0:
            raise ValueError("a deadline is positive")
        if self.connect_s >= self.total_s:
            raise ValueError("connect_s must be below total_s, or the errors could not be told")
        theirs = aiohttp.ClientTimeout(
            total=self.total_s,
            connect=self.connect_s,
            sock_connect=self.connect_s,
            sock_read=self.first_byte_s,
        )
        object.__setattr__(self, "for_aiohttp", theirs)


DEFAULT_TIMEOUTS: Final = Timeouts()


class Response:
    """A status, headers and a body that is read once, within the call's `async with`."""

    __slots__ = ("_left", "_raw", "headers", "status")

    def __init__(self, raw: aiohttp.ClientResponse, *, max_bytes: int) -> None:
        self._raw = raw
        self._left = max_bytes
        self.status: int = raw.status
        self.headers: CIMultiDictProxy[str] = raw.headers

    async def iter_any(self) -> AsyncIterator[bytes]:
        """Decompressed pieces as they come.

        Raises AnswerTooLarge, AnswerTimeout, AnswerBroken (cut, malformed, wrong encoding).
        """
        readany = self._raw.content.readany
        while True:
            try:
                chunk = await readany()
            except (aiohttp.ClientError, TimeoutError, OSError) as failed:
                raise _answer_error(failed) from failed
            if not chunk:
                return
            self._left -= len(chunk)
            if self._left < 0:
                raise AnswerTooLarge
            yield chunk

    async def read(self) -> bytes:
        """The whole body, at most `max_bytes` of it; raises as `iter_any` does."""
        return b"".join([piece async for piece in self.iter_any()])


class Call:
    """`async with egress.request(...) as response`; leaving it ends the connection if unread."""

    __slots__ = ("_alike_after_s", "_arguments", "_max_bytes", "_raw", "_target", "_timeouts")

    def __init__(
        self,
        target: urls.Target,
        *,
        arguments: tuple[str, dict[str, str], bytes | None],
        timeouts: Timeouts,
        max_bytes: int,
        alike_after_s: float | None,
    ) -> None:
        self._target = target
        self._arguments = arguments
        self._timeouts = timeouts
        self._max_bytes = max_bytes
        self._alike_after_s = alike_after_s
        self._raw: aiohttp.ClientResponse | None = None

    def __aenter__(self) -> Awaitable[Response]:
        wait_s = self._alike_after_s
        return self._open() if wait_s is None else self._open_alike(wait_s)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._raw is not None and kind is None:
            self._raw.release()
        elif self._raw is not None:
            self._raw.close()

    async def _open_alike(self, wait_s: float) -> Response:
        started = time.monotonic()
        try:
            return await self._open()
        except NotReachable:
            await asyncio.sleep(wait_s - (time.monotonic() - started))
            raise

    async def _open(self) -> Response:
        target, (method, headers, body) = self._target, self._arguments
        if target.literal is not None and not _is_open(policy.current(), target):
            raise NotReachable
        token = dialler.host_of_call.set(target.host)
        try:
            raw = self._raw = await _session().request(
                method,
                target.url,
                headers=headers,
                data=body,
                allow_redirects=False,
                timeout=self._timeouts.for_aiohttp,
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as failed:
            raise _call_error(failed) from failed
        finally:
            dialler.host_of_call.reset(token)
        self._limit_idle(raw)
        return Response(raw, max_bytes=self._max_bytes)

    def _limit_idle(self, raw: aiohttp.ClientResponse) -> None:
        """From here on the read deadline means "between two bytes"."""
        connection = raw.connection
        if connection is None or self._timeouts.idle_s == self._timeouts.first_byte_s:
            return
        if (protocol := connection.protocol) is not None:
            protocol.read_timeout = self._timeouts.idle_s
            protocol.start_timeout()


def request(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    json: object = None,
    body: bytes | None = None,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
    max_bytes: int = MAX_BYTES,
    alike_after_s: float | None = None,
) -> Call:
    """An outbound call, made when its `async with` is entered.

    `max_bytes` bounds the decompressed answer. Redirects come back as they are. `alike_after_s`
    delays NotReachable to that age, so that its timing tells as little as its text.
    Raises UrlRefused or InvalidInput at once; on entering NotReachable, TlsFailed, AnswerTimeout,
    AnswerBroken.
    """
    if method not in _METHODS:
        raise InvalidInput("this HTTP method is not sent")
    sent = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity"} | _checked(headers or {})
    if json is not None:
        body = msgspec.json.encode(json)
        sent.setdefault("Content-Type", "application/json")
    return Call(
        urls.parse(url),
        arguments=(method, sent, body),
        timeouts=timeouts,
        max_bytes=max_bytes,
        alike_after_s=alike_after_s,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A whole answer."""

    status: int
    headers: CIMultiDictProxy[str]
    body: bytes


def fetch(
    method: str,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    json: object = None,
    body: bytes | None = None,
    timeouts: Timeouts = DEFAULT_TIMEOUTS,
    max_bytes: int = MAX_BYTES,
) -> Fetched:
    """One call from sync code, in a loop of its own; raises as `request` and `Response.read` do.

    For rare calls: nothing is pooled. RuntimeError inside a running loop, which must use `request`.
    """
    call = request(
        method, url, headers=headers, json=json, body=body, timeouts=timeouts, max_bytes=max_bytes
    )
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(_whole(call))
    raise RuntimeError("egress.fetch is for sync code; a coroutine uses egress.request")


async def aclose_all() -> None:
    """Close the running loop's connections, and forget those of loops that have ended."""
    _forget_ended_loops()
    session = _sessions.pop(asyncio.get_running_loop(), None)
    if session is not None:
        await session.close()


async def _whole(call: Call) -> Fetched:
    try:
        async with call as response:
            content = await response.read()
            return Fetched(status=response.status, headers=response.headers, body=content)
    finally:
        await aclose_all()


_sessions: dict[asyncio.AbstractEventLoop, aiohttp.ClientSession] = {}


def _session() -> aiohttp.ClientSession:
    loop = asyncio.get_running_loop()
    return _sessions.get(loop) or _new_session(loop)


def _new_session(loop: asyncio.AbstractEventLoop) -> aiohttp.ClientSession:
    _forget_ended_loops()
    session = _sessions[loop] = aiohttp.ClientSession(
        connector=dialler.connector(),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        requote_redirect_url=False,
    )
    return session


def _forget_ended_loops() -> None:
    for loop in [loop for loop in list(_sessions) if loop.is_closed()]:
        _sessions.pop(loop, None)


@functools.lru_cache(maxsize=2_048)
def _is_open(rules: policy.Policy, target: urls.Target) -> bool:
    """Remembered: both are immutable and compared by identity."""
    literal = target.literal
    return literal is None or rules.allows(literal, host=target.host, port=target.port)


def _checked(headers: Mapping[str, str]) -> dict[str, str]:
    for name, value in headers.items():
        if name.lower() in _OWN_HEADERS or not _HEADER_NAME.fullmatch(name):
            raise InvalidInput("a header name is not one that may be set")
        if _BAD_VALUE.search(value):
            raise InvalidInput("a header value holds characters that may not be sent")
    return dict(headers)


def _call_error(failed: BaseException) -> Upstream:
    match failed:
        case aiohttp.ClientSSLError() | aiohttp.ClientConnectorCertificateError():
            return TlsFailed()
        case aiohttp.ConnectionTimeoutError() | aiohttp.ClientConnectorError():
            return NotReachable()
    return _answer_error(failed)


def _answer_error(failed: BaseException) -> Upstream:
    if isinstance(failed, TimeoutError):
        return AnswerTimeout()
    return AnswerBroken()
