"""The one error hierarchy; REST, sockets and tasks render it (see `kit.problems`).

Source: RFC 9457 (problem details), docs/walks.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True, kw_only=True)
class Pointer:
    """One fault of an input: where (RFC 6901 JSON pointer, "" is the whole) and what."""

    pointer: str
    detail: str


class PlatformError(Exception):
    """An expected failure: safe to show, with a stable code.

    `detail` says what was wrong and what to do; it never quotes another exception.
    `extra` holds further members of the problem object (JSON values only).
    """

    code: ClassVar[str] = "platform_error"
    title: ClassVar[str] = "The request could not be completed"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        detail: str = "",
        *,
        errors: Sequence[Pointer] = (),
        retry_after_s: int | None = None,
        **extra: object,
    ) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.errors = tuple(errors)
        self.retry_after_s = retry_after_s
        self.extra = extra


class InvalidInput(PlatformError):
    """`errors` say where; a fault of the input as a whole has the pointer ""."""

    code, title, status = "invalid_input", "The input is not valid", 422

    def __init__(
        self,
        detail: str = "",
        *,
        errors: Sequence[Pointer] = (),
        retry_after_s: int | None = None,
        **extra: object,
    ) -> None:
        whole = Pointer(pointer="", detail=detail or self.title)
        super().__init__(detail, errors=errors or [whole], retry_after_s=retry_after_s, **extra)


class MalformedRequest(PlatformError):
    code, title, status = "malformed_request", "The request could not be read", 400


class Unauthenticated(PlatformError):
    code, title, status = "unauthenticated", "Sign in or send a valid credential", 401


class Forbidden(PlatformError):
    code, title, status = "forbidden", "You may not do this", 403


class NotFound(PlatformError):
    """Also what exists but is not yours."""

    code, title, status = "not_found", "There is no such thing here", 404


class MethodNotAllowed(PlatformError):
    code, title, status = "method_not_allowed", "This method is not offered here", 405


class NotAcceptable(PlatformError):
    code, title, status = "not_acceptable", "No offered format is acceptable", 406


class RequestTimeout(PlatformError):
    code, title, status = "request_timeout", "The request did not arrive in time", 408
    retryable = True


class Conflict(PlatformError):
    code, title, status = (
        "conflict",
        "The request conflicts with the current state",
        409,
    )


class StaleVersion(Conflict):
    code, title = (
        "stale_version",
        "The version you changed is no longer the current one",
    )


class IdempotencyKeyReused(Conflict):
    code, title = (
        "idempotency_key_reused",
        "This idempotency key was used with another request",
    )


class TooLarge(PlatformError):
    code, title, status = "too_large", "The request is too large", 413


class UnsupportedMedia(PlatformError):
    code, title, status = (
        "unsupported_media_type",
        "This media type is not accepted",
        415,
    )


class VersionRequired(PlatformError):
    code, title, status = "version_required", "Say which version you change", 428


class PaymentRequired(PlatformError):
    code, title, status = "payment_required", "The balance or budget does not cover this", 402


class TooManyRequests(PlatformError):
    code, title, status = "too_many_requests", "Too many requests", 429
    retryable = True


class StorageFull(PlatformError):
    code, title, status = "storage_full", "The storage is full", 507


class Upstream(PlatformError):
    code, title, status = "upstream_failed", "A provider failed", 502


class ProviderRejected(Upstream):
    code, title = "provider_rejected", "The provider refused the request"


class ProviderOverloaded(Upstream):
    code, title = "provider_overloaded", "The provider is overloaded"
    retryable = True


class ProviderTimeout(Upstream):
    code, title, status = "provider_timeout", "The provider did not answer in time", 504
    retryable = True


class Unavailable(PlatformError):
    code, title, status = "unavailable", "A part of the platform is not available", 503
    retryable = True


class DatabaseDown(Unavailable):
    code, title = "database_down", "The database is not available"


def registered(root: type[PlatformError] = PlatformError) -> list[type[PlatformError]]:
    """Every error class of the loaded process, once, parents first."""
    found = {root: None}
    for child in root.__subclasses__():
        found |= dict.fromkeys(registered(child))
    return list(found)
