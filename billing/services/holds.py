"""Money reserved for calls before they leave: a batch is one function call and one transaction.

The functions `billing_reserve`, `billing_extend` and `billing_release` decide in the database,
where the wallets are; their answers become values and errors here. Units: USD, seconds.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog
from django.db import DatabaseError, connection, transaction
from django.db.models.functions import Now

from billing import errors, estimates
from billing.models import Hold
from billing.services import customers, ledger, usage
from billing.services.retries import retried
from billing.types import (
    Accuracy,
    BillingMode,
    Held,
    HoldState,
    Journal,
    Operation,
    Outcome,
    ProviderCallRecord,
    Reservation,
    Settlement,
    TokenCount,
    UnitClass,
)
from ideplatform.kit import clock, money
from ideplatform.kit.db import database_now
from ideplatform.kit.errors import PlatformError
from ideplatform.kit.failpoints import hit
from ideplatform.observability import metrics

log = structlog.get_logger(__name__)

SWEEP_BATCH: Final = 500
KEPT: Final = timedelta(days=30)
PUT_OFF: Final = timedelta(minutes=10)
RETRY_AFTER_S: Final = 5
Answer = Held | PlatformError


def reserve(call: Reservation) -> Held:
    """Reserve what a call may cost, in its wallet and every budget that counts it.

    Idempotent on `(request_id, attempt)`: a repeated call is answered with the hold it had.
    Raises PaymentRequired (402) with `limit_source`, `limit_id` and `remedy_hint`.
    """
    return _only(reserve_many([call]))


def reserve_many(calls: Sequence[Reservation]) -> list[Answer]:
    """The same for several calls in one transaction, in the order of their arrival.

    A refusal leaves its neighbours alone. Joins the caller's transaction when there is one.
    """
    if not calls:
        return []
    rows = retried(functools.partial(_reserved, msgspec.json.encode(_asked(calls)).decode()))
    if rows[0]["refusal"] == "no_customer":
        customers.ensure(call.organization_id for call in calls)
        rows = retried(functools.partial(_reserved, msgspec.json.encode(_asked(calls)).decode()))
    return [_held(row) for row in sorted(rows, key=lambda row: int(row["ord"]))]


def extend(*, hold_id: UUID, amount_usd: Decimal) -> None:
    """Raise what a running call reserves to `amount_usd` in total; raises as `reserve` does.

    Refused, the call must be cut off. HoldEnded when the hold is no longer live.
    """
    answer = extend_many([(hold_id, amount_usd)])[0]
    if answer is not None:
        raise answer


def extend_many(wanted: Sequence[tuple[UUID, Decimal]]) -> list[PlatformError | None]:
    """The same for several holds in one transaction."""
    asked = [
        {"ord": number, "hold_id": hold_id, "amount": money.text(money.quantise(amount))}
        for number, (hold_id, amount) in enumerate(wanted, start=1)
    ]
    document = msgspec.json.encode(asked).decode()
    rows = retried(functools.partial(_rows, "SELECT * FROM billing_extend(%s::jsonb)", [document]))
    hit("after_extend")
    ordered = sorted(rows, key=lambda row: int(row["ord"]))
    return [None if row["refusal"] is None else _refusal(row) for row in ordered]


def dispatch_many(hold_ids: Sequence[UUID], *, lease_s: int) -> int:
    """Commit that pending calls are about to leave; how many of them were still pending."""
    with connection.cursor() as cursor:
        cursor.execute(_DISPATCH, [lease_s, list(hold_ids)])
        hit("after_dispatch")
        return int(cursor.rowcount)


def renew(running: Sequence[Journal], *, lease_s: int) -> None:
    """Extend the leases of running calls and write down how far they are, in one statement."""
    columns = (
        [one.request_id for one in running],
        [one.attempt for one in running],
        [one.output_bytes for one in running],
        [_usage_json(one.usage) for one in running],
        [one.service_tier[:30] for one in running],
        [one.served_model[:250] for one in running],
        [one.provider_request_id[:200] for one in running],
        [one.first_token_ms for one in running],
    )
    with connection.cursor() as cursor:
        cursor.execute(_RENEW, [lease_s, *columns])
    hit("after_renew")


@transaction.atomic
def finish(
    *,
    request_id: UUID,
    attempt: int,
    tokens: TokenCount,
    accuracy: Accuracy,
    served_model: str,
    service_tier: str,
    provider_request_id: str,
) -> Settlement:
    """Settle a call that was answered whole, for a runner that died before it could, by its count.

    A call that is settled already, by its runner or the sweep, is answered as it stands, also long
    after its hold was forgotten. Raises HoldEnded for a call that was never dispatched here.
    """
    held = Hold.objects.select_for_update(no_key=True)
    hold = held.filter(request_id=request_id, attempt=attempt).first()
    settled = usage.found(request_id=request_id, attempt=attempt)
    if settled is not None:
        return settled
    if hold is None:
        raise errors.HoldEnded
    left = _recovered(hold, database_now())
    answered = dataclasses.replace(
        left,
        tokens=tokens,
        accuracy=accuracy,
        outcome=Outcome.OK,
        status=200,
        served_model=served_model or left.served_model,
        service_tier=service_tier,
        provider_request_id=provider_request_id,
    )
    return usage.settle(answered)


def void_many(hold_ids: Sequence[UUID]) -> int:
    """Give back what calls reserved that were not sent, or that the vendor does not bill."""
    released = _release(hold_ids, HoldState.VOIDED)
    hit("after_void")
    return released


def sweep() -> int:
    """End holds whose lease is over; how many dispatched calls were recovered.

    Pending ones are released, dispatched ones settled by their journal, estimated. Lots past their
    day expire, and old ended holds are forgotten. Safe to run anywhere and at once.
    """
    while _expire_batch() == SWEEP_BATCH:
        continue
    recovered = 0
    while count := _recover_batch():
        recovered += count
        if count < SWEEP_BATCH:
            break
    ledger.expire_lots()
    Hold.objects.filter(ended_at__lt=Now() - KEPT).delete()
    if recovered:
        log.warning("holds.recovered", count=recovered)
    return recovered


@transaction.atomic
def _expire_batch() -> int:
    dead = Hold.objects.filter(state=HoldState.PENDING, expires_at__lt=Now()).order_by("pk")
    found = dead.select_for_update(skip_locked=True, no_key=True).values_list("pk", flat=True)
    released = _release(list(found[:SWEEP_BATCH]), HoldState.EXPIRED)
    hit("in_expiry")
    return released


@transaction.atomic
def _recover_batch() -> int:
    """Settle the oldest dead calls; how many. One that cannot be settled is put off."""
    dead = Hold.objects.filter(state=HoldState.DISPATCHED, expires_at__lt=Now())
    rows = dead.order_by("expires_at").select_for_update(skip_locked=True, no_key=True)
    now = database_now()
    recovered = sum(_recover(row, now) for row in rows[:SWEEP_BATCH])
    hit("in_sweep")
    return recovered


def _recover(hold: Hold, now: datetime) -> bool:
    try:
        with transaction.atomic():
            usage.settle(_recovered(hold, now))
            connection.check_constraints()  # deferred ones too, while it is this row's fault
    except (DatabaseError, PlatformError, msgspec.ValidationError):
        log.exception("hold.recovery_failed", request_id=str(hold.request_id))
        Hold.objects.filter(pk=hold.pk).update(expires_at=Now() + PUT_OFF)
        return False
    metrics.hold_leaks_total.inc()
    return True


def _recovered(hold: Hold, now: datetime) -> ProviderCallRecord:
    """The call of a dead runner as its journal tells it."""
    tokens = estimates.tokens(
        input_bytes=hold.input_bytes,
        output_bytes=hold.output_bytes,
        input_ratio=hold.input_ratio,
        output_ratio=hold.output_ratio,
        reported=_usage_of(hold.last_usage),
    )
    return ProviderCallRecord(
        request_id=hold.request_id,
        attempt=hold.attempt,
        organization_id=hold.customer_id,
        workspace_id=hold.workspace_id,
        user_id=hold.user_id,
        api_key_id=hold.api_key_id,
        agent_id=hold.agent_id,
        conversation_id=hold.conversation_id,
        run_id=hold.run_id,
        provider_id=hold.provider_id,
        provider_type=hold.provider_type,
        billing_mode=BillingMode(hold.billing_mode),
        operation=Operation(hold.operation),
        requested_model=hold.model,
        served_model=hold.served_model or hold.model,
        tokens=tokens,
        status=200 if hold.first_token_ms is not None else 0,
        accuracy=Accuracy.ESTIMATED,
        outcome=Outcome.CRASH_RECOVERED,
        occurred_at=hold.dispatched_at or hold.created_at,
        completed_at=now,
        service_tier=hold.service_tier,
        provider_request_id=hold.provider_request_id,
        first_token_ms=hold.first_token_ms,
        is_streamed=hold.operation == Operation.CHAT,
    )


def _asked(calls: Sequence[Reservation]) -> list[dict[str, object]]:
    return [
        msgspec.to_builtins(call)
        | {
            "ord": number,
            "bound": money.text(call.quote.bound),
            "expected": money.text(call.quote.expected),
        }
        for number, call in enumerate(calls, start=1)
    ]


def _reserved(document: str) -> list[dict[str, Any]]:
    rows = _rows("SELECT * FROM billing_reserve(%s::jsonb)", [document])
    hit("after_reserve")
    return rows


def _rows(sql: str, params: Sequence[Any]) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _held(row: dict[str, Any]) -> Answer:
    if row["refusal"] is not None:
        return _refusal(row)
    return Held(
        hold_id=row["hold_id"],
        state=HoldState(row["state"]),
        amount_usd=row["amount"],
        dispatched_at=row["dispatched_at"],
        is_replay=row["is_replay"],
    )


_REFUSALS: Final[dict[str, tuple[type[PlatformError], str]]] = {
    "insufficient_credits": (errors.InsufficientCredits, "top_up"),
    "budget_exceeded": (errors.BudgetExceeded, "raise_budget"),
    "exceeds_limit": (errors.ExceedsLimit, "shorten_call"),
    "in_flight_exhausted": (errors.InFlightExhausted, "wait"),
    "customer_parked": (errors.CustomerParked, "contact_support"),
    "customer_closed": (errors.CustomerClosed, "contact_support"),
    "hold_ended": (errors.HoldEnded, "call_again"),
}


def _refusal(row: dict[str, Any]) -> PlatformError:
    """The 402 of a refused hold: what limits it, and what would help."""
    kind, hint = _REFUSALS[row["refusal"]]
    metrics.holds_refused_total.labels(code=kind.code).inc()
    extra: dict[str, Any] = {
        "limit_source": row["limit_source"],
        "limit_id": str(row["limit_id"]),
        "remedy_hint": hint,
    }
    if row["resets_at"] is not None:
        extra["resets_at"] = clock.rfc3339(row["resets_at"])
    if row["degrade_to"]:
        extra |= {"degrade_to": row["degrade_to"], "remedy_hint": "use_other_model"}
    if row["approval_id"] is not None:
        extra |= {"approval_id": str(row["approval_id"]), "remedy_hint": "ask_for_approval"}
    waits = RETRY_AFTER_S if issubclass(kind, errors.InFlightExhausted) else None
    return kind(retry_after_s=waits, **extra)


def _release(hold_ids: Sequence[UUID], ending: HoldState) -> int:
    if not hold_ids:
        return 0
    rows = retried(
        functools.partial(
            _rows, "SELECT billing_release(%s, %s) AS released", [list(hold_ids), ending.value]
        )
    )
    released: int = rows[0]["released"]
    return released


def _only(answers: list[Answer]) -> Held:
    (answer,) = answers
    if isinstance(answer, PlatformError):
        raise answer
    return answer


def _usage_json(tokens: TokenCount | None) -> str | None:
    return None if tokens is None else msgspec.json.encode(tokens.quantities).decode()


def _usage_of(value: object) -> TokenCount | None:
    return TokenCount(msgspec.convert(value, dict[UnitClass, int])) if value else None


_DISPATCH: Final = """
UPDATE billing_holds SET state = 'dispatched', dispatched_at = clock_timestamp(),
    expires_at = clock_timestamp() + make_interval(secs => %s)
WHERE id = ANY(%s) AND state = 'pending'
"""
_RENEW: Final = """
UPDATE billing_holds AS held SET
    expires_at = clock_timestamp() + make_interval(secs => %s),
    output_bytes = news.output_bytes,
    last_usage = news.last_usage::jsonb,
    service_tier = news.service_tier,
    served_model = news.served_model,
    provider_request_id = news.provider_request_id,
    first_token_ms = news.first_token_ms
FROM unnest(%s::uuid[], %s::int[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::text[],
            %s::int[])
    AS news(request_id, attempt, output_bytes, last_usage, service_tier, served_model,
            provider_request_id, first_token_ms)
WHERE held.request_id = news.request_id AND held.attempt = news.attempt
  AND held.state = 'dispatched'
"""
