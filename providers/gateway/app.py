"""The ASGI application of `/v1/*`; everything else is passed on to Django and the sockets.

Its own raw-request guards: targets that are no clean UTF-8 are refused before anything reads
them, bodies are counted while they are read. Failures are told in the caller's dialect.
"""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any, Final

import structlog

from ideplatform.kit import accounting, egress, guards
from ideplatform.kit.errors import MalformedRequest, MethodNotAllowed, NotFound, PlatformError
from ideplatform.observability import metrics
from providers.gateway import admission, principal, replies, routes
from providers.gateway.listing import is_anthropic
from providers.gateway.request import Application, ClientGone, Receive, Request, Send
from providers.services import exchanges, settling
from providers.types import DialectName

log = structlog.get_logger(__name__)

SETTLEMENTS_S: Final = 5.0  # that a process which leaves waits for the last calls' money
RECORDS_S: Final = 3.0  # and for their records
Scope = MutableMapping[str, Any]


class Gateway:
    """Answers `/v1/*` and `HEAD /`; wraps the application that answers the rest."""

    def __init__(self, app: Application) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and _is_ours(scope):
            await _serve(Request(scope, receive, send), is_clean=guards.scope_is_clean(scope))
        elif scope["type"] == "lifespan":
            await _live(receive, send)
        else:
            await self._app(scope, receive, send)


def _is_ours(scope: Scope) -> bool:
    path: str = scope["path"]
    is_greeting = path == "/" and scope["method"] == "HEAD"
    return path.startswith("/v1/") or path == "/v1" or is_greeting


async def _serve(request: Request, *, is_clean: bool) -> None:
    dialect = routes.dialect_of(request.path, is_anthropic=is_anthropic(request))
    try:
        if not is_clean:
            raise MalformedRequest("the path or query is not plain UTF-8")
        await _dispatch(request)
    except ClientGone:
        _count(dialect, "client_gone")
    except MethodNotAllowed as error:
        _count(dialect, "refused")
        allowed = ", ".join(routes.methods(request.path))
        await replies.problem(request, dialect, error, headers=[replies.header("allow", allowed)])
    except PlatformError as error:
        _count(dialect, "refused" if error.status < 500 else "failed")
        log.info("gateway.refused", request_id=str(request.request_id), code=error.code)
        await replies.problem(request, dialect, error)
    except Exception as error:
        _count(dialect, "failed")
        log.exception("gateway.failed", request_id=str(request.request_id))
        await replies.problem(request, dialect, error)


async def _dispatch(request: Request) -> None:
    if request.path == "/":  # Claude Code looks whether somebody is there
        await replies.json(request, b"")
        return
    found = routes.find(request.method, request.path)
    if found is None:
        await _unmatched(request)
        return
    route, value = found
    accounting.enter(route.entry)
    caller = await principal.identify(request)
    await admission.admit(request, caller)
    await route.handler(request, caller, value)


async def _unmatched(request: Request) -> None:
    """No route: what the path offers instead; raises NotFound, MethodNotAllowed."""
    offered = routes.methods(request.path)
    if not offered:
        raise NotFound("the gateway has no such path")
    if request.method != "OPTIONS":
        raise MethodNotAllowed
    allow = replies.header("allow", ", ".join([*offered, "OPTIONS"]))
    await replies.json(request, b"", headers=[allow])


def _count(dialect: DialectName, outcome: str) -> None:
    metrics.gateway_requests_total.labels(dialect=dialect.value, outcome=outcome).inc()


async def _live(receive: Receive, send: Send) -> None:
    """The life of the server: at its end the last settlements are waited for."""
    while (message := await receive())["type"] != "lifespan.shutdown":
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
    if not await settling.finished(within_s=SETTLEMENTS_S):
        log.warning("gateway.settlements_left")
    if not await asyncio.to_thread(exchanges.flush, within_s=RECORDS_S):
        log.warning("gateway.records_left")
    await egress.aclose_all()
    await send({"type": "lifespan.shutdown.complete"})
