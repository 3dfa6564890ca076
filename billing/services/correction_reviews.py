"""Corrections that take two persons: one asks, another one approves, and it is done at once.

Charging more always does, giving back more than the two-person rule lets one person move too; the
database refuses them otherwise (migration 0020).
"""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

import msgspec

from accounts.types import Actor
from billing.models import ApprovalRequest, UsageEvent
from billing.services import approvals, corrections
from billing.services.adjustments import Grounds
from billing.services.corrections import Change
from billing.types import ApprovalKind, CorrectionReason, UnitClass
from ideplatform.kit import money
from ideplatform.kit.errors import NotFound


class _Asked(msgspec.Struct, frozen=True):
    """The payload of a request; `quantities` is JSON of its own."""

    event_id: UUID
    correction: CorrectionReason
    estimated_cost: Decimal | None
    billed_cost: Decimal
    saved_by_cache: Decimal
    quantities: str


def request(
    *,
    actor: Actor,
    event_id: UUID,
    change: Change,
    reason: CorrectionReason,
    grounds: Grounds,
) -> ApprovalRequest:
    """Ask for a correction of an event. Raises Forbidden, NotFound."""
    event = UsageEvent.objects.filter(pk=event_id).first()
    if event is None:
        raise NotFound
    cost = change.estimated_cost
    return approvals.propose(
        actor=actor,
        kind=ApprovalKind.CORRECTION,
        payload={
            "event_id": str(event_id),
            "correction": reason.value,
            "estimated_cost": None if cost is None else _text(cost),
            "billed_cost": _text(change.billed_cost),
            "saved_by_cache": _text(change.saved_by_cache),
            "quantities": msgspec.json.encode(change.tokens.quantities).decode(),
        },
        reason=grounds.reason,
        customer_id=event.customer_id,
        ticket=grounds.ticket,
        note=grounds.note,
    )


def apply_approved(asked: ApprovalRequest) -> str:
    """The correction that was approved; its id. Raises as `corrections.correct` does."""
    wanted = msgspec.convert(asked.payload, _Asked, strict=False)
    row = corrections.correct(
        event_id=wanted.event_id,
        change=Change(
            estimated_cost=wanted.estimated_cost,
            billed_cost=wanted.billed_cost,
            saved_by_cache=wanted.saved_by_cache,
            quantities=msgspec.json.decode(wanted.quantities, type=dict[UnitClass, int]),
        ),
        reason=wanted.correction,
        key=f"approval:{asked.pk}",
        created_by_id=asked.proposer_id,
        approved_by_id=asked.approver_id,
        note=asked.reason,
    )
    return str(row.pk)


def _text(amount: Decimal) -> str:
    """Twelve places, as the database writes the same amount."""
    return money.text(money.quantise(amount))
