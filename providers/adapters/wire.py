"""One HTTP exchange with a vendor: the request out, the answer in, failures as our errors."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from math import ceil
from typing import Final, TypeVar

import msgspec

from ideplatform.kit import clock, egress
from ideplatform.kit.egress import AnswerBroken, Response, Timeouts
from providers.adapters.contract import Route
from providers.errors import (
    AccessDenied,
    BadKey,
    CallRefused,
    ContextExceeded,
    ModelMissing,
    NoCredit,
    Overloaded,
    RateLimited,
    VendorBroken,
    VendorError,
)
from providers.types import Call, EmbedCall, StopReason

T = TypeVar("T")
MAX_ERROR_BYTES: Final = 64 * 1024
MAX_LIST_BYTES: Final = 8 * 1024 * 1024
MAX_RETRY_AFTER_S: Final = 3_600
MAX_ID: Final = 200
MAX_IMAGE_LINE: Final = 24 * 1024 * 1024  # a picture comes in one line
_ID_HEADERS: Final = ("request-id", "x-request-id")

_BY_STATUS: Final[dict[int, type[VendorError]]] = {
    401: BadKey,
    402: NoCredit,
    403: AccessDenied,
    404: ModelMissing,
    408: VendorBroken,
    409: VendorBroken,
    413: ContextExceeded,
    429: RateLimited,
    503: Overloaded,
    529: Overloaded,
}
# The vendors' own codes and types, lower case: finer than the status, and alone in a stream.
_BY_CODE: Final[dict[str, type[VendorError]]] = {
    "insufficient_quota": NoCredit,
    "billing_error": NoCredit,
    "billing_hard_limit_reached": NoCredit,
    "invalid_api_key": BadKey,
    "authentication_error": BadKey,
    "unauthenticated": BadKey,
    "permission_error": AccessDenied,
    "permission_denied": AccessDenied,
    "model_not_found": ModelMissing,
    "not_found_error": ModelMissing,
    "not_found": ModelMissing,
    "context_length_exceeded": ContextExceeded,
    "request_too_large": ContextExceeded,
    "rate_limit_error": RateLimited,
    "rate_limit_exceeded": RateLimited,
    "resource_exhausted": RateLimited,
    "overloaded_error": Overloaded,
    "unavailable": Overloaded,
    "server_error": VendorBroken,
    "api_error": VendorBroken,
    "internal": VendorBroken,
    "timeout_error": VendorBroken,
    "deadline_exceeded": VendorBroken,
    "invalid_request_error": CallRefused,
    "invalid_argument": CallRefused,
    "failed_precondition": CallRefused,
}
# The vendors' words for how an answer ended.
CHAT_REASONS: Final = {
    "stop": StopReason.END,
    "length": StopReason.LENGTH,
    "tool_calls": StopReason.TOOL_CALLS,
    "function_call": StopReason.TOOL_CALLS,
    "content_filter": StopReason.CONTENT_FILTER,
}
MESSAGES_REASONS: Final = {
    "end_turn": StopReason.END,
    "max_tokens": StopReason.LENGTH,
    "model_context_window_exceeded": StopReason.LENGTH,
    "stop_sequence": StopReason.STOP_SEQUENCE,
    "tool_use": StopReason.TOOL_CALLS,
    "pause_turn": StopReason.PAUSE,
    "refusal": StopReason.REFUSAL,
    "compaction": StopReason.COMPACTION,
}
# These types say less than the status that comes with them.
_VAGUE: Final = frozenset(
    {
        "invalid_request_error",
        "invalid_argument",
        "failed_precondition",
        "server_error",
        "api_error",
        "internal",
    }
)


@asynccontextmanager
async def exchange(
    method: str,
    route: Route,
    path: str,
    *,
    headers: Mapping[str, str],
    timeouts: Timeouts,
    body: bytes | None = None,
    max_bytes: int = egress.client.MAX_BYTES,
) -> AsyncIterator[Response]:
    """A successful answer of the vendor; anything else raises before its body is used."""
    sent = {**route.config.headers, **headers}
    if body is not None:
        sent["Content-Type"] = "application/json"
    url = f"{route.base_url}{path}"
    async with egress.request(
        method, url, headers=sent, body=body, timeouts=timeouts, max_bytes=max_bytes
    ) as response:
        if response.status >= 400:
            raise await _failure(response)
        if response.status >= 300:  # never followed: the key must not travel on
            raise AnswerBroken
        yield response


async def fetch(
    method: str,
    route: Route,
    path: str,
    *,
    headers: Mapping[str, str],
    timeouts: Timeouts,
    kind: type[T],
    body: bytes | None = None,
    max_bytes: int = MAX_LIST_BYTES,
) -> T:
    """A whole JSON answer as `kind`; raises AnswerBroken when it is something else."""
    async with exchange(
        method, route, path, headers=headers, timeouts=timeouts, body=body, max_bytes=max_bytes
    ) as response:
        return decode(await response.read(), kind)


def tagged(call: Call | EmbedCall, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers of a paid call: the vendor's support, and our own tests, can find it again."""
    return {
        **headers,
        "X-Client-Request-Id": str(call.request_id),
        "X-Attempt": str(call.attempt),
    }


def request_id(response: Response, fallback: str | None) -> str:
    """The vendor's name of the call: its header, else what the body says."""
    for name in _ID_HEADERS:
        if value := response.headers.get(name):
            return value[:MAX_ID]
    return (fallback or "")[:MAX_ID]


def tier(name: str | None) -> str:
    """The service tier as it is priced."""
    return name if name in ("flex", "priority", "batch") else "standard"


def decode(data: bytes, kind: type[T]) -> T:
    """Vendor JSON as a typed value; raises AnswerBroken."""
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise AnswerBroken from None


def event(data: bytes, kind: type[T]) -> T | None:
    """One event of a stream; None for one of a shape that is not known, which is passed over.

    Raises AnswerBroken for what is not JSON.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError:
        return None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise AnswerBroken from None


def failure(
    status: int, codes: tuple[str, ...], *, retry_after_s: int | None = None
) -> VendorError:
    """Our error for a vendor's status (0 inside a stream) and its codes, finest first."""
    words = [code.lower() for code in codes if code.lower() in _BY_CODE]
    precise = [word for word in words if word not in _VAGUE]
    if precise:
        found = _BY_CODE[precise[0]]
    elif status in _BY_STATUS:
        found = _BY_STATUS[status]
    elif words and status < 500:
        found = _BY_CODE[words[0]]
    else:
        found = VendorBroken if status >= 500 or not status else CallRefused
    error = found(retry_after_s=retry_after_s)
    error.vendor_status = status
    return error


def codes_of(value: object) -> tuple[str, ...]:
    """The `code`, `type` and `status` words of a vendor's error object, in any envelope."""
    if isinstance(value, list) and value:  # Google's plain-array stream
        value = value[0]
    if not isinstance(value, Mapping):
        return ()
    inner = value.get("error", value)
    if not isinstance(inner, Mapping):
        return ()
    found = (inner.get(name) for name in ("code", "type", "status"))
    return tuple(word[:80] for word in found if isinstance(word, str))


async def _failure(response: Response) -> VendorError:
    codes = codes_of(await _error_body(response))
    return failure(response.status, codes, retry_after_s=_retry_after_s(response))


async def _error_body(response: Response) -> object:
    """The error object if it is one; its words are read here and go nowhere else."""
    held = b""
    try:
        async for piece in response.iter_any():
            held += piece
            if len(held) > MAX_ERROR_BYTES:
                return None
        return msgspec.json.decode(held)
    except (egress.AnswerBroken, egress.AnswerTimeout, egress.AnswerTooLarge):
        return None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _retry_after_s(response: Response) -> int | None:
    """Retry-After as seconds (RFC 9110: a number or a date), bounded."""
    text = response.headers.get("Retry-After", "").strip()
    if not text:
        return None
    try:
        seconds = float(text)
    except ValueError:
        try:
            seconds = (parsedate_to_datetime(text) - clock.now()).total_seconds()
        except (ValueError, TypeError):
            return None
    if not 0 <= seconds < float("inf"):
        return 0
    return min(ceil(seconds), MAX_RETRY_AFTER_S)
