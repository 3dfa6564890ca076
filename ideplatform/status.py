"""`/health` and `/ready` as plain ASGI, before Django: they must answer when Django cannot."""

from __future__ import annotations

import orjson
from asgiref.typing import (
    ASGI3Application,
    ASGIReceiveCallable,
    ASGISendCallable,
    Scope,
)

from ideplatform.observability import health


class Status:
    """Answers the two probes and passes everything else on."""

    def __init__(self, app: ASGI3Application) -> None:
        self.app = app

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        if scope["type"] == "http" and scope["path"] in {"/health", "/ready"}:
            status, body = await (_health() if scope["path"] == "/health" else _ready())
            await _answer(send, status, body)
        else:
            await self.app(scope, receive, send)


async def _health() -> tuple[int, dict[str, object]]:
    if names := health.stalled():
        return 503, {"status": "stalled", "failing": names}
    return 200, {"status": "ok"}


async def _ready() -> tuple[int, dict[str, object]]:
    readiness = await health.readiness()
    if not readiness.is_ready:
        return 503, {"status": "unready", "failing": list(readiness.failing)}
    body: dict[str, object] = {"status": "ready"}
    if readiness.degraded:
        body["degraded"] = list(readiness.degraded)
    return 200, body


async def _answer(send: ASGISendCallable, status: int, body: dict[str, object]) -> None:
    payload = orjson.dumps(body)
    headers = [(b"content-type", b"application/json"), (b"cache-control", b"no-store")]
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": headers,
            "trailers": False,
        }
    )
    await send({"type": "http.response.body", "body": payload, "more_body": False})
