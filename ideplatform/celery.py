"""The Celery application: messages only say "look at X", PostgreSQL holds the truth."""

from __future__ import annotations

import os
import time
from typing import Any

from celery import Celery
from celery.schedules import crontab
from celery.signals import beat_init, before_task_publish, setup_logging, worker_ready
from kombu.entity import Queue

from ideplatform.observability import health, server

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ideplatform.settings")

from django.conf import settings

AGENT_TASKS, EMBEDDINGS, DEFAULT = (
    "queue:agent_tasks",
    "queue:embeddings",
    "queue:default",
)
QUEUES = (AGENT_TASKS, EMBEDDINGS, DEFAULT)
HARD_LIMIT_S = 900
BROKER_BEAT_S = 5
PUBLISHED_AT = "published_at"  # a header of every message: seconds since 1970


def _broker_url() -> str:
    env = settings.ENV
    return env.celery_broker_url or env.redis_broker_url or env.redis_url


app = Celery("ideplatform")
app.conf.update(
    broker_url=_broker_url(),
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    broker_transport_options={
        "visibility_timeout": 2 * HARD_LIMIT_S,
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "queue_order_strategy": "priority",
    },
    task_ignore_result=True,
    task_default_queue=DEFAULT,
    # Without a routing key of its own every queue gets the default one, and every message.
    task_queues=[
        Queue(name, routing_key=name)  # type: ignore[no-untyped-call]
        for name in QUEUES
    ],
    task_routes={"agents.tasks.execute_run": {"queue": AGENT_TASKS}},
    task_serializer="json",
    accept_content=["json"],
    worker_prefetch_multiplier=1,
    worker_hijack_root_logger=False,
    worker_cancel_long_running_tasks_on_connection_loss=False,
    task_time_limit=HARD_LIMIT_S,
    timezone="UTC",
    # Every job is idempotent, so two beats do no harm. Units: seconds.
    beat_schedule={
        "billing-recharge-low-wallets": {
            "task": "billing.tasks.recharge_low_wallets",
            "schedule": 30.0,
        },
        "billing-expire-approvals": {
            "task": "billing.tasks.expire_approvals",
            "schedule": 600.0,
        },
        "billing-mail-notices": {"task": "billing.tasks.mail_notices", "schedule": 60.0},
        "billing-close-statements": {
            "task": "billing.tasks.close_statements",
            "schedule": 3_600.0,
        },
        "billing-resume-exports": {"task": "billing.tasks.resume_exports", "schedule": 60.0},
        "billing-resume-stripe": {"task": "billing.tasks.resume_stripe", "schedule": 60.0},
        "billing-sweep-stripe": {"task": "billing.tasks.sweep_stripe", "schedule": 3_600.0},
        "accounts-sweep": {"task": "accounts.tasks.sweep", "schedule": 600.0},
        "accounts-extend-audit": {"task": "accounts.tasks.extend_audit", "schedule": 86_400.0},
        "billing-fold-rollups": {"task": "billing.tasks.fold_rollups", "schedule": 5.0},
        "billing-sweep-holds": {"task": "billing.tasks.sweep_holds", "schedule": 15.0},
        # Yesterday and the day before have ended long enough ago for vendors to have reported them.
        "providers-schedule-reports": {
            "task": "providers.tasks.schedule_reports",
            "schedule": crontab(hour="4", minute="30"),
        },
        "providers-resume-reports": {"task": "providers.tasks.resume_reports", "schedule": 60.0},
        "providers-expire-exchanges": {
            "task": "providers.tasks.expire_exchanges",
            "schedule": 3_600.0,
        },
        "providers-probe-idle": {"task": "providers.tasks.probe_idle", "schedule": 60.0},
        "providers-end-abandoned-responses": {
            "task": "providers.tasks.end_abandoned_responses",
            "schedule": 15.0,
        },
        "providers-forget-expired-responses": {
            "task": "providers.tasks.forget_expired_responses",
            "schedule": 3_600.0,
        },
        "workspaces-resume-imports": {
            "task": "workspaces.tasks.resume_imports",
            "schedule": 60.0,
        },
        "workspaces-prune-files": {"task": "workspaces.tasks.prune_files", "schedule": 3_600.0},
        "workspaces-purge-deleted": {"task": "workspaces.tasks.purge_deleted", "schedule": 3_600.0},
    },
)
app.autodiscover_tasks()


@setup_logging.connect  # type: ignore[untyped-decorator]
def _keep_our_logs(**_: object) -> None:
    """Connecting is enough: Celery then leaves the logging of `settings` alone."""


@worker_ready.connect  # type: ignore[untyped-decorator]
@beat_init.connect  # type: ignore[untyped-decorator]
def _show_health(**_: object) -> None:
    """Workers and beat answer probes and scrapes on a port of their own."""
    server.start(host=settings.ENV.metrics_host, port=settings.ENV.metrics_port)


@before_task_publish.connect  # type: ignore[untyped-decorator]
def _stamp(headers: dict[str, Any], **_: object) -> None:
    """How long a message has waited is known from the message alone."""
    headers[PUBLISHED_AT] = time.time()


@beat_init.connect  # type: ignore[untyped-decorator]
def _watch_the_fleet(**_: object) -> None:
    from ideplatform import fleet

    fleet.watch()


@worker_ready.connect  # type: ignore[untyped-decorator]
def _watch_the_broker_reader(sender: Any, **_: object) -> None:
    """The loop that reads the broker runs these timers; a stuck one fails the worker's /health."""
    sender.timer.call_repeatedly(BROKER_BEAT_S, health.moved, ("broker",), {"within_s": 30})


@worker_ready.connect  # type: ignore[untyped-decorator]
def _sweep_the_outbox(**_: object) -> None:
    """Every worker hands over what a dead publisher left behind."""
    from ideplatform.outbox import relay

    relay.ring()


@worker_ready.connect  # type: ignore[untyped-decorator]
def _sweep_holds(**_: object) -> None:
    """What the process before this one had dispatched is settled as soon as its lease ends."""
    app.send_task("billing.tasks.sweep_holds", retry=False)
