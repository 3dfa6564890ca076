"""Who listens to which fact: the one page that says it."""

from __future__ import annotations

from ideplatform.celery import app
from ideplatform.outbox import relay

LISTENERS: dict[str, tuple[str, ...]] = {
    "run.opened": ("agents.tasks.execute_run",),
    "import.requested": ("workspaces.tasks.run_import",),
}


def wire() -> None:
    """Tell the relay; called once per process by the project's AppConfig."""
    relay.configure(LISTENERS, send=_send)


def _send(task: str, arguments: list[object]) -> None:
    app.send_task(task, args=arguments, retry=False)
