"""A unit of money's work, tried again when it only lost a race."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import Final, TypeVar

from django.db import DatabaseError, connection

R = TypeVar("R")
TRIES: Final = 4
# Deadlock, serialisation failure, lock timeout, and a key that a neighbour wrote first.
_CLASHES: Final = frozenset({"40P01", "40001", "55P03", "23505"})


def retried(work: Callable[[], R]) -> R:
    """What `work` answers; a clash is retried three times, with jitter.

    Inside the caller's transaction there is one try: a failed statement has ended it.
    """
    if connection.in_atomic_block:
        return work()
    for attempt in range(1, TRIES):
        try:
            return work()
        except DatabaseError as fault:
            if not is_clash(fault):
                raise
            time.sleep(random.randint(5, 50) * attempt / 1_000)
    return work()


def is_clash(fault: BaseException) -> bool:
    """Whether a statement only lost a race with others, so that it may succeed when repeated."""
    return getattr(fault.__cause__, "sqlstate", None) in _CLASHES
