"""Faults on purpose: `FAILPOINT=stage:action[@n]`, several with commas, never in production.

Actions: `kill` (SIGKILL to this process), `raise`, `sleep=ms`, `hang`. With `@n` only the n-th
passage of the stage acts, counted per process; without it every passage does.
Unset, a passage costs one test of an empty dictionary.
"""

from __future__ import annotations

import asyncio
import os
import re
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

VARIABLE: Final = "FAILPOINT"
_FORM: Final = re.compile(
    r"(?P<stage>[a-z0-9_.]+):(?P<action>kill|raise|hang|sleep=(?P<ms>[0-9]{1,7}))"
    r"(?:@(?P<nth>[1-9][0-9]{0,8}))?"
)


class FailpointRaised(Exception):
    """The fault of the action `raise`: unexpected by every caller, as a real one would be."""


class FailpointMalformed(Exception):
    """A failpoint is not of the form above."""


class _Point:
    def __init__(self, action: str, *, sleep_s: float, nth: int) -> None:
        self.action = action
        self.sleep_s = sleep_s
        self._nth = nth
        self._passages = 0
        self._lock = threading.Lock()

    def acts(self) -> bool:
        """Count a passage, and say whether this one is meant."""
        with self._lock:
            self._passages += 1
            return self._nth in (0, self._passages)


def hit(stage: str) -> None:
    """Pass a stage from sync code; `sleep` and `hang` stop the calling thread."""
    if not _points:
        return
    point = _due(stage)
    if point is not None:
        threading.Event().wait() if point.action == "hang" else time.sleep(point.sleep_s)


async def ahit(stage: str) -> None:
    """Pass a stage from a coroutine; `sleep` and `hang` stop this task alone."""
    if not _points:
        return
    point = _due(stage)
    if point is not None:
        await (asyncio.Future() if point.action == "hang" else asyncio.sleep(point.sleep_s))


@contextmanager
def armed(text: str) -> Iterator[None]:
    """Set failpoints in this process while the block runs; raises FailpointMalformed."""
    global _points
    before, _points = _points, _parse(text)
    try:
        yield
    finally:
        _points = before


def _due(stage: str) -> _Point | None:
    """The waiting action of this passage, if any; `kill` and `raise` happen here."""
    point = _points.get(stage)
    if point is None or not point.acts():
        return None
    if point.action == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if point.action == "raise":
        raise FailpointRaised(stage)
    return point


def _parse(text: str) -> dict[str, _Point]:
    points: dict[str, _Point] = {}
    for entry in filter(None, (part.strip() for part in text.split(","))):
        form = _FORM.fullmatch(entry)
        if form is None:
            raise FailpointMalformed("FAILPOINT is stage:kill|raise|hang|sleep=ms[@n]")
        action, sleep_s = form["action"].partition("=")[0], int(form["ms"] or 0) / 1000
        points[form["stage"]] = _Point(action, sleep_s=sleep_s, nth=int(form["nth"] or 0))
    return points


def _from_environment() -> dict[str, _Point]:
    # `Env` refuses to start such a process; one that never loads it must not arm either.
    if os.environ.get("ENVIRONMENT") == "production":
        return {}
    return _parse(os.environ.get(VARIABLE, ""))


_points: dict[str, _Point] = _from_environment()
