"""Celery edge: one service call each."""

from __future__ import annotations

from celery import shared_task

from billing.services import holds
from ideplatform.kit import accounting


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public="ends holds whose process died and lots past their day; by age alone")
def sweep_holds() -> None:
    holds.sweep()
