"""Corrections by operators: done at once where one person may, else asked for and approved.

Charging more always takes two persons, giving back more than the two-person rule lets one person
move too, and so does our own cost beyond what one may decide about a vendor's bill; the database
refuses them otherwise (migrations 0020 and 0024).
"""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

import msgspec

from accounts.types import Actor
from billing.models import ApprovalRequest, UsageCorrection, UsageEvent
from billing.services import approvals, audit, corrections, operators, tokens, two_persons
from billing.services.adjustments import Grounds
from billing.services.correction_facts import Facts, change_to, standing
from billing.services.corrections import Change
from billing.services.tokens import Outcome
from billing.types import ApprovalKind, CorrectionReason, Right, UnitClass
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


def why_two(*, operator_id: UUID, change: Change) -> str:
    """Why a correction needs a second person, "" when it does not."""
    if change.billed_cost > 0:
        return "It charges a customer more."
    if change.billed_cost < 0:
        return two_persons.why_two(operator_id=operator_id, amount_usd=-change.billed_cost)
    limit = two_persons.rule().reconciliation_usd
    if abs(change.estimated_cost or money.ZERO) > limit:
        return f"It books more than {limit.normalize():f} USD."
    return ""


def ask(
    *,
    actor: Actor,
    event_id: UUID,
    facts: Facts,
    reason: CorrectionReason,
    grounds: Grounds,
    token: UUID,
) -> Outcome:
    """Bring an event to new facts, once per token, alone or with a second person.

    Raises Forbidden, NotFound, InvalidInput for facts that are so already, CorrectionUnpriced,
    and what `corrections.correct` raises.
    """
    operators.authorise(actor, Right.ADJUST)
    event = _event(event_id)

    def work() -> Outcome:
        change = change_to(standing(event), facts)
        if why_two(operator_id=actor.user_id, change=change):
            asked = request(
                actor=actor, event_id=event_id, change=change, reason=reason, grounds=grounds
            )
            return Outcome(is_done=False, target=str(asked.pk))
        row = corrections.correct(
            event_id=event_id,
            change=change,
            reason=reason,
            key=f"hand:{token}",
            created_by_id=actor.user_id,
            approved_by_id=actor.user_id,
            note=grounds.reason,
        )
        _note(actor, event, row, grounds)
        return Outcome(is_done=True, target=str(row.pk))

    return tokens.once(actor=actor, token=token, work=work)


def _note(actor: Actor, event: UsageEvent, row: UsageCorrection, grounds: Grounds) -> None:
    audit.record(
        action="usage.corrected",
        actor=actor,
        customer_id=event.customer_id,
        target=row.pk,
        details={
            "event_id": str(event.pk),
            "correction": row.reason,
            "estimated_cost": _text(row.delta_estimated_cost),
            "billed_cost": _text(row.delta_billed_cost),
            "reason": grounds.reason,
            "ticket": grounds.ticket,
        },
    )


def _event(event_id: UUID) -> UsageEvent:
    event = UsageEvent.objects.filter(pk=event_id).first()
    if event is None:
        raise NotFound
    return event


def request(
    *,
    actor: Actor,
    event_id: UUID,
    change: Change,
    reason: CorrectionReason,
    grounds: Grounds,
) -> ApprovalRequest:
    """Ask for a correction of an event. Raises Forbidden, NotFound."""
    event = _event(event_id)
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
