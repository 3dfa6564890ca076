"""Who listens to which fact: the one page that says it."""

from __future__ import annotations

import time
from uuid import UUID

from django.conf import settings

from agents import worker
from ideplatform.celery import app
from ideplatform.outbox import relay

EXECUTE_RUN = "agents.tasks.execute_run"
FOLD = "billing.tasks.fold_rollups"
FOLD_EVERY_S = 1.0
LISTENERS: dict[str, tuple[str, ...]] = {
    "run.opened": (EXECUTE_RUN,),
    "import.requested": ("workspaces.tasks.run_import",),
    "provider.changed": ("providers.tasks.forget_cached",),
    "workspace.deleted": ("providers.tasks.retire_workspace",),
    "user.deleted": (
        "providers.tasks.retire_user",
        "providers.tasks.forget_responses_of_user",
        "agents.tasks.retire_user",
    ),
    "exchange.recorded": ("agents.tasks.grow_conversation",),
    "usage.settled": (FOLD,),
    "usage.corrected": (FOLD,),
    "reconcile.requested": ("providers.tasks.fetch_report",),
    "budget.reached": ("billing.tasks.tell_budget_alert",),
    "export.requested": ("billing.tasks.run_export",),
    "stripe.received": ("billing.tasks.apply_stripe_event",),
    "stripe.queued": ("billing.tasks.send_stripe_message",),
    "verification.requested": ("billing.tasks.verify_money",),
}


def wire() -> None:
    """Tell the relay; called once per process by the project's AppConfig."""
    relay.configure(LISTENERS, send=_send)


def _send(task: str, arguments: list[object]) -> None:
    if task == FOLD and not _folds_now():
        return
    if settings.ENV.agent_runner == "inline" and task == EXECUTE_RUN:
        run_here(task, arguments)
    else:
        app.send_task(task, args=arguments, retry=False)


_folded_at: list[float] = [-FOLD_EVERY_S]


def _folds_now() -> bool:
    """Whether this fact is to wake the folder: it takes all that waits, so one a second is enough.

    Every call is such a fact, and beat wakes it after five seconds anyway.
    """
    now = time.monotonic()
    if now - _folded_at[0] < FOLD_EVERY_S:
        return False
    _folded_at[0] = now
    return True


def run_here(_task: str, arguments: list[object]) -> None:
    """Execute a run in this process instead of queueing it (`AGENT_RUNNER=inline`)."""
    (fact,) = arguments
    worker.current().submit(UUID(fact["run_id"]))  # type: ignore[index]  # the fact's payload
