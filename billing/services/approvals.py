"""Two persons: one asks, another one approves, and what was asked for is done in that moment.

Approving and applying are one transaction: there is nothing approved that waits, and nothing is
applied that was not seen. The database holds the same rules (migration 0019).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models.functions import Now
from django.utils.module_loading import import_string

from accounts.services import access
from accounts.types import Actor
from billing.errors import ApprovalClosed, ApprovalStale, SelfApproval
from billing.models import ApprovalRequest
from billing.services import audit, operators
from billing.types import ApprovalKind, ApprovalState, Right
from ideplatform.kit.db import database_now
from ideplatform.kit.errors import Forbidden, NotFound

log = structlog.get_logger(__name__)
Value = str | int | bool | None
Handler = Callable[[ApprovalRequest], str]
"""Does what was approved, in the approval's transaction; answers with what that made."""

REPLACED: Final = "Replaced by an edited request."


@dataclass(frozen=True, slots=True)
class _Rule:
    """Who may ask, who may approve, and what of `billing` then happens."""

    asks: Right
    approves: Right
    handler: str


_RULES: Final = {
    ApprovalKind.ADJUSTMENT: _Rule(
        Right.ADJUST, Right.APPROVE, "services.adjustments.apply_adjustment"
    ),
    ApprovalKind.PROMO: _Rule(Right.PROMO, Right.APPROVE, "services.adjustments.apply_promo"),
    ApprovalKind.REVERSAL: _Rule(
        Right.ADJUST, Right.APPROVE, "services.adjustments.apply_reversal"
    ),
    ApprovalKind.LIMIT: _Rule(Right.LIMIT, Right.APPROVE, "services.adjustments.apply_limit"),
    ApprovalKind.REFUND: _Rule(Right.REFUND, Right.APPROVE, "stripe.refunds.apply_approved"),
    ApprovalKind.PRICES: _Rule(
        Right.DRAFT_PRICES, Right.APPROVE_PRICES, "services.price_reviews.apply_approved"
    ),
    ApprovalKind.MARKUP: _Rule(
        Right.DRAFT_PRICES, Right.APPROVE_PRICES, "services.markup_reviews.apply_approved"
    ),
    ApprovalKind.RECONCILIATION: _Rule(
        Right.REVIEW, Right.APPROVE, "services.reconcile.apply_approved"
    ),
    ApprovalKind.CORRECTION: _Rule(
        Right.ADJUST, Right.APPROVE, "services.correction_reviews.apply_approved"
    ),
}
"""The handlers are named, not imported: those of Stripe stand above this module."""


@transaction.atomic
def propose(
    *,
    actor: Actor,
    kind: ApprovalKind,
    payload: Mapping[str, Value],
    reason: str,
    customer_id: UUID | None = None,
    ticket: str = "",
    note: str = "",
) -> ApprovalRequest:
    """Ask for something that takes a second person; they have 72 hours.

    `payload` is JSON, amounts as decimal strings: what the kind's handler will do, and nothing
    else. Raises Forbidden.
    """
    operators.authorise(actor, _RULES[kind].asks)
    request = ApprovalRequest.objects.create(
        kind=kind,
        customer_id=customer_id,
        payload=dict(payload),
        reason=reason,
        ticket=ticket,
        note=note,
        proposer_id=actor.user_id,
    )
    request.refresh_from_db()
    _note("approval.requested", actor, request)
    return request


@transaction.atomic
def approve(*, actor: Actor, request_id: UUID, payload_hash: str) -> ApprovalRequest:
    """Agree to what was shown (its hash in hexadecimal), which is done at once.

    The approver is another person, with a session that proved itself in the last 15 minutes.
    Raises NotFound, Forbidden, SelfApproval, ApprovalClosed, ApprovalStale,
    ReauthenticationRequired, and what doing it raises; then nothing has happened.
    """
    request = _decidable(actor, request_id)
    if request.proposer_id == actor.user_id:
        log.warning("approval.refused", request_id=str(request.pk), cause="self")
        raise SelfApproval
    if digest(request) != payload_hash:
        raise ApprovalStale
    access.require_recent(actor)
    rows = ApprovalRequest.objects.filter(pk=request.pk)
    rows.update(
        state=ApprovalState.APPROVED,
        approver_id=actor.user_id,
        approver_session_id=access.session_of(actor),
        decided_at=Now(),
    )
    request.refresh_from_db()
    handler: Handler = import_string(f"billing.{_RULES[ApprovalKind(request.kind)].handler}")
    rows.update(state=ApprovalState.APPLIED, result=handler(request))
    request.refresh_from_db()
    _note("approval.applied", actor, request)
    return request


@transaction.atomic
def reject(*, actor: Actor, request_id: UUID, note: str = "") -> ApprovalRequest:
    """Refuse a request, or withdraw one's own. Raises NotFound, Forbidden, ApprovalClosed."""
    request = _decidable(actor, request_id)
    is_own = request.proposer_id == actor.user_id
    _close(request, note=note, approver_id=None if is_own else actor.user_id)
    _note("approval.withdrawn" if is_own else "approval.rejected", actor, request)
    return request


@transaction.atomic
def amend(
    *, actor: Actor, request_id: UUID, payload: Mapping[str, Value], reason: str
) -> ApprovalRequest:
    """Ask for something else instead: the request as it was can no longer be approved.

    Raises NotFound, Forbidden for another one's request, ApprovalClosed.
    """
    request = _decidable(actor, request_id)
    if request.proposer_id != actor.user_id:
        raise Forbidden
    _close(request, note=REPLACED, approver_id=None)
    _note("approval.replaced", actor, request)
    return propose(
        actor=actor,
        kind=ApprovalKind(request.kind),
        payload=payload,
        reason=reason,
        customer_id=request.customer_id,
        ticket=request.ticket,
        note=request.note,
    )


@transaction.atomic
def void(*, kind: ApprovalKind, facts: Mapping[str, Value], note: str) -> int:
    """Close the open requests of such facts: what they were about has changed."""
    found = ApprovalRequest.objects.select_for_update().filter(
        kind=kind, state=ApprovalState.OPEN, payload__contains=dict(facts)
    )
    for request in found:
        _close(request, note=note, approver_id=None)
        _note("approval.voided", None, request)
    return len(found)


@transaction.atomic
def expire() -> int:
    """Close the requests whose 72 hours are over; how many there were."""
    due = ApprovalRequest.objects.select_for_update(skip_locked=True).filter(
        state=ApprovalState.OPEN, expires_at__lte=database_now()
    )
    requests = list(due)
    for request in requests:
        rows = ApprovalRequest.objects.filter(pk=request.pk)
        rows.update(state=ApprovalState.EXPIRED, decided_at=Now())
        _note("approval.expired", None, request)
    return len(requests)


def seen(actor: Actor, request_id: UUID) -> ApprovalRequest:
    """A request, for whoever may look at the console. Raises Forbidden, NotFound."""
    operators.authorise(actor, Right.VIEW)
    rows = ApprovalRequest.objects.select_related("proposer", "approver", "customer__organization")
    request = rows.filter(pk=request_id).first()
    if request is None:
        raise NotFound
    return request


def digest(request: ApprovalRequest) -> str:
    """The hash of what is asked for, as the approver's form carries it."""
    return bytes(request.payload_hash).hex()


def may_approve(actor: Actor, request: ApprovalRequest) -> bool:
    """Whether the approving button is the actor's to see."""
    rule = _RULES[ApprovalKind(request.kind)]
    return request.proposer_id != actor.user_id and operators.may(actor, rule.approves)


def _decidable(actor: Actor, request_id: UUID) -> ApprovalRequest:
    """The request, locked; whoever asks may withdraw it, whoever approves may refuse it."""
    request = ApprovalRequest.objects.select_for_update().filter(pk=request_id).first()
    if request is None:
        raise NotFound
    rule = _RULES[ApprovalKind(request.kind)]
    operators.authorise(actor, rule.asks if request.proposer_id == actor.user_id else rule.approves)
    if request.state != ApprovalState.OPEN or request.expires_at <= database_now():
        raise ApprovalClosed
    return request


def _close(request: ApprovalRequest, *, note: str, approver_id: UUID | None) -> None:
    ApprovalRequest.objects.filter(pk=request.pk).update(
        state=ApprovalState.REJECTED,
        approver_id=approver_id,
        decision_note=note[:300],
        decided_at=Now(),
    )
    request.refresh_from_db()


def _note(action: str, actor: Actor | None, request: ApprovalRequest) -> None:
    details: dict[str, Any] = {
        "kind": request.kind,
        "payload_hash": digest(request),
        "reason": request.reason,
        "ticket": request.ticket,
    }
    audit.record(
        action=action,
        actor=actor,
        customer_id=request.customer_id,
        target=request.pk,
        details=details,
    )
