"""Celery edge: a message says "look at run X"; everything else is in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from uuid import UUID

from celery import shared_task
from celery.signals import worker_ready, worker_shutting_down
from django.db import OperationalError

from agents import worker
from agents.services import leases, threads
from ideplatform.kit import accounting
from ideplatform.kit.errors import DatabaseDown

QUEUE = "queue:agent_tasks"


@shared_task(name="agents.tasks.execute_run", acks_late=False)  # type: ignore[untyped-decorator]
@accounting.task(public="the run was authorised when it was opened, and is again when it begins")
def execute_run(fact: Mapping[str, str]) -> None:
    """Take the run of a `run.opened` fact and park until it ends or is given back."""
    run_id = UUID(fact["run_id"])
    mine = worker.current()
    if mine.is_draining:
        leases.tell_again(run_id=run_id)
        return
    with suppress(CancelledError):
        mine.submit(run_id).result()


@shared_task(  # type: ignore[untyped-decorator]
    name="agents.tasks.grow_conversation",
    autoretry_for=(OperationalError, DatabaseDown),
    retry_backoff=True,
    max_retries=8,
)
@accounting.task(public="the person of a call reads in their conversations what was said")
def grow_conversation(fact: Mapping[str, str]) -> None:
    """On `exchange.recorded`; the same fact again changes nothing."""
    threads.grow(UUID(fact["exchange_id"]))


@shared_task(name="agents.tasks.retire_user")  # type: ignore[untyped-decorator]
@accounting.task(public="ends what a person who left said outside every workspace")
def retire_user(fact: Mapping[str, str]) -> None:
    """On `user.deleted`."""
    threads.forget_user(UUID(fact["user_id"]))


@worker_ready.connect  # type: ignore[untyped-decorator]
def _begin(sender: object, **_: object) -> None:
    """A worker of agents looks for lost runs from its first second."""
    queues = getattr(getattr(sender, "task_consumer", None), "queues", ())
    if any(queue.name == QUEUE for queue in queues):
        worker.current()


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def _drain(**_: object) -> None:
    """SIGTERM: the runs are handed over while Celery waits for their threads."""
    worker.drain()
