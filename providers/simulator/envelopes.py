"""Each vendor's error envelope: HTTP status, body, and the event inside a stream.

Sources: OpenAI error codes guide, Anthropic API errors page, Google RPC status model.
"""

from dataclasses import dataclass

import msgspec

from .failures import Kind, VendorFailure

OPENAI: dict[Kind, tuple[int, str, str | None]] = {
    Kind.MISSING_KEY: (401, "invalid_request_error", None),
    Kind.BAD_KEY: (401, "invalid_request_error", "invalid_api_key"),
    Kind.FORBIDDEN: (403, "permission_error", "insufficient_permissions"),
    Kind.NO_CREDIT: (429, "insufficient_quota", "insufficient_quota"),
    Kind.INVALID: (400, "invalid_request_error", None),
    Kind.NOT_FOUND: (404, "invalid_request_error", None),
    Kind.MODEL_MISSING: (404, "invalid_request_error", "model_not_found"),
    Kind.TOO_LARGE: (413, "invalid_request_error", "request_too_large"),
    Kind.RATE_LIMITED: (429, "requests", "rate_limit_exceeded"),
    Kind.TIMEOUT: (504, "server_error", "timeout"),
    Kind.INTERNAL: (500, "server_error", None),
    Kind.OVERLOADED: (503, "server_error", "overloaded"),
}
ANTHROPIC: dict[Kind, tuple[int, str]] = {
    Kind.MISSING_KEY: (401, "authentication_error"),
    Kind.BAD_KEY: (401, "authentication_error"),
    Kind.FORBIDDEN: (403, "permission_error"),
    Kind.NO_CREDIT: (400, "invalid_request_error"),
    Kind.INVALID: (400, "invalid_request_error"),
    Kind.NOT_FOUND: (404, "not_found_error"),
    Kind.MODEL_MISSING: (404, "not_found_error"),
    Kind.TOO_LARGE: (413, "request_too_large"),
    Kind.RATE_LIMITED: (429, "rate_limit_error"),
    Kind.TIMEOUT: (504, "timeout_error"),
    Kind.INTERNAL: (500, "api_error"),
    Kind.OVERLOADED: (529, "overloaded_error"),
}
GOOGLE: dict[Kind, tuple[int, str]] = {
    Kind.MISSING_KEY: (403, "PERMISSION_DENIED"),
    Kind.BAD_KEY: (400, "INVALID_ARGUMENT"),
    Kind.FORBIDDEN: (403, "PERMISSION_DENIED"),
    Kind.NO_CREDIT: (429, "RESOURCE_EXHAUSTED"),
    Kind.INVALID: (400, "INVALID_ARGUMENT"),
    Kind.NOT_FOUND: (404, "NOT_FOUND"),
    Kind.MODEL_MISSING: (404, "NOT_FOUND"),
    Kind.TOO_LARGE: (413, "INVALID_ARGUMENT"),
    Kind.RATE_LIMITED: (429, "RESOURCE_EXHAUSTED"),
    Kind.TIMEOUT: (504, "DEADLINE_EXCEEDED"),
    Kind.INTERNAL: (500, "INTERNAL"),
    Kind.OVERLOADED: (503, "UNAVAILABLE"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope:
    """A refusal as it goes on the wire."""

    status: int
    body: bytes


def openai(failure: VendorFailure, _request_id: str) -> Envelope:
    status, kind, code = OPENAI[failure.kind]
    error = {"message": failure.message, "type": kind, "param": failure.at, "code": code}
    return Envelope(status=failure.status or status, body=msgspec.json.encode({"error": error}))


def anthropic(failure: VendorFailure, request_id: str) -> Envelope:
    status, kind = ANTHROPIC[failure.kind]
    body = {
        "type": "error",
        "error": {"type": kind, "message": failure.message},
        "request_id": request_id,
    }
    return Envelope(status=failure.status or status, body=msgspec.json.encode(body))


def google(failure: VendorFailure, _request_id: str) -> Envelope:
    usual, name = GOOGLE[failure.kind]
    status = failure.status or usual
    error: dict[str, object] = {"code": status, "message": failure.message, "status": name}
    if details := _google_details(failure):
        error["details"] = details
    return Envelope(status=status, body=msgspec.json.encode({"error": error}))


def _google_details(failure: VendorFailure) -> list[dict[str, object]]:
    details: list[dict[str, object]] = []
    if failure.kind is Kind.BAD_KEY:
        details.append(
            {
                "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                "reason": "API_KEY_INVALID",
                "domain": "googleapis.com",
                "metadata": {"service": "generativelanguage.googleapis.com"},
            }
        )
    if failure.retry_after_s is not None:
        details.append(
            {
                "@type": "type.googleapis.com/google.rpc.RetryInfo",
                "retryDelay": f"{failure.retry_after_s:g}s",
            }
        )
    return details
