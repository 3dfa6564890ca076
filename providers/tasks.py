"""Celery edge: ids in, one service call."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from celery import shared_task

from ideplatform.kit import accounting
from providers.services import cache, exchanges, probes, providers, reports, stored_responses


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public="asks silent accounts whether they live; for nobody in particular")
def probe_idle() -> None:
    probes.run()


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public="drops what is remembered of a changed account")
def forget_cached(payload: Mapping[str, str]) -> None:
    """On `provider.changed`."""
    cache.drop(UUID(payload["provider_id"]))


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public="ends the accounts of a workspace that was deleted")
def retire_workspace(payload: Mapping[str, str]) -> None:
    """On `workspace.deleted`."""
    providers.retire(workspace_id=UUID(payload["workspace_id"]))


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public="ends the accounts of a person who left, and what they asked")
def retire_user(payload: Mapping[str, str]) -> None:
    """On `user.deleted`."""
    user_id = UUID(payload["user_id"])
    providers.retire(owner_id=user_id)
    exchanges.forget_user(user_id)


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public="fetches a report for a comparison that somebody might ask for; by its id")
def fetch_report(payload: Mapping[str, str]) -> None:
    """On `reconcile.requested`."""
    reports.fetch(UUID(payload["run_id"]))


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public="goes on with comparisons that wait for their report; by age alone")
def resume_reports() -> None:
    reports.resume()


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public="asks for the comparisons of the latest days; for nobody in particular")
def schedule_reports() -> None:
    reports.schedule()


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public="deletes records of gateway calls whose time is over; by age alone")
def expire_exchanges() -> None:
    exchanges.expire()


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public="ends stored responses whose process died; by their lease alone")
def end_abandoned_responses() -> None:
    stored_responses.fail_abandoned()


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public="deletes stored responses that have outlived their time; by age alone")
def forget_expired_responses() -> None:
    stored_responses.forget_expired()


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public="deletes the stored responses of a person who left")
def forget_responses_of_user(payload: Mapping[str, str]) -> None:
    """On `user.deleted`."""
    stored_responses.forget_of(user_id=UUID(payload["user_id"]))
