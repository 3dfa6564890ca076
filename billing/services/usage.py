"""Usage becomes money: one event per dispatched provider call, priced exactly, written once.

The event, the end of its hold, budgets, ledger and lots are one function call in the database
(`billing_settle`, migration 0008) and one transaction with the facts that tell of them.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog
from django.db import connection, transaction

from billing import pricing
from billing.errors import RequestReused
from billing.models import UsageEvent
from billing.pricing import PriceBook, PricedUsage
from billing.services import customers, prices
from billing.services.prices import Tariff
from billing.services.retries import retried
from billing.types import (
    Accuracy,
    BillingMode,
    ProviderCallRecord,
    Settlement,
    Source,
    TokenCount,
    UnitClass,
)
from ideplatform.kit import ids, money
from ideplatform.kit.errors import PlatformError
from ideplatform.kit.failpoints import hit
from ideplatform.observability import metrics
from ideplatform.outbox import facts

log = structlog.get_logger(__name__)

TOPIC: Final = "usage.settled"
ALERTS: Final = "budget.reached"
_NAME_LENGTH: Final = 200
_SHORT_LENGTH: Final = 30
Answer = Settlement | PlatformError


def settle(record: ProviderCallRecord) -> Settlement:
    """Record a dispatched call and charge its customer, exactly once.

    Units: tokens as the provider reported them; USD, exact, rounded half even once, to 12 places,
    on the total. Ends the call's hold; a cost above it is posted as well, as overrun. Idempotent
    on `(request_id, attempt)`: a repeated record changes nothing.
    Raises RequestReused if the same pair arrives with other facts.
    Source: provider usage fields, billing/data/usage_normalisation_vectors.json.
    """
    answer = settle_many([record])[0]
    if isinstance(answer, PlatformError):
        raise answer
    return answer


def settle_many(
    records: Sequence[ProviderCallRecord], *, source: Source = Source.GATEWAY
) -> list[Answer]:
    """The same for several calls in one transaction; an answer or a refusal for each, in order.

    One refused record leaves its neighbours alone. Joins the caller's transaction when there is
    one; otherwise a clash with another transaction is retried three times.
    """
    if not records:
        return []
    return retried(functools.partial(_settle, records, source))


def found(*, request_id: UUID, attempt: int) -> Settlement | None:
    """How a call was settled, or None while it is not."""
    event = UsageEvent.objects.filter(request_id=request_id, attempt=attempt).first()
    if event is None:
        return None
    return Settlement(
        event_id=event.pk,
        request_id=request_id,
        attempt=attempt,
        cost_usd=event.estimated_cost,
        billed_usd=event.billed_cost,
        tokens=_tokens(event.quantities),
        accuracy=Accuracy(event.accuracy),
        already_settled=True,
    )


@transaction.atomic
def _settle(records: Sequence[ProviderCallRecord], source: Source) -> list[Answer]:
    tariff = prices.tariff()
    events = [_event(tariff, record, source) for record in records]
    stored = _stored(events)
    new = [event for event in events if stored[_key(event)].event_id == event["id"]]
    facts.publish_many(TOPIC, [_fact(event) for event in new])
    told = next(iter(stored.values())).alerts
    if told:
        facts.publish_many(ALERTS, [(str(alert["alert_id"]), alert) for alert in told])
    transaction.on_commit(lambda: _count(new, stored))
    hit("in_settlement")
    return _answers(events, stored)


def _answers(events: Sequence[_Event], stored: Mapping[_Key, _Stored]) -> list[Answer]:
    """The first of equal new records settled, those after it repeated it."""
    pairs = ((event, stored[_key(event)]) for event in events)
    return [_answer(event, row, is_new=row.event_id == event["id"]) for event, row in pairs]


_Event = dict[str, Any]
"""A row of `usage_events` as JSON; `payload_hash` in PostgreSQL's hexadecimal form."""
_Key = tuple[str, int]


class _Stored(msgspec.Struct, frozen=True):
    """What the database has of a call after settling it."""

    event_id: str
    payload_hash: bytes
    provider_request_id: str
    estimated_cost: Decimal | None
    billed_cost: Decimal
    quantities: dict[str, int]
    balance: Decimal
    overrun: Decimal | None
    alerts: list[dict[str, Any]]


def _event(tariff: Tariff, record: ProviderCallRecord, source: Source) -> _Event:
    name, priced = _priced(tariff.book, record)
    tokens = record.tokens
    billed = _billed(tariff, record, priced)
    is_posted = record.billing_mode is BillingMode.PLATFORM and bool(priced.cost or billed)
    return {
        "id": str(ids.new()),
        "request_id": str(record.request_id),
        "attempt": record.attempt,
        "customer_id": record.organization_id,
        "provider_id": record.provider_id,
        "user_id": record.user_id,
        "workspace_id": record.workspace_id,
        "api_key_id": record.api_key_id,
        "agent_id": record.agent_id,
        "conversation_id": record.conversation_id,
        "run_id": record.run_id,
        "operation": record.operation,
        "model": _clean(name),
        "requested_model": _clean(record.requested_model),
        "served_model": _clean(record.served_model),
        "provider_type": record.provider_type,
        "service_tier": _clean(record.service_tier, _SHORT_LENGTH),
        "region": _clean(record.region, _SHORT_LENGTH),
        "provider_request_id": _clean(record.provider_request_id),
        "billing_mode": record.billing_mode,
        "source": source,
        "accuracy": record.accuracy,
        "outcome": record.outcome,
        "status": record.status,
        "tokens_input": tokens.input,
        "tokens_output": tokens.output,
        "tokens_cache_read": tokens.cache_read,
        "tokens_cache_write": tokens.cache_write,
        "tokens_reasoning": tokens.reasoning,
        "quantities": {name.value: count for name, count in tokens.quantities.items() if count},
        "lines": [pricing.line_json(line) for line in priced.lines],
        "price_version_id": tariff.book.version_id,
        "estimated_cost": None if priced.cost is None else money.text(priced.cost),
        "billed_cost": money.text(billed),
        "saved_by_cache": money.text(priced.saved_by_cache),
        "currency": "USD",
        "occurred_at": record.occurred_at,
        "completed_at": record.completed_at,
        "first_token_ms": record.first_token_ms,
        "duration_ms": record.duration_ms,
        "streamed": record.is_streamed,
        "txn_id": ids.new() if is_posted else None,
        "payload_hash": "\\x" + _digest(record).hex(),
        "trace_id": "",
    }


def _billed(tariff: Tariff, record: ProviderCallRecord, priced: PricedUsage) -> Decimal:
    """What the customer pays. An estimate of a call that never answered is our loss, not theirs."""
    never_answered = record.status == 0 and record.accuracy is Accuracy.ESTIMATED
    if never_answered:
        return money.ZERO
    terms = tariff.terms(
        customer_id=record.organization_id,
        provider_type=record.provider_type,
        model=record.requested_model,
        at=record.occurred_at,
    )
    return pricing.billed(priced, record.billing_mode, terms=terms, tokens=record.tokens.total)


def _priced(book: PriceBook, record: ProviderCallRecord) -> tuple[str, PricedUsage]:
    """The cost by the model that was served, else by the one asked for, and the name that counted.

    Servers that speak a vendor's dialect may answer with a file name of their own.
    """
    names = dict.fromkeys(filter(None, (record.served_model, record.requested_model)))
    answers = [(name, book.price_usage(_model(record, name), record.tokens)) for name in names]
    known = (answer for answer in answers if answer[1].cost is not None)
    return next(known, answers[0])


def _model(record: ProviderCallRecord, name: str) -> pricing.Model:
    return pricing.Model(
        provider_type=record.provider_type,
        name=name,
        at=record.occurred_at,
        service_tier=record.service_tier,
        region=record.region,
    )


def _clean(text: str, length: int = _NAME_LENGTH) -> str:
    """Text that a server chose, fit for a column: a fact is never lost over its label."""
    return text.replace("\0", "")[:length]


def _digest(record: ProviderCallRecord) -> bytes:
    """What makes a repeated record the same one: every fact except how long it took."""
    facts_of_call = [
        record.organization_id,
        record.workspace_id,
        record.user_id,
        record.api_key_id,
        record.agent_id,
        record.conversation_id,
        record.run_id,
        record.provider_id,
        record.provider_type,
        record.billing_mode,
        record.operation,
        record.requested_model,
        record.served_model,
        record.service_tier,
        record.region,
        record.provider_request_id,
        sorted((name.value, count) for name, count in record.tokens.quantities.items() if count),
        record.status,
        record.accuracy,
        record.outcome,
        record.occurred_at,
    ]
    return hashlib.sha256(msgspec.json.encode(facts_of_call)).digest()


def alerted(period_ids: Sequence[UUID]) -> list[dict[str, Any]]:
    """Steps that budget periods have reached and nobody was told of; each comes back once."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT billing_alert(%s::uuid[])", [list(period_ids)])
        (told,) = cursor.fetchone() or ("[]",)
    alerts: list[dict[str, Any]] = _json(told)
    return alerts


def _stored(events: Sequence[_Event]) -> dict[_Key, _Stored]:
    """Settle the events, of equal ones the first; what is stored, by request and attempt."""
    events = list({_key(event): event for event in reversed(events)}.values())
    rows = _rows(events)
    if rows[0]["ord"] == 0:  # a customer is missing
        customers.ensure(event["customer_id"] for event in events)
        rows = _rows(events)
    stored = {_key(events[row["ord"] - 1]): _row(row) for row in rows}
    renamed = [
        str(event["provider_id"])
        for event in events
        if (row := stored[_key(event)]).event_id == event["id"]
        and row.provider_request_id != event["provider_request_id"]
    ]
    if renamed:
        log.warning(
            "provider_request_id.repeated", provider_ids=sorted(set(renamed)), events=len(renamed)
        )
    return stored


def _rows(events: Sequence[_Event]) -> list[dict[str, Any]]:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT * FROM billing_settle(%s::jsonb)", [msgspec.json.encode(events).decode()]
        )
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _row(row: dict[str, Any]) -> _Stored:
    return _Stored(
        event_id=str(row["event_id"]),
        payload_hash=bytes(row["payload_hash"]),
        provider_request_id=row["provider_request_id"],
        estimated_cost=row["estimated_cost"],
        billed_cost=row["billed_cost"],
        quantities=_json(row["quantities"]),
        balance=row["balance"],
        overrun=row["overrun"],
        alerts=_json(row["alerts"]),
    )


def _json(value: Any) -> Any:
    """Django's connections hand out jsonb as text."""
    return msgspec.json.decode(value) if isinstance(value, str | bytes) else value


def _key(event: _Event) -> _Key:
    return event["request_id"], event["attempt"]


def _answer(event: _Event, stored: _Stored, *, is_new: bool) -> Answer:
    if stored.payload_hash.hex() != event["payload_hash"][2:]:
        return RequestReused(request_id=event["request_id"], attempt=event["attempt"])
    return Settlement(
        event_id=UUID(stored.event_id),
        request_id=UUID(event["request_id"]),
        attempt=event["attempt"],
        cost_usd=stored.estimated_cost,
        billed_usd=stored.billed_cost,
        tokens=_tokens(stored.quantities),
        accuracy=Accuracy(event["accuracy"]),  # part of the digest, so the stored one's as well
        already_settled=not is_new,
        balance_usd=stored.balance,
    )


def _tokens(quantities: Mapping[str, int]) -> TokenCount:
    return TokenCount({UnitClass(name): count for name, count in quantities.items()})


def _fact(event: _Event) -> tuple[str, dict[str, facts.Value]]:
    payload: dict[str, facts.Value] = {
        "event_id": event["id"],
        "organization_id": str(event["customer_id"]),
        "request_id": event["request_id"],
        "attempt": event["attempt"],
    }
    return event["id"], payload


def _count(events: Iterable[_Event], stored: Mapping[_Key, _Stored]) -> None:
    # The graphs' counters are binary; this is the one place where money leaves Decimal.
    for event in events:
        row = stored[_key(event)]
        provider = event["provider_type"]
        for name, count in event["quantities"].items():
            metrics.llm_tokens_total.labels(provider=provider, type=name).inc(count)
        if row.estimated_cost is None:
            metrics.unpriced_events_total.inc()
        else:
            usd = int(row.estimated_cost.scaleb(12)) / 10**12
            metrics.llm_cost_total.labels(provider=provider).inc(usd)
        if row.overrun:
            metrics.hold_overrun_usd_total.inc(int(row.overrun.scaleb(12)) / 10**12)
