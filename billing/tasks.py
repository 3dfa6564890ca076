"""Celery edge: one service call each."""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from celery import shared_task

from accounts.types import Permission
from billing.services import (
    alerts,
    approvals,
    console,
    exports,
    holds,
    rollups,
    statements,
)
from billing.stripe import inbox, outbox, recharges
from ideplatform.kit import accounting


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public="ends holds whose process died and lots past their day; by age alone")
def sweep_holds() -> None:
    holds.sweep()


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public="adds usage up for everybody; for nobody in particular")
def fold_rollups(_payload: Mapping[str, str] | None = None) -> None:
    """On `usage.settled`, `usage.corrected` and every five seconds."""
    rollups.fold()


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public="applies an event that Stripe signed, or Stripe's own list brought")
def apply_stripe_event(payload: Mapping[str, str]) -> None:
    """On `stripe.received`."""
    inbox.apply(payload["event_id"])


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public="sends what was written by somebody who may; by its id alone")
def send_stripe_message(payload: Mapping[str, str]) -> None:
    """On `stripe.queued`."""
    outbox.send_queued(UUID(payload["message_id"]))


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public="goes on with messages and events that wait; by age alone")
def resume_stripe() -> None:
    outbox.send_due()
    inbox.apply_due()


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public="asks Stripe for events that no webhook brought; for nobody in particular")
def sweep_stripe() -> None:
    inbox.sweep()
    inbox.forget_bodies()


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public="buys what owners of low wallets have ordered; by balance alone")
def recharge_low_wallets() -> None:
    recharges.run()


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public="asked for by an operator who may; its answer is an entry of the audit")
def verify_money(_payload: Mapping[str, str]) -> None:
    """On `verification.requested`."""
    console.verify()


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public="closes requests that nobody approved in 72 hours; by age alone")
def expire_approvals() -> None:
    approvals.expire()


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public="tells whoever manages a budget's money, which it finds itself")
def tell_budget_alert(payload: Mapping[str, str]) -> None:
    """On `budget.reached`."""
    alerts.tell(alert_id=UUID(payload["alert_id"]))


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public="sends again what could not be sent; by age alone")
def mail_notices() -> None:
    alerts.mail_due()


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(permission=Permission.BILLING_VIEW)
def run_export(payload: Mapping[str, str]) -> None:
    """On `export.requested`."""
    exports.run(export_id=UUID(payload["export_id"]))


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public="queues again what lost its worker; each run asks for its user's rights")
def resume_exports() -> None:
    exports.resume()
    exports.forget()


@shared_task  # type: ignore[untyped-decorator]
@accounting.task(public="closes months that are over, for everybody")
def close_statements() -> None:
    statements.close_due()
