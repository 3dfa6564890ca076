"""Dispatched calls as rows: opened before the first byte leaves, settled exactly once.

Whoever runs a call renews its lease; a call whose runner died is settled by the sweep, estimated
from its journal. The row is locked first, so the runner and the sweep cannot both settle it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

import msgspec
import structlog
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.db.models.functions import Now

from billing.services import usage
from billing.types import (
    Accuracy,
    BillingMode,
    Operation,
    Outcome,
    ProviderCallRecord,
    Settlement,
    TokenCount,
    UnitClass,
)
from ideplatform.kit.db import database_now
from ideplatform.kit.errors import PlatformError
from providers.adapters import Ratio, Route
from providers.errors import CallRepeated
from providers.models import ProviderCall
from providers.services import estimation
from providers.types import Call, CallState, EmbedCall

log = structlog.get_logger(__name__)

LEASE_S: Final = 30
RENEW_S: Final = 10
SWEEP_BATCH: Final = 500
KEPT: Final = timedelta(days=7)
PUT_OFF: Final = timedelta(minutes=10)


@dataclass(slots=True, kw_only=True)
class Progress:
    """What is known of a running call; its runner changes it, the renewal writes it down."""

    request_id: UUID
    attempt: int
    input_bytes: int
    output_bytes: int = 0
    usage: TokenCount | None = None
    service_tier: str = "standard"
    served_model: str = ""
    provider_request_id: str = ""
    first_token_ms: int | None = None


def open_call(
    *, call: Call | EmbedCall, route: Route, requested_model: str, progress: Progress
) -> datetime:
    """Commit that the call is about to leave; the database's time of dispatch.

    Raises CallRepeated (409) when this request id and attempt left before.
    """
    context = call.context
    row = ProviderCall(
        request_id=call.request_id,
        attempt=call.attempt,
        provider_id=route.provider_id,
        provider_type=route.provider_type,
        billing_mode=route.billing_mode,
        operation=Operation.EMBED if isinstance(call, EmbedCall) else Operation.CHAT,
        model=route.model,
        requested_model=requested_model,
        organization_id=context.organization_id,
        workspace_id=context.workspace_id,
        user_id=context.user_id,
        api_key_id=context.api_key_id,
        agent_id=context.agent_id,
        conversation_id=context.conversation_id,
        run_id=context.run_id,
        input_ratio=route.ratio.input,
        output_ratio=route.ratio.output,
        input_bytes=progress.input_bytes,
        expires_at=Now() + timedelta(seconds=LEASE_S),
    )
    try:
        with transaction.atomic():
            row.save(force_insert=True)
    except IntegrityError as conflict:
        if getattr(conflict.__cause__, "sqlstate", "") != "23505":  # unique_violation
            raise
        raise CallRepeated from None
    row.refresh_from_db(fields=["dispatched_at"])
    return row.dispatched_at


def renew(held: Sequence[Progress]) -> None:
    """Extend the leases of running calls and write down how far they are, in one statement."""
    columns = (
        [one.request_id for one in held],
        [one.attempt for one in held],
        [one.output_bytes for one in held],
        [_usage_json(one.usage) for one in held],
        [one.served_model[:250] for one in held],
        [one.provider_request_id[:200] for one in held],
        [one.first_token_ms for one in held],
    )
    with connection.cursor() as cursor:
        cursor.execute(_RENEW, [LEASE_S, *columns])


@transaction.atomic
def settle(record: ProviderCallRecord) -> Settlement | None:
    """Write the usage event and close the call; None when the sweep was there before."""
    key = (record.request_id, record.attempt)
    row = ProviderCall.objects.select_for_update().get(pk=key)
    if row.state == CallState.SETTLED:
        return None
    settlement = usage.settle(record)
    ProviderCall.objects.filter(pk=key).update(state=CallState.SETTLED, settled_at=Now())
    return settlement


def sweep() -> int:
    """Settle calls whose runner died, and forget old settled rows; how many were settled.

    Safe to run anywhere and at once in several processes.
    """
    settled = 0
    while count := _sweep_batch():
        settled += count
        if count < SWEEP_BATCH:
            break
    ProviderCall.objects.filter(
        state=CallState.SETTLED, expires_at__lt=Now() - KEPT, settled_at__lt=Now() - KEPT
    ).delete()
    if settled:
        log.warning("provider_calls.recovered", count=settled)
    return settled


@transaction.atomic
def _sweep_batch() -> int:
    """Settle the oldest dead calls; how many. One that cannot be settled is put off."""
    dead = ProviderCall.objects.filter(state=CallState.DISPATCHED, expires_at__lt=Now())
    rows = list(dead.select_for_update(skip_locked=True).order_by("expires_at")[:SWEEP_BATCH])
    now = database_now()
    return sum(_recover(row, now) for row in rows)


def _recover(row: ProviderCall, now: datetime) -> bool:
    mine = ProviderCall.objects.filter(pk=row.pk)
    try:
        with transaction.atomic():
            usage.settle(_recovered(row, now))
            mine.update(state=CallState.SETTLED, settled_at=Now())
            connection.check_constraints()  # deferred ones too, while it is this row's fault
    except (DatabaseError, PlatformError):
        log.exception("provider_call.recovery_failed", request_id=str(row.request_id))
        mine.update(expires_at=Now() + PUT_OFF)
        return False
    return True


def _recovered(row: ProviderCall, now: datetime) -> ProviderCallRecord:
    tokens = estimation.estimate(
        input_bytes=row.input_bytes,
        output_bytes=row.output_bytes,
        ratio=Ratio(input=row.input_ratio, output=row.output_ratio),
        reported=_usage_of(row.last_usage),
    )
    return ProviderCallRecord(
        request_id=row.request_id,
        attempt=row.attempt,
        organization_id=row.organization_id,
        workspace_id=row.workspace_id,
        user_id=row.user_id,
        api_key_id=row.api_key_id,
        agent_id=row.agent_id,
        conversation_id=row.conversation_id,
        run_id=row.run_id,
        provider_id=row.provider_id,
        provider_type=row.provider_type,
        billing_mode=BillingMode(row.billing_mode),
        operation=Operation(row.operation),
        requested_model=row.model,
        served_model=row.served_model or row.model,
        tokens=tokens,
        status=200 if row.first_token_ms is not None else 0,
        accuracy=Accuracy.ESTIMATED,
        outcome=Outcome.CRASH_RECOVERED,
        occurred_at=row.dispatched_at,
        completed_at=now,
        provider_request_id=row.provider_request_id,
        first_token_ms=row.first_token_ms,
        is_streamed=row.operation == Operation.CHAT,
    )


def _usage_json(tokens: TokenCount | None) -> str | None:
    if tokens is None:
        return None
    return msgspec.json.encode(tokens.quantities).decode()


def _usage_of(value: object) -> TokenCount | None:
    return TokenCount(msgspec.convert(value, dict[UnitClass, int])) if value else None


_RENEW: Final = """
UPDATE provider_calls AS held SET
    expires_at = now() + make_interval(secs => %s),
    output_bytes = news.output_bytes,
    last_usage = news.last_usage::jsonb,
    served_model = news.served_model,
    provider_request_id = news.provider_request_id,
    first_token_ms = news.first_token_ms
FROM unnest(%s::uuid[], %s::int[], %s::bigint[], %s::text[], %s::text[], %s::text[], %s::int[])
    AS news(request_id, attempt, output_bytes, last_usage, served_model, provider_request_id,
            first_token_ms)
WHERE held.request_id = news.request_id AND held.attempt = news.attempt
  AND held.state = 'dispatched'
"""
