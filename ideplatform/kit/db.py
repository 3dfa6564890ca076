"""Database work from coroutines: one bounded pool, one hop per unit of work.

Stock Channels runs all database calls of a process on one thread; `run_db` does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import functools
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import ParamSpec, TypeVar

from django.conf import settings
from django.db import InterfaceError, OperationalError, connection, connections, transaction

from ideplatform.kit.errors import DatabaseDown
from ideplatform.observability import metrics

P = ParamSpec("P")
R = TypeVar("R")
_FIRST_THREADS = 3


@functools.cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(max_workers=settings.ENV.db_pool_max, thread_name_prefix="run-db")


@functools.cache
def _first() -> ThreadPoolExecutor:
    """Threads of their own; connections come from the process's one pool, in turn."""
    return ThreadPoolExecutor(max_workers=_FIRST_THREADS, thread_name_prefix="first-db")


async def run_db(service: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a sync service on the pool and give its connection back.

    Raises what the service raises; a lost database is DatabaseDown (503, retryable).
    """
    return await _hop(_pool(), service, *args, **kwargs)


async def run_db_first(service: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    """`run_db` past its queue: for the few units that keep all others alive, or end them.

    Hundreds of runs that end together queue for seconds; a lease that is renewed behind them is
    renewed too late.
    """
    return await _hop(_first(), service, *args, **kwargs)


async def _hop(
    pool: ThreadPoolExecutor, service: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs
) -> R:
    context = contextvars.copy_context()
    work = functools.partial(context.run, _unit, time.monotonic(), service, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(pool, work)


def _unit(queued_at: float, service: Callable[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
    metrics.db_pool_wait_seconds.observe(time.monotonic() - queued_at)
    try:
        return service(*args, **kwargs)
    except (OperationalError, InterfaceError) as lost:
        if is_lost(lost):
            raise DatabaseDown(retry_after_s=2) from lost
        raise
    finally:
        connections.close_all()


def allow_long_transaction(*, seconds: int) -> None:
    """Let the current transaction outlive the usual limit, for work that writes no access change.

    A running timer takes no new value, so it is stopped first (PostgreSQL, `transaction_timeout`).
    """
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL transaction_timeout = 0")
        cursor.execute("SELECT set_config('transaction_timeout', %s, true)", [f"{seconds}s"])
        cursor.execute("SELECT set_config('statement_timeout', %s, true)", [f"{seconds}s"])


@contextlib.contextmanager
def snapshot() -> Iterator[None]:
    """Everything that is read inside is of one moment; nothing may be written.

    Inside a caller's transaction, whose isolation cannot be changed any more, it is that one's.
    """
    is_nested = connection.in_atomic_block
    with transaction.atomic():
        if not is_nested:
            with connection.cursor() as cursor:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        yield


def is_lost(error: BaseException) -> bool:
    """Whether a driver error means that the server, not the statement, failed.

    SQLSTATE classes 08 (connection), 53 (resources), 57P0x (shutdown); none is a dead socket.
    """
    state = getattr(error.__cause__, "sqlstate", None)
    return state is None or state[:2] in {"08", "53"} or state[:4] == "57P0"


def database_now() -> datetime:
    """The database's clock at this moment, not at the transaction's start: aware, in UTC."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        moment: datetime = cursor.fetchone()[0]
    return moment
