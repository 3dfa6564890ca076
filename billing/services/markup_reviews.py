"""A change of what customers pay beside the vendor's price: asked for, explained, approved.

It always takes two persons, in the database too (migration 0021). A rule never changes: a new one
begins in the moment in which the one for the same calls ends. Units: percent, USD a token or call.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec
import structlog
from django.db.backends.postgresql.psycopg_any import DateTimeTZRange
from django.db.models import Q, QuerySet

from accounts.types import Actor
from billing.errors import MarkupConflict, MarkupJump
from billing.models import ApprovalRequest, Customer, MarkupRule
from billing.services import approvals, markup_slips, operators, tokens
from billing.services.adjustments import Grounds
from billing.services.tokens import Outcome
from billing.types import ApprovalKind, MarkupKind, Right
from ideplatform.kit import clock, money
from ideplatform.kit.db import database_now
from ideplatform.kit.errors import NotFound, Pointer

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Markup:
    """What a rule says, of which calls. None, "" or no `model_glob` is any."""

    kind: MarkupKind
    value: Decimal
    priority: int = 0
    customer_id: UUID | None = None
    provider_type: str = ""
    model_glob: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A markup beside the one it replaces, and what is odd about it; "" where nothing is."""

    was: MarkupRule | None
    warning: str
    is_blocked: bool


class _Payload(msgspec.Struct, frozen=True):
    """A rule that begins, or with `value` None one that ends; `ended_id` is the rule that does."""

    ended_id: UUID | None
    starts_at: datetime | None
    ends_at: datetime | None
    kind: MarkupKind | None = None
    value: Decimal | None = None
    priority: int = 0
    provider_type: str = ""
    model_glob: str = ""


def judge(markup: Markup) -> Judged:
    """What a reviewer is told of a markup."""
    was = _standing(markup)
    facts = markup.kind, markup.value, was.value if was else None
    return Judged(
        was=was,
        warning=markup_slips.explain(*facts),
        is_blocked=markup_slips.is_slip(*facts),
    )


def is_open(rule: MarkupRule) -> bool:
    """Whether a rule has an end that can still be moved."""
    return rule.effective.upper is None or rule.effective.upper > database_now()


def ask_to_set(
    *,
    actor: Actor,
    markup: Markup,
    starts_at: datetime | None,
    ends_at: datetime | None,
    accepts_jump: bool,
    grounds: Grounds,
    token: UUID,
) -> Outcome:
    """Ask a second person for a markup, from the moment of approval or from a later one.

    The rule in force for exactly the same calls ends then. Raises Forbidden, NotFound for an
    unknown customer, MarkupConflict, and MarkupJump, which explains what has to be mended, or
    agreed to by `accepts_jump`.
    """
    operators.authorise(actor, Right.DRAFT_PRICES)
    _check_times(starts_at, ends_at)
    if markup.customer_id and not Customer.objects.filter(pk=markup.customer_id).exists():
        raise NotFound
    judged = judge(markup)
    if judged.is_blocked or (judged.warning and not accepts_jump):
        fault = Pointer(pointer="/value", detail=judged.warning)
        raise MarkupJump(judged.warning, errors=[fault])
    if judged.was and judged.was.value == markup.value and judged.was.effective.upper == ends_at:
        raise MarkupConflict("This markup is in force already.")
    planned = _overlapping(markup, starts_at or database_now(), ends_at)
    if judged.was is not None:
        planned = planned.exclude(pk=judged.was.pk)
    if planned.exists():
        raise MarkupConflict("Another rule for the same calls is planned already.")
    payload: dict[str, approvals.Value] = {
        "kind": markup.kind.value,
        "value": money.text(markup.value),
        "was": money.text(judged.was.value) if judged.was else None,
        "priority": markup.priority,
        "provider_type": markup.provider_type,
        "model_glob": markup.model_glob,
    }
    return _asked(actor, judged.was, payload, (starts_at, ends_at), grounds, token, markup)


def ask_to_end(
    *, actor: Actor, rule_id: UUID, ends_at: datetime | None, grounds: Grounds, token: UUID
) -> Outcome:
    """Ask a second person to end a rule, at the moment of approval or later.

    Raises Forbidden, NotFound, MarkupConflict for a rule that has ended.
    """
    operators.authorise(actor, Right.DRAFT_PRICES)
    rule = MarkupRule.objects.filter(pk=rule_id).first()
    if rule is None:
        raise NotFound
    _check_times(None, ends_at)
    if not is_open(rule):
        raise MarkupConflict("The rule has ended already.")
    payload: dict[str, approvals.Value] = {"value": None, "was": money.text(rule.value)}
    return _asked(actor, rule, payload, (None, ends_at), grounds, token, rule)


def apply_approved(request: ApprovalRequest) -> str:
    """Handler of `markup`. Raises MarkupConflict when it would begin or end in the past."""
    asked = msgspec.convert(request.payload, _Payload)
    approved_at = request.decided_at
    ends_at = asked.ends_at if asked.value is not None else asked.ends_at or approved_at
    starts_at = asked.starts_at or approved_at
    for moment in (asked.starts_at, asked.ends_at):
        if moment is not None and approved_at is not None and moment < approved_at:
            raise MarkupConflict("The moment that was asked for has passed.")
    if asked.ended_id is not None:
        _end(asked.ended_id, ends_at if asked.value is None else starts_at)
    if asked.value is None or asked.kind is None:
        return f"markup {asked.ended_id} ends"
    wanted = Markup(
        kind=asked.kind,
        value=asked.value,
        priority=asked.priority,
        customer_id=request.customer_id,
        provider_type=asked.provider_type,
        model_glob=asked.model_glob,
    )
    if _overlapping(wanted, starts_at, ends_at).exists():
        raise MarkupConflict("Another rule for the same calls stands in this time.")
    rule = MarkupRule.objects.create(
        kind=wanted.kind,
        value=wanted.value,
        priority=wanted.priority,
        customer_id=wanted.customer_id,
        provider_type=wanted.provider_type,
        model_glob=wanted.model_glob,
        effective=DateTimeTZRange(starts_at, ends_at),
        note=request.reason,
        created_by_id=request.proposer_id,
    )
    log.info("markup.set", rule_id=str(rule.pk), kind=rule.kind, value=money.text(rule.value))
    return f"markup {rule.pk}"


def _asked(
    actor: Actor,
    ended: MarkupRule | None,
    payload: dict[str, approvals.Value],
    times: tuple[datetime | None, datetime | None],
    grounds: Grounds,
    token: UUID,
    of: Markup | MarkupRule,
) -> Outcome:
    starts_at, ends_at = times
    whole = payload | {
        "ended_id": str(ended.pk) if ended else None,
        "starts_at": clock.rfc3339(starts_at) if starts_at else None,
        "ends_at": clock.rfc3339(ends_at) if ends_at else None,
    }

    def work() -> Outcome:
        request = approvals.propose(
            actor=actor,
            kind=ApprovalKind.MARKUP,
            payload=whole,
            reason=grounds.reason,
            customer_id=of.customer_id,
            ticket=grounds.ticket,
            note=grounds.note,
        )
        return Outcome(is_done=False, target=str(request.pk))

    return tokens.once(actor=actor, token=token, work=work)


def _check_times(starts_at: datetime | None, ends_at: datetime | None) -> None:
    now = database_now()
    if any(moment is not None and moment < now for moment in (starts_at, ends_at)):
        raise MarkupConflict("Markups begin and end now or later, never in the past.")
    if starts_at and ends_at and ends_at <= starts_at:
        raise MarkupConflict("A markup ends after it begins.")


def _of_the_same(markup: Markup) -> Q:
    """The rules that the database lets stand one after the other only."""
    return Q(
        kind=markup.kind,
        priority=markup.priority,
        customer=markup.customer_id,
        provider_type=markup.provider_type,
        model_glob=markup.model_glob,
    )


def _standing(markup: Markup) -> MarkupRule | None:
    """The rule for the same calls that is in force now."""
    rows = MarkupRule.objects.filter(_of_the_same(markup), effective__contains=database_now())
    return rows.first()


def _overlapping(
    markup: Markup, starts_at: datetime | None, ends_at: datetime | None
) -> QuerySet[MarkupRule]:
    window = DateTimeTZRange(starts_at, ends_at)
    return MarkupRule.objects.filter(_of_the_same(markup), effective__overlap=window)


def _end(rule_id: UUID, moment: datetime | None) -> None:
    rule = MarkupRule.objects.select_for_update().get(pk=rule_id)
    upper = rule.effective.upper
    if moment is None or rule.effective.lower >= moment or (upper and upper <= moment):
        raise MarkupConflict("The rule ends before, or begins after that moment.")
    rule.effective = DateTimeTZRange(rule.effective.lower, moment)
    rule.save(update_fields=["effective"])
