"""Every way into the platform, and what each declares that it asks for."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Mapping
from typing import Any

from django.contrib import admin
from django.urls import URLPattern, URLResolver, get_resolver

from ideplatform.kit import accounting
from ideplatform.kit.accounting import Declaration
from tests.house import source

METHODS = ("get", "post", "put", "patch", "delete")
PUBLIC = {
    "": "the page that signs in: it holds no data and calls the API like any client",
    "problems": "the list of error codes, the same for everybody",
    "problems/<slug:code>": "the explanation of an error code, the same for everybody",
}
"""Pages outside the API that everybody may read, by route."""

_ADMIN = "admin/"
_BUILT_IN_ACTIONS = {"delete_selected"}


def routes() -> dict[str, Declaration | None]:
    """Each `METHOD route` with its declaration, None where there is none.

    The admin's pages are Django's own, for staff in a browser session; its actions are ours.
    """
    found: dict[str, Declaration | None] = {}
    for route, pattern in _patterns(get_resolver().url_patterns):
        view = getattr(pattern.callback, "cls", getattr(pattern.callback, "view_class", None))
        if view is not None and not route.startswith(_ADMIN):
            for method in METHODS:
                if hasattr(view, method):
                    found[f"{method.upper()} {route}"] = _declared(view, method.upper())
        elif not route.startswith(_ADMIN):
            reason = PUBLIC.get(route)
            found[f"GET {route}"] = Declaration(public=reason) if reason is not None else None
    return found


def tasks() -> dict[str, Declaration | None]:
    """Each Celery task of ours."""
    from ideplatform.celery import app

    for name in source.APPS:
        if (source.ROOT / name / "tasks.py").exists():
            importlib.import_module(f"{name}.tasks")
    ours = [name for name in app.tasks if not name.startswith("celery.")]
    return {f"task {name}": accounting.declared().get(f"task {name}") for name in sorted(ours)}


def frames() -> dict[str, Declaration | None]:
    """Each frame that a client may send on a typed socket."""
    from agents import consumers, frames

    assert consumers
    tags = [str(frame.__struct_config__.tag) for frame in frames.ClientFrame.__subclasses__()]
    return {f"frame {tag}": accounting.declared().get(f"frame {tag}") for tag in sorted(tags)}


def actions() -> dict[str, Declaration | None]:
    """Each admin action of ours."""
    names = [
        f"action {model._meta.label}.{getattr(action, '__name__', action)}"
        for model, options in admin.site._registry.items()
        for action in options.actions or ()
        if action not in _BUILT_IN_ACTIONS
    ]
    return {name: accounting.declared().get(name) for name in sorted(names)}


def gateway() -> dict[str, Declaration | None]:
    """Each `METHOD route` of the gateway, which answers before Django."""
    from providers.gateway.routes import TABLE

    return {route.entry: route.declaration for route in TABLE}


def every() -> dict[str, Declaration | None]:
    """All of them."""
    return routes() | gateway() | tasks() | frames() | actions()


def unmet(
    declared: Mapping[str, Declaration | None], reports: set[tuple[str, str, str]]
) -> list[str]:
    """What the suite's reports (entry, permission, outcome) leave unproven."""
    faults = []
    for where, declaration in sorted(declared.items()):
        if declaration is None:
            faults.append(f"{where}: declares neither a permission nor a reason to be public")
        elif not declaration.public:
            faults += [
                f"{where}: never met one {outcome} of {declaration.permission}"
                for outcome in ("allow", "deny")
                if (where, declaration.permission, outcome) not in reports
            ]
    return faults


def _patterns(patterns: list[Any], prefix: str = "") -> Iterator[tuple[str, URLPattern]]:
    for pattern in patterns:
        route = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _patterns(pattern.url_patterns, route)
        else:
            yield route, pattern


def _declared(view: type, method: str) -> Declaration | None:
    reason = getattr(view, "public", "")
    if reason:
        return Declaration(public=reason)
    permission = getattr(view, "permissions", {}).get(method)
    return Declaration(permission=permission) if permission else None
