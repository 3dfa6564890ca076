"""A connection that one thread keeps for itself, beside the pool of the process."""

from __future__ import annotations

import math
import select
from typing import Any, Final

from django.conf import settings
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.utils import load_backend

# Statements are planned once, maybe while their tables are empty: only what stays right when these
# have grown, an index for each row. No compiler, for batches so small. A lock that somebody's long
# transaction holds makes a whole batch wait, so it waits less than others do.
_SESSION: Final = (
    " -c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off"
    " -c enable_mergejoin=off -c jit=off -c lock_timeout=500"
)
_PEER_LOST_S: Final = 5


class OwnConnection:
    """Puts a connection outside the pool in the place of the calling thread's usual one."""

    def __init__(self) -> None:
        self._wrapper: BaseDatabaseWrapper | None = None

    def keep(self) -> None:
        """Let the thread have it, a new one where the server has closed it; connects when used."""
        if self._wrapper is not None and self.is_alive():
            return
        if self._wrapper is not None:
            self._wrapper.close()
        self._wrapper = connections["default"] = _unpooled()

    def is_alive(self) -> bool:
        """Whether it is open and the server says nothing: it speaks unasked only to say good-bye.

        Asked of the socket, since a question to the server would cost each batch a round trip.
        """
        driver = self._wrapper.connection if self._wrapper is not None else None
        if driver is None or driver.closed:
            return False
        watched = select.poll()
        watched.register(driver.fileno(), select.POLLIN)
        return not watched.poll(0)


def _unpooled() -> BaseDatabaseWrapper:
    configured: dict[str, Any] = connections.settings["default"]
    usual: dict[str, Any] = configured["OPTIONS"]
    options = usual | {
        "pool": False,
        "server_side_binding": True,
        "prepare_threshold": 0,
        "options": usual.get("options", "") + _SESSION,
        "connect_timeout": math.ceil(settings.ENV.db_pool_wait_s),
        "keepalives_idle": _PEER_LOST_S,
        "keepalives_interval": _PEER_LOST_S,
        "keepalives_count": 2,
    }
    backend = load_backend(configured["ENGINE"])
    wrapper: BaseDatabaseWrapper = backend.DatabaseWrapper(
        configured | {"OPTIONS": options, "CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": False},
        "default",
    )
    return wrapper
