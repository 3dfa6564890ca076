"""What people decide about a line, and the money that follows.

Accepting books our own cost (`provider_cogs`, `provider_payable`) and touches no customer.
Adjusting corrects events: what was charged too much is credited, what was missed is our cost.
Above the two-person limit of reconciliation (50 USD) another operator approves first. Accounts
that customers pay themselves move no money.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models.functions import Now

from accounts.types import Actor
from billing.comparison import Finding
from billing.errors import LineDecided, LineUnsettled, NothingToAdjust
from billing.models import ApprovalRequest, LedgerAccount, LedgerTxn, ReconLine, UsageEvent
from billing.selectors import reconciliation as reach
from billing.services import approvals, audit, corrections, ledger, operators, two_persons
from billing.services.corrections import Change
from billing.services.ledger import Leg
from billing.services.reconcile import adjusting
from billing.services.reconcile.compared import finding_of, lock_account
from billing.types import (
    UNDECIDED,
    AccountKind,
    ApprovalKind,
    ApprovalState,
    BillingMode,
    CorrectionReason,
    LineAction,
    LineClass,
    LineStatus,
    Right,
    TxnKind,
)
from ideplatform.kit import money

log = structlog.get_logger(__name__)

_STATUSES: Final = {
    LineAction.ACCEPT: LineStatus.ACCEPTED,
    LineAction.IGNORE: LineStatus.IGNORED,
    LineAction.ADJUST: LineStatus.ADJUSTED,
    LineAction.DISPUTE: LineStatus.DISPUTED,
}
_REASONS: Final = {
    LineClass.PRICE_DRIFT: CorrectionReason.PRICE_ERROR,
    LineClass.UNPRICED: CorrectionReason.PRICE_ERROR,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The line as it is now; `approval_id` when it waits for a second person."""

    line: ReconLine
    approval_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _By:
    """Who decides: one person, or one who asked and one who approved."""

    creator_id: UUID
    approver_id: UUID
    note: str


@transaction.atomic
def decide(*, actor: Actor, run_id: UUID, line_id: UUID, action: LineAction, note: str) -> Decided:
    """Accept, ignore, adjust or dispute a line.

    What moves more than one person may waits as a request for another one, and the line stays open.
    Raises NotFound, Forbidden, LineDecided, LineUnsettled, NothingToAdjust.
    """
    reach.line(actor, run_id, line_id)
    operators.authorise(actor, Right.REVIEW)
    line = _open_line(line_id, action)
    amount = abs(_amount(line, action))
    if amount > two_persons.rule().reconciliation_usd:
        return Decided(line=line, approval_id=_proposed(actor, line, action, amount, note))
    approvals.void(
        kind=ApprovalKind.RECONCILIATION,
        facts={"line_id": str(line.pk)},
        note="The line was decided otherwise.",
    )
    _apply(line, action, _By(creator_id=actor.user_id, approver_id=actor.user_id, note=note))
    audit.record(
        action="recon_line.decided",
        actor=actor,
        target=line.pk,
        details={"action": action.value, "class": line.line_class, "note": note},
    )
    return Decided(line=line, approval_id=None)


def apply_approved(request: ApprovalRequest) -> str:
    """Do what a second person approved, in the approval's transaction; the line's id.

    Raises LineDecided when a later comparison replaced the line meanwhile.
    """
    payload, approver_id = request.payload, request.approver_id
    if request.state != ApprovalState.APPROVED or approver_id is None:
        raise LineDecided
    action = LineAction(payload["action"])
    line = _open_line(UUID(payload["line_id"]), action)
    line.approval_id = request.pk
    by = _By(creator_id=request.proposer_id, approver_id=approver_id, note=str(payload["note"]))
    _apply(line, action, by)
    return str(line.pk)


def _proposed(
    actor: Actor, line: ReconLine, action: LineAction, amount: Decimal, note: str
) -> UUID:
    facts = {"line_id": str(line.pk)}
    approvals.void(kind=ApprovalKind.RECONCILIATION, facts=facts, note="Replaced by a new request.")
    request = approvals.propose(
        actor=actor,
        kind=ApprovalKind.RECONCILIATION,
        payload={
            **facts,
            "run_id": str(line.run_id),
            "action": action.value,
            "amount_usd": money.text(money.quantise(amount)),
            "note": note,
        },
        reason=(note or f"{action.value} {line.line_class} of {line.day}")[:300],
    )
    ReconLine.objects.filter(pk=line.pk).update(approval_id=request.pk)
    line.approval_id = request.pk
    return request.pk


def _open_line(line_id: UUID, action: LineAction) -> ReconLine:
    """The line, locked while it can be decided so."""
    lock_account(ReconLine.objects.values_list("provider_id", flat=True).get(pk=line_id))
    line = ReconLine.objects.select_for_update().get(pk=line_id)
    if line.status not in UNDECIDED or line.is_dry_run:
        raise LineDecided
    if action is LineAction.DISPUTE and line.status == LineStatus.DISPUTED:
        raise LineDecided
    moves = action in (LineAction.ACCEPT, LineAction.ADJUST)
    if moves and line.line_class == LineClass.LATE:
        raise LineUnsettled
    return line


def _amount(line: ReconLine, action: LineAction) -> Decimal:
    """What the decision moves, USD."""
    moves = action in (LineAction.ACCEPT, LineAction.ADJUST)
    is_paid_by_us = line.run.billing_mode == BillingMode.PLATFORM
    return finding_of(line).unbooked if moves and is_paid_by_us else money.ZERO


def _apply(line: ReconLine, action: LineAction, by: _By) -> None:
    found = finding_of(line)
    if action is LineAction.ADJUST:
        _adjust(line, found, by)
    txn = _book(line, by) if action is LineAction.ACCEPT else None
    line.status, line.note, line.decided_by_id = _STATUSES[action], by.note, by.creator_id
    line.txn = txn
    ReconLine.objects.filter(pk=line.pk).update(
        status=line.status,
        note=line.note,
        decided_by_id=line.decided_by_id,
        decided_at=Now(),
        approval_id=line.approval_id,
        txn=txn,
    )
    line.refresh_from_db()
    log.info("recon_line.decided", line_id=str(line.pk), action=action.value)


def _book(line: ReconLine, by: _By) -> LedgerTxn | None:
    """What the vendor charges otherwise than we booked is our own cost."""
    amount = _amount(line, LineAction.ACCEPT)
    if not amount:
        return None
    payable = f"{AccountKind.PROVIDER_PAYABLE}:{line.run.provider_type}"
    LedgerAccount.objects.bulk_create([LedgerAccount(kind=payable)], ignore_conflicts=True)
    return ledger.post(
        kind=TxnKind.TRUE_UP,
        key=f"recon:{line.pk}",
        legs=[
            Leg(kind=AccountKind.PROVIDER_COGS, amount_usd=-amount),
            Leg(kind=payable, amount_usd=amount),
        ],
        actor_id=by.approver_id,
        reason=by.note or line.line_class,
        links={"recon_line": str(line.pk)},
    )


def _adjust(line: ReconLine, found: Finding, by: _By) -> None:
    """Bring our events to the vendor's figures; only ever in the customer's favour."""
    steps = adjusting.steps(line, found)
    if not steps:
        raise NothingToAdjust
    is_paid_by_us = line.run.billing_mode == BillingMode.PLATFORM
    reason = _REASONS.get(LineClass(line.line_class), CorrectionReason.LATE_REPORT)
    events = UsageEvent.objects.in_bulk([step.event_id for step in steps])
    for step in steps:
        event = events[step.event_id]
        credit = _credit(event, step.cost) if is_paid_by_us else money.ZERO
        corrections.correct(
            event_id=event.pk,
            change=Change(
                estimated_cost=step.cost, billed_cost=-credit, quantities=step.quantities
            ),
            reason=CorrectionReason.ESTIMATE_TRUED_UP if step.is_estimated else reason,
            key=f"recon:{line.pk}:{event.pk}",
            created_by_id=by.creator_id,
            approved_by_id=by.approver_id,
            note=by.note,
            recon_line_id=line.pk,
        )


def _credit(event: UsageEvent, cost: Decimal) -> Decimal:
    """What the customer gets back of a cost that falls: the same part of what they paid."""
    before = corrections.effective(event)
    if cost >= 0 or not before.estimated_cost:
        return money.ZERO
    part = money.EXACT.divide(
        money.EXACT.multiply(before.billed_cost, -cost), before.estimated_cost
    )
    return min(money.quantise(part), before.billed_cost)
