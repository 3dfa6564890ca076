"""Group commit: what many callers ask of the database at once is done as one batch.

A lane has one thread, one connection of its own and one transaction in flight; what arrives
meanwhile is the next batch. Its connection lies outside the pool, so that its prepared statements
last. Why it has a thread: docs/decisions/0027-batches-have-a-thread.md.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Generic, TypeVar
from uuid import UUID

import structlog
from django.conf import settings
from django.db import InterfaceError, OperationalError

from billing.services import connecting
from billing.services.retries import is_clash
from ideplatform.kit.db import is_lost
from ideplatform.kit.errors import DatabaseDown, Unavailable

log = structlog.get_logger(__name__)

T = TypeVar("T")
R = TypeVar("R")

LINGER_OVER: Final = 3  # a batch of more says that others come right after it
REPLAY_S: Final = 5  # how long a failed batch may keep the next one waiting
_TRIES: Final = 2  # a connection that turns out to be dead is replaced once


@dataclass(frozen=True, slots=True, eq=False)
class _Waiter(Generic[T, R]):
    item: T
    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[R]


class Lane(Generic[T, R]):
    """Runs `work` on batches of at most BILLING_BATCH_MAX items, in the order of their arrival.

    `work` answers each item with a value or an error; when it raises, the batch is done again item
    by item, so that a bad one harms nobody; `payer` says which of them share locks. It must be
    safe to repeat: when a connection was lost nobody knows what was committed.

    With `undo`, an item whose caller went away is not begun, and undone when it had begun; without,
    it is done all the same. Any loop or thread of the process may ask.
    """

    def __init__(
        self,
        name: str,
        work: Callable[[Sequence[T]], Sequence[R | Exception]],
        *,
        payer: Callable[[T], UUID],
        capacity: int,
        undo: Callable[[Sequence[T]], None] | None = None,
    ) -> None:
        self._name = name
        self._work = work
        self._payer = payer
        self._undo = undo
        self._capacity = capacity
        self._queue: deque[_Waiter[T, R]] = deque()
        self._left: deque[T] = deque(maxlen=capacity)
        self._changed = threading.Condition()
        self._enough = 0  # so many arrivals end a linger
        self._is_serving = False
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=name)
        self._connection = connecting.OwnConnection()

    async def ask(self, item: T) -> R:
        """The answer to an item once its batch is committed.

        Raises what `work` answered or raised for it; Unavailable (503) when too many wait.
        """
        loop = asyncio.get_running_loop()
        waiter: _Waiter[T, R] = _Waiter(item, loop, loop.create_future())
        self._enter(waiter)
        try:
            return await waiter.future
        except asyncio.CancelledError:
            if not waiter.future.cancelled():  # answered, and nobody heard it
                self._leave([item])
            raise

    def _enter(self, waiter: _Waiter[T, R]) -> None:
        with self._changed:
            if len(self._queue) >= self._capacity:
                raise Unavailable("Too many calls wait for their money.", retry_after_s=1)
            self._begin()
            self._queue.append(waiter)
            if len(self._queue) == self._enough:
                self._changed.notify()

    def _leave(self, items: Sequence[T]) -> None:
        """Undo what nobody waits for any more."""
        if self._undo is not None:
            with self._changed:
                self._begin()
                self._left.extend(items)

    def _begin(self) -> None:
        if not self._is_serving:
            self._thread.submit(self._serve)
            self._is_serving = True

    def _serve(self) -> None:
        """Batch after batch until nothing is left. An undoing that failed waits for a batch."""
        size, undoes = 0, True
        while True:
            batch, left = self._next(size, undoes=undoes)
            if not batch and not left:
                return
            undoes = self._take_back(left)
            self._tell_all(list(zip(batch, self._answers(batch), strict=True)))
            size = len(batch)

    def _next(self, size: int, *, undoes: bool) -> tuple[list[_Waiter[T, R]], list[T]]:
        """What is asked and what is to be undone, after a batch of `size`."""
        most = settings.ENV.billing_batch_max
        with self._changed:
            if size > LINGER_OVER:
                self._enough = min(size, most)
                self._changed.wait_for(
                    lambda: len(self._queue) >= self._enough,
                    timeout=settings.ENV.billing_batch_linger_ms / 1_000,
                )
                self._enough = 0
            batch: list[_Waiter[T, R]] = []
            while self._queue and len(batch) < most:
                waiter = self._queue.popleft()
                if self._undo is None or not waiter.future.cancelled():
                    batch.append(waiter)
            left = list(self._left) if batch or undoes else []
            if left:
                self._left.clear()
            self._is_serving = bool(batch or left)
        return batch, left

    def _answers(self, batch: Sequence[_Waiter[T, R]]) -> Sequence[R | Exception]:
        items = [waiter.item for waiter in batch]
        if len(items) > 1:
            try:
                return self._done(items)
            except DatabaseDown as down:
                return [DatabaseDown(retry_after_s=down.retry_after_s) for _ in items]
            except Exception:
                log.warning("batch.replayed", lane=self._name, size=len(items), exc_info=True)
        return self._singly(items)

    def _singly(self, items: Sequence[T]) -> Sequence[R | Exception]:
        """Each item in a transaction of its own; whom time or a lock leaves out may come again."""
        ends_at = time.monotonic() + REPLAY_S
        locked: set[UUID] = set()
        answers: list[R | Exception] = []
        for item in items:
            if time.monotonic() > ends_at or self._payer(item) in locked:
                answers.append(Unavailable(retry_after_s=1))
                continue
            try:
                answers.extend(self._done([item]))
            except Exception as fault:  # noqa: BLE001  # its caller is told
                answers.append(Unavailable(retry_after_s=1) if is_clash(fault) else fault)
                if is_clash(fault):
                    locked.add(self._payer(item))
        return answers

    def _done(self, items: Sequence[T]) -> Sequence[R | Exception]:
        """`work` on a connection that lives. DatabaseDown where there is none; then what may have
        been committed all the same is undone later.
        """
        for tries_left in reversed(range(_TRIES)):
            self._connection.keep()
            try:
                return self._whole(items)
            except (OperationalError, InterfaceError) as lost:
                if not is_lost(lost) and self._connection.is_alive():
                    raise
                if not tries_left:
                    self._leave(items)
                    raise DatabaseDown(retry_after_s=2) from lost
        raise AssertionError("the last try raises")

    def _whole(self, items: Sequence[T]) -> Sequence[R | Exception]:
        """An answer for each: one too few would end the lane, and all who wait would wait on."""
        answers = self._work(items)
        if len(answers) != len(items):
            raise RuntimeError(f"{self._name} answered {len(answers)} of {len(items)}")
        return answers

    def _take_back(self, left: list[T]) -> bool:
        """Undo; whether that could be done."""
        if self._undo is None or not left:
            return True
        try:
            self._connection.keep()
            self._undo(left)
        except Exception:
            log.warning("batch.not_undone", lane=self._name, count=len(left), exc_info=True)
            with self._changed:
                self._left.extend(left)
            return False
        return True

    def _tell_all(self, answered: Sequence[tuple[_Waiter[T, R], R | Exception]]) -> None:
        """One wake-up for each loop."""
        by_loop = defaultdict(list)
        for waiter, answer in answered:
            by_loop[waiter.loop].append((waiter, answer))
        for loop, told in by_loop.items():
            try:
                loop.call_soon_threadsafe(self._tell, told)
            except RuntimeError:  # closed, with everybody who waited there
                self._leave([waiter.item for waiter, _ in told])

    def _tell(self, told: Sequence[tuple[_Waiter[T, R], R | Exception]]) -> None:
        gone = []
        for waiter, answer in told:
            if waiter.future.done():
                gone.append(waiter.item)
            elif isinstance(answer, Exception):
                waiter.future.set_exception(answer)
            else:
                waiter.future.set_result(answer)
        if gone:
            self._leave(gone)
