"""Which permission was asked for at which entry, and what the answer was.

An entry is a route's method, a socket's frame type, a task or an admin action. Each declares one
permission, or a reason why it needs none; every authorisation is reported here. In production
nobody listens. Under test the suite demands that each entry met an allow and a deny
(`tests/house/test_accounting.py`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Literal, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
Outcome = Literal["allow", "deny"]
Listener = Callable[[str, str, Outcome], None]
"""Called with the entry, the permission and the outcome."""

_where: ContextVar[str] = ContextVar("accounting_where", default="")
_declared: dict[str, Declaration] = {}
_listeners: list[Listener] = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What an entry asks for: a permission, or the reason why everyone may enter."""

    permission: str = ""
    public: str = ""

    def __post_init__(self) -> None:
        if bool(self.permission) == bool(self.public):
            raise ValueError("an entry declares a permission or a reason to be public")


def declare(where: str, *, permission: str = "", public: str = "") -> None:
    """Say what an entry asks for; `where` is `frame <name>`, `task <name>` or `action <name>`."""
    _declared[where] = Declaration(permission=permission, public=public)


def declared() -> Mapping[str, Declaration]:
    """Every declaration of the loaded process."""
    return _declared


def task(*, permission: str = "", public: str = "") -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Declare a Celery task and report what it asks for; stands under `@app.task`."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        where = f"task {function.__module__}.{function.__name__}"
        declare(where, permission=permission, public=public)

        @functools.wraps(function)
        def entered(*args: P.args, **kwargs: P.kwargs) -> R:
            with at(where):
                return function(*args, **kwargs)

        return entered

    return decorate


def enter(where: str) -> None:
    """From here on this context works for the entry `where` (a request has its own context)."""
    _where.set(where)


@contextmanager
def at(where: str) -> Iterator[None]:
    """The block works for the entry `where`: a frame, a task, an action."""
    token = _where.set(where)
    try:
        yield
    finally:
        _where.reset(token)


def record(permission: str, outcome: Outcome) -> None:
    """Report one authorisation; costs one test of an empty list when nobody listens."""
    for listener in _listeners:
        listener(_where.get(), permission, outcome)


def listen(listener: Listener) -> Callable[[], None]:
    """Hear every report; returns what ends it."""
    _listeners.append(listener)
    return lambda: _listeners.remove(listener)
