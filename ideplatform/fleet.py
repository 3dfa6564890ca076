"""What no single process knows: how long the queues are, and who is at work. Beat measures it.

Two beats measure the same, so dashboards take the maximum.
"""

from __future__ import annotations

import json
import threading
import time
from datetime import timedelta
from typing import Any

import structlog
from django.db import connections
from django.db.models.functions import Now

from accounts.models import ApiKey, RefreshSession
from agents.models import Run, RunLease
from billing.services import gauges
from ideplatform.celery import PUBLISHED_AT, QUEUES, app
from ideplatform.kit import clock, ids
from ideplatform.observability import metrics
from workspaces.models import FileVersionRow

log = structlog.get_logger(__name__)

PERIOD_S = 15.0
ACTIVE = timedelta(minutes=5)


def measure_people() -> None:
    """Set the gauges of users and workspaces that did something in the last five minutes."""
    since = Now() - ACTIVE
    sessions = RefreshSession.objects.filter(last_seen_at__gte=since).values("user_id")
    keys = ApiKey.objects.filter(last_used_at__gte=since).values("user_id")
    metrics.active_users.set(sessions.union(keys).count())
    # Ids are ordered by time, so the primary key finds the latest runs of however many.
    begun = Run.objects.filter(pk__gte=ids.earliest(clock.now() - ACTIVE)).values("workspace_id")
    running = RunLease.objects.values("run__workspace_id")
    written = FileVersionRow.objects.filter(created_at__gte=since).values("file__workspace_id")
    metrics.active_workspaces.set(begun.union(running, written).count())


def measure_queues() -> None:
    """Set each queue's depth and, where the broker is Redis, the age of its oldest message.

    AMQP shows nobody a message without handing it out.
    """
    with app.connection_for_read() as broker:
        for name in QUEUES:
            with broker.channel() as channel:
                metrics.celery_queue_depth.labels(queue=name).set(_depth(broker, channel, name))
                if broker.transport.driver_type == "redis":
                    age_s = _age_s(channel.client.lindex(name, -1))
                    metrics.celery_oldest_message_age_seconds.labels(queue=name).set(age_s)


def _depth(broker: Any, channel: Any, name: str) -> int:
    try:
        return int(channel.queue_declare(queue=name, passive=True).message_count)
    except broker.channel_errors:  # Redis forgets a queue that is empty
        return 0


def _age_s(message: bytes | None) -> float:
    if message is None:
        return 0.0
    now = time.time()
    published_at = float(json.loads(message)["headers"].get(PUBLISHED_AT, now))
    return max(0.0, now - published_at)


def measure_money() -> None:
    """Set the gauges of money that is reserved, and of sums that are off."""
    gauges.measure()


def watch() -> None:
    """Measure every 15 seconds from a thread of this process, for as long as it lives."""
    threading.Thread(target=_watch, name="fleet", daemon=True).start()


def _watch() -> None:
    while True:
        turn()
        time.sleep(PERIOD_S)


def turn() -> None:
    """Measure all there is; what cannot be asked now keeps its last value."""
    for measure in (measure_people, measure_queues, measure_money):
        try:
            measure()
        except Exception as failed:  # noqa: BLE001  the thread must outlive whatever fails
            log.warning("fleet.measure_failed", error=type(failed).__name__)
        finally:
            connections.close_all()
