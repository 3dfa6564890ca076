"""The access feed: within a second every process knows whose rights shrank.

A revocation writes an `access_changes` row in its own transaction and rings a Redis bell at commit.
Every process reads the rows on the bell or every 500 ms, going back 10 seconds each time: ids and
times precede commits, and no transaction outlives 5 s (`DB_TRANSACTION_TIMEOUT_MS`). What a process
remembers of a credential counts only while its feed is fresh; without Redis only the bell is lost.

A row with a topic (`routes`, `prices`) says that something else changed which processes remember.
It is no matter of rights and reaches no subscriber: whoever remembers compares what `heard` says.
Triggers write those rows, so that no writer can forget it.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final
from uuid import UUID

import structlog
from django.conf import settings
from django.db import connections, transaction
from django.db.models.functions import Now

from accounts.models import AccessChange
from ideplatform.kit import redis
from ideplatform.kit.db import database_now
from ideplatform.kit.errors import Unavailable
from ideplatform.observability import metrics

log = structlog.get_logger(__name__)

CHANNEL = "access"
POLL_S = 0.5
FRESH_S = 1.0
# How long a cached principal lives at most; changes are remembered for longer than that, so that a
# process can judge one that another process wrote.
LONGEST_TRUST = timedelta(seconds=60)
KEPT = timedelta(hours=24)
MAX_HEARD: Final = 100_000
Heard = tuple[str, UUID | None]
_tickets = itertools.count(1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """Somebody's rights shrank: every id that is set names who or where."""

    id: int
    user_id: UUID | None = None
    session_id: UUID | None = None
    api_key_id: UUID | None = None
    workspace_id: UUID | None = None
    organization_id: UUID | None = None

    def subjects(self) -> tuple[UUID, ...]:
        """The ids that are set. They are UUIDv7, so none is taken for another table's."""
        found = (
            self.user_id,
            self.session_id,
            self.api_key_id,
            self.workspace_id,
            self.organization_id,
        )
        return tuple(subject for subject in found if subject is not None)


Callback = Callable[[Change], None]


def announce(
    *,
    user_id: UUID | None = None,
    session_id: UUID | None = None,
    api_key_id: UUID | None = None,
    workspace_id: UUID | None = None,
    organization_id: UUID | None = None,
) -> None:
    """Tell every process, in the caller's transaction, that these lost rights.

    This process distrusts its memory at once, so that the caller's own next read is right.
    """
    row = AccessChange.objects.create(
        user_id=user_id,
        session_id=session_id,
        api_key_id=api_key_id,
        workspace_id=workspace_id,
        organization_id=organization_id,
    )
    _reader.note(_change(row))
    transaction.on_commit(_ring)


def announce_topic(topic: str, subject: UUID | None = None) -> None:
    """Tell of a change whose row a trigger writes: at commit here, on the bell elsewhere."""
    transaction.on_commit(partial(_note_topic, topic, subject))


def heard(topic: str, subject: UUID | None = None) -> int:
    """A number that is new each time this process hears of a change of a topic's subject.

    What was read from the database after asking is as new as the number says: as long as it stays
    the same, and the feed fresh, nothing that was committed a second ago is missing.
    """
    return _reader.heard((topic, subject))


def subscribe(callback: Callback) -> Callable[[], None]:
    """Call `callback` on the feed's thread for every committed change; returns what ends it.

    The callback hands over to its own loop and returns: it must not block or raise.
    """
    _reader.start()
    callbacks = _reader.callbacks
    callbacks.append(callback)
    return lambda: callbacks.remove(callback)


def is_fresh() -> bool:
    """Whether this process has read the changes within the last second; starts reading if not."""
    _reader.start()
    return _reader.age_s < FRESH_S


def latest(subject: UUID) -> int:
    """The newest known change about an id, 0 when there is none within the memory."""
    return _reader.latest(subject)


def watermark() -> int:
    """Every change up to this id is committed, so whoever reads the database now sees it."""
    return _reader.settled


def require_fresh() -> None:
    """The readiness probe: reads once more if need be; raises Unavailable when that fails."""
    if not is_fresh() and not _reader.read_soon(within_s=0.4):
        raise Unavailable


def prune() -> int:
    """Forget changes older than 24 hours; returns how many."""
    count, _ = AccessChange.objects.filter(at__lt=Now() - KEPT).delete()
    return count


def stop() -> None:
    """End this process's feed and forget what it told; it starts again when asked."""
    global _reader
    _reader.stop()
    _reader = _Reader([])


def _note_topic(topic: str, subject: UUID | None) -> None:
    _reader.hear((topic, subject))
    _ring()


def _ring() -> None:
    _reader.wake.set()
    redis.ring(CHANNEL)


def _change(row: AccessChange) -> Change:
    return Change(
        id=row.pk,
        user_id=row.user_id,
        session_id=row.session_id,
        api_key_id=row.api_key_id,
        workspace_id=row.workspace_id,
        organization_id=row.organization_id,
    )


def _subject(row: AccessChange) -> UUID | None:
    """Whom a change of a topic is about; None: everybody."""
    return row.user_id or row.workspace_id or row.organization_id


class _Reader:
    """Reads on one daemon thread; a second one only listens to the bell."""

    def __init__(self, callbacks: list[Callback]) -> None:
        self.wake = threading.Event()
        self.callbacks = callbacks
        self.settled = 0
        self._turned = threading.Event()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._latest: dict[UUID, int] = {}
        self._told: dict[int, datetime] = {}
        self._since: datetime | None = None
        self._read_at = float("-inf")
        self._heard: dict[Heard, int] = {}
        self._heard_nothing = next(_tickets)

    def start(self) -> None:
        if self._thread is not None and self._thread.is_alive():
            return
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._run, name="access-feed", daemon=True)
                self._thread.start()
                threading.Thread(target=self._listen, name="access-bell", daemon=True).start()

    def stop(self) -> None:
        self._ended.set()
        self.wake.set()
        if self._thread is not None:
            self._thread.join(5)

    @property
    def age_s(self) -> float:
        return time.monotonic() - self._read_at

    def latest(self, subject: UUID) -> int:
        return self._latest.get(subject, 0)

    def heard(self, what: Heard) -> int:
        return self._heard.get(what, self._heard_nothing)

    def hear(self, what: Heard) -> None:
        if len(self._heard) >= MAX_HEARD:  # all that is remembered anywhere is read anew
            self._heard_nothing = next(_tickets)
            self._heard.clear()
        self._heard[what] = next(_tickets)

    def note(self, change: Change) -> None:
        with self._lock:
            for subject in change.subjects():
                self._latest[subject] = max(change.id, self._latest.get(subject, 0))

    def read_soon(self, *, within_s: float) -> bool:
        self._turned.clear()
        self.wake.set()
        return self._turned.wait(within_s)

    def _run(self) -> None:
        while not self._ended.is_set():
            self.wake.clear()
            try:
                self._read()
            except Exception as failed:
                log.warning("access_feed.failed", exc_info=failed)
            finally:
                connections.close_all()
            self.wake.wait(POLL_S)

    def _read(self) -> None:
        began = time.monotonic()
        now = database_now()
        since = self._since or now - _memory()
        for row in AccessChange.objects.filter(at__gte=since).order_by("id"):
            if row.pk not in self._told:
                self._told[row.pk] = row.at
                if row.topic:
                    self.hear((row.topic, _subject(row)))
                else:
                    self._tell(_change(row))
        self._settle(now)
        self._since, self._read_at = now - _overlap(), began
        self._turned.set()

    def _tell(self, change: Change) -> None:
        self.note(change)
        for callback in tuple(self.callbacks):
            try:
                callback(change)
            except Exception as failed:
                log.error("access_feed.subscriber_failed", exc_info=failed)

    def _settle(self, now: datetime) -> None:
        """What is older than the overlap is committed for good; what is beyond memory goes."""
        settled = (pk for pk, at in self._told.items() if at < now - _overlap())
        self.settled = max(settled, default=self.settled)
        forgotten = [pk for pk, at in self._told.items() if at < now - _memory()]
        for pk in forgotten:
            del self._told[pk]
        if forgotten:
            newest = max(forgotten)
            with self._lock:
                self._latest = {key: pk for key, pk in self._latest.items() if pk > newest}

    def _listen(self) -> None:
        while not self._ended.is_set():
            try:
                self._hear()
            except redis.ERRORS:
                self._ended.wait(POLL_S)
            except Exception as failed:  # a bell that is deaf for good would go unnoticed
                log.warning("access_bell.failed", exc_info=failed)
                self._ended.wait(POLL_S)

    def _hear(self) -> None:
        with redis.client("bus").pubsub(  # type: ignore[no-untyped-call]
            ignore_subscribe_messages=True
        ) as bell:
            bell.subscribe(CHANNEL)
            while not self._ended.is_set():
                if bell.get_message(timeout=POLL_S) is not None:
                    self.wake.set()


def _overlap() -> timedelta:
    """Twice the longest transaction (10 s): rows older than this are all visible."""
    return timedelta(milliseconds=2 * settings.ENV.db_transaction_timeout_ms)


def _memory() -> timedelta:
    return LONGEST_TRUST + 2 * _overlap()


_reader = _Reader([])
metrics.access_feed_age_seconds.set_function(lambda: _reader.age_s)


def _forked() -> None:
    """Threads do not survive a fork: the child starts its own when it first asks."""
    global _reader
    _reader = _Reader(_reader.callbacks)


os.register_at_fork(after_in_child=_forked)
