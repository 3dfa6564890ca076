"""One body for every failure: the RFC 9457 problem object.

REST sends it as `application/problem+json`, a socket inside an `error` frame, a task stores it.
"""

from __future__ import annotations

import msgspec

from ideplatform.kit.errors import PlatformError

CONTENT_TYPE = "application/problem+json"
TYPE_PREFIX = "/problems/"

Problem = dict[str, object]


def of(error: PlatformError, *, request_id: str = "") -> Problem:
    """The problem object of an expected failure."""
    body: Problem = {
        "type": TYPE_PREFIX + error.code,
        "title": error.title,
        "status": error.status,
        "code": error.code,
        "detail": error.detail,
        "retryable": error.retryable,
    }
    if error.errors:
        body["errors"] = [{"pointer": e.pointer, "detail": e.detail} for e in error.errors]
    if error.retry_after_s is not None:
        body["retry_after_s"] = error.retry_after_s
    if request_id:
        body["request_id"] = request_id
    return body | dict(error.extra)


def internal(*, request_id: str) -> Problem:
    """The problem object of an unexpected failure: the request id and nothing of the cause."""
    return {
        "type": TYPE_PREFIX + "internal",
        "title": "Something failed on our side",
        "status": 500,
        "code": "internal",
        "detail": "The failure was recorded; give the request id to whoever runs this platform.",
        "retryable": False,
        "request_id": request_id,
    }


def encode(problem: Problem) -> bytes:
    """The problem as JSON bytes."""
    return msgspec.json.encode(problem)
