"""Hands committed facts to the task queue, at least once, in id order.

The process that published drains at once on its own thread; every worker also sweeps, so a
publisher that dies between commit and hand-over loses nothing.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from datetime import timedelta

import structlog
from django.db import connections, transaction
from django.db.models import Count, F, Min
from django.db.models.functions import Now

from ideplatform.kit.failpoints import hit
from ideplatform.observability import metrics
from ideplatform.outbox.models import Fact

log = structlog.get_logger(__name__)

BATCH = 100
RETRY_S = 5
SWEEP_S = 2.0
Send = Callable[[str, list[object]], None]

_listeners: dict[str, tuple[str, ...]] = {}
_send: list[Send] = []


def configure(listeners: dict[str, tuple[str, ...]], *, send: Send) -> None:
    """Say which tasks listen to which topic and how a task is queued (composition root)."""
    _listeners.clear()
    _listeners.update(listeners)
    _send[:] = [send]


def drain() -> int:
    """Hand over what is due, batch by batch; returns how many facts were handed over."""
    handed = 0
    while count := _drain_batch():
        handed += count
        if count < BATCH:
            break
    return handed


@transaction.atomic
def _drain_batch() -> int:
    due = Fact.objects.filter(next_at__lte=Now()).order_by("id")
    facts = list(due.select_for_update(skip_locked=True)[:BATCH])
    sent: list[int] = []
    failed: list[int] = []
    for fact in facts:
        (sent if _hand_over(fact) else failed).append(fact.pk)
    hit("outbox.before_mark")
    Fact.objects.filter(pk__in=sent).delete()
    Fact.objects.filter(pk__in=failed).update(
        attempts=F("attempts") + 1, next_at=Now() + timedelta(seconds=RETRY_S)
    )
    return len(sent)


def _hand_over(fact: Fact) -> bool:
    try:
        for task in _listeners.get(fact.topic, ()):
            _send[0](task, [fact.payload])
    except Exception:  # noqa: BLE001  whatever the broker's client raises, the fact stays
        metrics.outbox_failures_total.labels(topic=fact.topic).inc()
        log.warning("outbox.hand_over_failed", topic=fact.topic, fact_id=fact.pk)
        return False
    return True


def measure() -> None:
    """Set the gauges of the waiting facts."""
    waiting = Fact.objects.aggregate(count=Count("id"), age=Now() - Min("created_at"))
    metrics.outbox_pending.set(waiting["count"])
    metrics.outbox_oldest_age_seconds.set(waiting["age"].total_seconds() if waiting["age"] else 0)


def ring() -> None:
    """Wake this process's relay thread; it is started at the first ring."""
    _thread().rung.set()


@functools.cache
def _thread() -> _Relay:
    relay = _Relay()
    relay.start()
    return relay


class _Relay(threading.Thread):
    """Drains on each ring and every `SWEEP_S` seconds; survives a lost database."""

    def __init__(self) -> None:
        super().__init__(name="outbox-relay", daemon=True)
        self.rung = threading.Event()

    def run(self) -> None:
        while True:
            self.rung.wait(SWEEP_S)
            self.rung.clear()
            self.turn()

    def turn(self) -> None:
        try:
            drain()
            measure()
        except Exception as lost:  # noqa: BLE001  the thread must outlive whatever fails
            log.warning("outbox.drain_failed", error=type(lost).__name__)
        finally:
            connections.close_all()
