"""How a failure is told to clients: status, headers, and the two vendors' envelopes.

Vendors' texts never appear: every message is of our own error classes. SDKs retry 408, 409, 429
and 5xx unless told otherwise, so refusals that stay as they are say `x-should-retry: false`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import msgspec

from ideplatform.kit import problems
from ideplatform.kit.errors import (
    Conflict,
    Forbidden,
    InvalidInput,
    NotFound,
    PaymentRequired,
    PlatformError,
    ProviderOverloaded,
    ProviderRejected,
    ProviderTimeout,
    RequestTimeout,
    StorageFull,
    TooLarge,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    Upstream,
)
from providers.errors import ContextExceeded
from providers.types import DialectName

CONTENT_TYPE: Final = "application/json"
ANTHROPIC_OVERLOADED: Final = 529
_INVALID: Final = "invalid_request_error"
_SERVER: Final = "server_error"
_API: Final = "api_error"
# Clients shorten their conversation when they read these words, whatever the status.
_TOO_LONG: Final = "prompt is too long: it exceeds the model's maximum context length"
_STEP: Final = re.compile(r"/([^/]*)")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What an error is in the vendors' words; an empty `code` is the error's own.

    `anthropic_status` stands where Anthropic's status is another than OpenAI's.
    """

    status: int
    openai_type: str
    anthropic_type: str
    code: str = ""
    anthropic_status: int = 0


# The nearest class of an error decides.
_VERDICTS: Final[dict[type[Exception], Verdict]] = {
    InvalidInput: Verdict(400, _INVALID, _INVALID),
    Conflict: Verdict(409, _INVALID, _INVALID),
    Unauthenticated: Verdict(401, "authentication_error", "authentication_error"),
    Forbidden: Verdict(403, "permission_error", "permission_error"),
    NotFound: Verdict(404, _INVALID, "not_found_error"),
    TooLarge: Verdict(413, _INVALID, "request_too_large", "context_length_exceeded"),
    ContextExceeded: Verdict(413, _INVALID, "request_too_large", "context_length_exceeded"),
    RequestTimeout: Verdict(408, _INVALID, "timeout_error"),
    PaymentRequired: Verdict(402, "insufficient_quota", "billing_error"),
    TooManyRequests: Verdict(429, "rate_limit_error", "rate_limit_error"),
    ProviderRejected: Verdict(502, _SERVER, _API),
    ProviderOverloaded: Verdict(
        503, _SERVER, "overloaded_error", anthropic_status=ANTHROPIC_OVERLOADED
    ),
    ProviderTimeout: Verdict(504, _SERVER, _API),
    Upstream: Verdict(502, _SERVER, _API),
    Unavailable: Verdict(503, _SERVER, _API),
    StorageFull: Verdict(507, _SERVER, _API),
}
_UNEXPECTED: Final = Verdict(500, _SERVER, _API, "internal")


def verdict(error: Exception) -> Verdict:
    """What to tell of a failure; of an unexpected one nothing but that it happened."""
    if not isinstance(error, PlatformError):
        return _UNEXPECTED
    for kind in type(error).__mro__:
        if kind in _VERDICTS:
            return _VERDICTS[kind]
    if error.status >= 500:
        return Verdict(error.status, _SERVER, _API)
    return Verdict(error.status, _INVALID, _INVALID)


def status(error: Exception, dialect: DialectName) -> int:
    """The HTTP status of an answer that says this and nothing else."""
    found = verdict(error)
    if dialect is DialectName.MESSAGES and found.anthropic_status:
        return found.anthropic_status
    return found.status


def headers(error: Exception) -> dict[str, str]:
    """Headers that go with it: whether and when to try again. Lower case."""
    found: dict[str, str] = {}
    if not isinstance(error, PlatformError) or not error.retryable:
        found["x-should-retry"] = "false"
    if isinstance(error, PlatformError) and error.retry_after_s is not None:
        found["retry-after"] = str(error.retry_after_s)
    return found


def openai(error: Exception, *, request_id: str) -> bytes:
    """The envelope of chat and responses."""
    return msgspec.json.encode({"error": openai_object(error, request_id=request_id)})


def openai_object(error: Exception, *, request_id: str) -> dict[str, object]:
    """The error alone, as streams carry it."""
    found = verdict(error)
    return _known(error) | {
        "message": message(error),
        "type": found.openai_type,
        "code": found.code or _code(error),
        "param": _param(error),
        "request_id": request_id,
    }


def anthropic(error: Exception, *, request_id: str) -> bytes:
    """The envelope of messages, which its streams carry too."""
    inner = _known(error) | {
        "type": verdict(error).anthropic_type,
        "message": message(error),
        "code": verdict(error).code or _code(error),
    }
    return msgspec.json.encode({"type": "error", "error": inner, "request_id": request_id})


def message(error: Exception) -> str:
    """One sentence for a person. What was wrong with an input is said with its place."""
    if not isinstance(error, PlatformError):
        return str(problems.internal(request_id="")["detail"])
    if isinstance(error, ContextExceeded):
        return _TOO_LONG
    told = (f"{fault.pointer}: {fault.detail}" for fault in error.errors if fault.pointer)
    return "; ".join(told) or error.detail


def _known(error: Exception) -> dict[str, object]:
    """The members that the error brought along, such as a reason for each target."""
    if not isinstance(error, PlatformError):
        return {}
    found = dict(error.extra)
    if error.errors:
        found["errors"] = [
            {"pointer": fault.pointer, "detail": fault.detail} for fault in error.errors
        ]
    return found


def _code(error: Exception) -> str:
    return error.code if isinstance(error, PlatformError) else _UNEXPECTED.code


def _param(error: Exception) -> str | None:
    """The first place as OpenAI writes it: `messages[0].content`."""
    if not isinstance(error, PlatformError) or not error.errors or not error.errors[0].pointer:
        return None
    steps = _STEP.findall(error.errors[0].pointer)
    plain = (step.replace("~1", "/").replace("~0", "~") for step in steps)
    path = "".join(f"[{step}]" if step.isdigit() else f".{step}" for step in plain)
    return path.removeprefix(".")
