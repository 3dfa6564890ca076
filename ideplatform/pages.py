"""Public pages: the demo chat, and what each problem type means."""

from __future__ import annotations

import inspect

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from ideplatform.kit import errors

INTERNAL = {
    "code": "internal",
    "title": "Something failed on our side",
    "status": 500,
    "retryable": False,
    "meaning": "The failure was recorded under the request id of the answer.",
}


def known() -> dict[str, dict[str, object]]:
    """Every problem a client can meet, by code."""
    found = {cls.code: _described(cls) for cls in errors.registered()[1:]}
    return dict(sorted((found | {"internal": INTERNAL}).items()))


def _described(cls: type[errors.PlatformError]) -> dict[str, object]:
    own = inspect.cleandoc(cls.__doc__ or "")
    inherited = own == inspect.cleandoc(errors.PlatformError.__doc__ or "")
    return {
        "code": cls.code,
        "title": cls.title,
        "status": cls.status,
        "retryable": cls.retryable,
        "meaning": "" if inherited else own,
    }


@require_safe
def problem(request: HttpRequest, code: str) -> HttpResponse:
    """The page behind a problem's `type`."""
    described = known().get(code)
    if described is None:
        raise Http404
    return render(request, "pages/problem.html", {"problem": described})


@require_safe
def problems(request: HttpRequest) -> HttpResponse:
    """All problem types."""
    return render(request, "pages/problems.html", {"problems": known().values()})


@require_safe
def chat(request: HttpRequest) -> HttpResponse:
    """Sign in and ask an agent: a client of the public API like any other."""
    return render(request, "pages/chat.html")
