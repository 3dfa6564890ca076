"""REST edge: every failure of a view becomes one problem answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import structlog
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from rest_framework import exceptions

from ideplatform.kit import errors, problems
from ideplatform.kit.db import is_lost

log = structlog.get_logger(__name__)

_BY_DRF: tuple[tuple[type[Exception], type[errors.PlatformError]], ...] = (
    (exceptions.ParseError, errors.MalformedRequest),
    (exceptions.NotAuthenticated, errors.Unauthenticated),
    (exceptions.AuthenticationFailed, errors.Unauthenticated),
    (exceptions.PermissionDenied, errors.Forbidden),
    (PermissionDenied, errors.Forbidden),
    (exceptions.NotFound, errors.NotFound),
    (Http404, errors.NotFound),
    (exceptions.MethodNotAllowed, errors.MethodNotAllowed),
    (exceptions.NotAcceptable, errors.NotAcceptable),
    (exceptions.UnsupportedMediaType, errors.UnsupportedMedia),
    (exceptions.Throttled, errors.TooManyRequests),
)


def platform_error(exc: Exception) -> errors.PlatformError | None:
    """Our error for an exception of the edge, or None when it is unexpected."""
    if isinstance(exc, errors.PlatformError):
        return exc
    if isinstance(exc, exceptions.ValidationError):
        return errors.InvalidInput(errors=tuple(pointers(exc.detail)))
    if isinstance(exc, OperationalError | InterfaceError) and is_lost(exc):
        return errors.DatabaseDown(retry_after_s=2)
    return next((ours() for theirs, ours in _BY_DRF if isinstance(exc, theirs)), None)


def pointers(detail: Any, at: str = "") -> Iterable[errors.Pointer]:
    """DRF's nested error detail as JSON pointers."""
    if isinstance(detail, Mapping):
        for key, value in detail.items():
            here = at if key == "non_field_errors" else f"{at}/{_escaped(str(key))}"
            yield from pointers(value, here)
    elif isinstance(detail, list):
        for index, value in enumerate(detail):
            nested = isinstance(value, Mapping | list)
            yield from pointers(value, f"{at}/{index}" if nested else at)
    else:
        yield errors.Pointer(pointer=at, detail=str(detail))


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def problem_response(error: errors.PlatformError, *, request_id: str = "") -> HttpResponse:
    """The answer of a failed request."""
    return _response(problems.of(error, request_id=request_id), error)


def _response(problem: problems.Problem, error: errors.PlatformError | None) -> HttpResponse:
    status = int(str(problem["status"]))
    response = HttpResponse(
        problems.encode(problem), status=status, content_type=problems.CONTENT_TYPE
    )
    if error is not None and error.retry_after_s is not None:
        response["Retry-After"] = str(error.retry_after_s)
    if status == 401:
        response["WWW-Authenticate"] = "Bearer"
    return response


def exception_handler(exc: Exception, context: Mapping[str, Any]) -> HttpResponseBase:
    """DRF's hook: `str(exc)` never leaves the process."""
    request_id = str(context["request"].META.get("request_id", ""))
    error = platform_error(exc)
    if error is None:
        log.error("request.failed", exc_info=exc, request_id=request_id)
        return _response(problems.internal(request_id=request_id), None)
    response = problem_response(error, request_id=request_id)
    if isinstance(exc, exceptions.MethodNotAllowed):
        response["Allow"] = ", ".join(context["view"].allowed_methods)
    return response


def not_found(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:  # noqa: ARG001
    """Django's 404 hook."""
    return problem_response(errors.NotFound(), request_id=request.META.get("request_id", ""))


def bad_request(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:  # noqa: ARG001
    """Django's 400 hook."""
    return problem_response(
        errors.MalformedRequest(), request_id=request.META.get("request_id", "")
    )


def forbidden(request: HttpRequest, exception: Exception | None = None) -> HttpResponse:  # noqa: ARG001
    """Django's 403 hook."""
    return problem_response(errors.Forbidden(), request_id=request.META.get("request_id", ""))


def server_error(request: HttpRequest) -> HttpResponse:
    """Django's 500 hook."""
    return _response(problems.internal(request_id=request.META.get("request_id", "")), None)
