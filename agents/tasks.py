"""Celery edge: a message says "look at run X"; everything else is in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import CancelledError
from contextlib import suppress
from uuid import UUID

from celery import shared_task
from celery.signals import worker_ready, worker_shutting_down

from agents import worker
from agents.services import leases
from ideplatform.kit import accounting

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
