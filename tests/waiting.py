"""Waiting for a condition with a deadline: tests never sleep to synchronise."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")
_STEP_S = 0.01


def eventually(check: Callable[[], T], *, within_s: float = 5) -> T:
    """The first truthy answer of `check`; fails when none comes within `within_s`."""
    deadline = time.monotonic() + within_s
    while not (answer := check()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {check}")
        time.sleep(_STEP_S)
    return answer


async def eventually_async(check: Callable[[], Awaitable[T]], *, within_s: float = 5) -> T:
    """The same for a coroutine function."""
    deadline = time.monotonic() + within_s
    while not (answer := await check()):
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {within_s} s: {check}")
        await asyncio.sleep(_STEP_S)
    return answer
