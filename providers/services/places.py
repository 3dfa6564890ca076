"""How many calls of one account run in this process, and the bound of it."""

from __future__ import annotations

import threading
from collections import Counter
from uuid import UUID

from providers.errors import ProviderNotReady

_running: Counter[UUID] = Counter()
_places = threading.Lock()  # several loops may call in one process


def occupy(provider_id: UUID, *, at_most: int) -> None:
    """Take one of the account's places in this process; raises ProviderNotReady when all are."""
    with _places:
        if _running[provider_id] >= at_most:
            raise ProviderNotReady(retry_after_s=1)
        _running[provider_id] += 1


def release(provider_id: UUID) -> None:
    with _places:
        _running[provider_id] -= 1
        if not _running[provider_id]:
            del _running[provider_id]
