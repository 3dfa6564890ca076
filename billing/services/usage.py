"""Usage becomes money: one event per dispatched provider call, priced exactly, written once."""

from __future__ import annotations

import hashlib
import random
import time
from collections.abc import Iterable, Sequence
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog
from django.db import OperationalError, connection, transaction
from django.db.models import Field

from billing import pricing
from billing.errors import RequestReused
from billing.models import Customer, UsageEvent
from billing.pricing import PriceBook, PricedUsage
from billing.services import prices
from billing.types import ProviderCallRecord, Settlement, Source, TokenCount, UnitClass
from ideplatform.kit import ids
from ideplatform.kit.errors import PlatformError
from ideplatform.observability import metrics
from ideplatform.outbox import facts

log = structlog.get_logger(__name__)

TOPIC: Final = "usage.settled"
_RETRIES: Final = 3
_CLASHES: Final = frozenset({"40P01", "40001"})  # deadlock, serialisation failure
_NAME_LENGTH: Final = 200
_SHORT_LENGTH: Final = 30
Answer = Settlement | PlatformError


def settle(record: ProviderCallRecord) -> Settlement:
    """Record a dispatched call and what it cost, exactly once.

    Units: tokens as the provider reported them; USD, exact, rounded half even once, to 12 places,
    on the total. Idempotent on `(request_id, attempt)`: a repeated record changes nothing.
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
    one; otherwise a deadlock is retried three times.
    """
    if not records:
        return []
    if connection.in_atomic_block:
        return _settle(records, source)
    for attempt in range(_RETRIES):
        try:
            return _settle(records, source)
        except OperationalError as clash:
            if getattr(clash.__cause__, "sqlstate", None) not in _CLASHES:
                raise
            time.sleep(random.randint(5, 50) * (attempt + 1) / 1_000)
    return _settle(records, source)


@transaction.atomic
def _settle(records: Sequence[ProviderCallRecord], source: Source) -> list[Answer]:
    book = prices.current()
    events = [_event(book, record, source) for record in records]
    _ensure_customers({event.customer_id for event in events})
    _drop_gone_links(events)
    stored = _insert(events)
    settled = [event for event in events if stored[_key(event)].pk == event.pk]
    facts.publish_many(TOPIC, [_fact(event) for event in settled])
    transaction.on_commit(lambda: _count(settled))
    return [_answer(event, stored[_key(event)]) for event in events]


def _event(book: PriceBook, record: ProviderCallRecord, source: Source) -> UsageEvent:
    name, priced = _priced(book, record)
    tokens = record.tokens
    return UsageEvent(
        id=ids.new(),
        request_id=record.request_id,
        attempt=record.attempt,
        customer_id=record.organization_id,
        provider_id=record.provider_id,
        user_id=record.user_id,
        workspace_id=record.workspace_id,
        api_key_id=record.api_key_id,
        agent_id=record.agent_id,
        conversation_id=record.conversation_id,
        run_id=record.run_id,
        operation=record.operation,
        model=_clean(name),
        requested_model=_clean(record.requested_model),
        served_model=_clean(record.served_model),
        provider_type=record.provider_type,
        service_tier=_clean(record.service_tier, _SHORT_LENGTH),
        region=_clean(record.region, _SHORT_LENGTH),
        provider_request_id=_clean(record.provider_request_id),
        billing_mode=record.billing_mode,
        source=source,
        accuracy=record.accuracy,
        outcome=record.outcome,
        status=record.status,
        tokens_input=tokens.input,
        tokens_output=tokens.output,
        tokens_cache_read=tokens.cache_read,
        tokens_cache_write=tokens.cache_write,
        tokens_reasoning=tokens.reasoning,
        quantities={name.value: count for name, count in tokens.quantities.items() if count},
        lines=[pricing.line_json(line) for line in priced.lines],
        price_version_id=book.version_id,
        estimated_cost=priced.cost,
        billed_cost=pricing.billed(priced.cost, record.billing_mode),
        saved_by_cache=priced.saved_by_cache,
        occurred_at=record.occurred_at,
        completed_at=record.completed_at,
        first_token_ms=record.first_token_ms,
        duration_ms=record.duration_ms,
        streamed=record.is_streamed,
        payload_hash=_digest(record),
    )


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


def _ensure_customers(organizations: set[UUID]) -> None:
    known = Customer.objects.filter(pk__in=organizations).values_list("pk", flat=True)
    missing = sorted(organizations - set(known))
    Customer.objects.bulk_create(
        [Customer(organization_id=organization) for organization in missing],
        ignore_conflicts=True,
    )


def _drop_gone_links(events: Sequence[UsageEvent]) -> None:
    """A workspace or user purged while the call ran leaves the event behind, without the link."""
    workspaces = _present("workspaces", {event.workspace_id for event in events})
    users = _present("users", {event.user_id for event in events})
    for event in events:
        event.workspace_id = event.workspace_id if event.workspace_id in workspaces else None
        event.user_id = event.user_id if event.user_id in users else None


_PRESENT: Final = {
    "workspaces": "SELECT id FROM workspaces WHERE id = ANY(%s) ORDER BY id FOR KEY SHARE",
    "users": "SELECT id FROM users WHERE id = ANY(%s) ORDER BY id FOR KEY SHARE",
}


def _present(table: str, wanted: Iterable[UUID | None]) -> set[UUID]:
    """Which rows exist; they cannot be deleted before this transaction ends."""
    wanted_ids = [one for one in wanted if one is not None]
    if not wanted_ids:
        return set()
    with connection.cursor() as cursor:
        cursor.execute(_PRESENT[table], [wanted_ids])
        return {row[0] for row in cursor.fetchall()}


def _insert(events: Sequence[UsageEvent]) -> dict[tuple[UUID, int], UsageEvent]:
    """Write what is new, and answer what is stored for each key.

    In one order, so that two batches wait for each other instead of deadlocking.
    """
    ordered = sorted(events, key=_key)
    stored = _written(ordered)
    missing = [event for event in ordered if _key(event) not in stored]
    stored |= _stored(missing)
    repeated = [event for event in missing if _key(event) not in stored]
    if repeated:
        _name_no_request(repeated)
        stored |= _written(repeated)
        stored |= _stored([event for event in repeated if _key(event) not in stored])
    return stored


def _written(events: Sequence[UsageEvent]) -> dict[tuple[UUID, int], UsageEvent]:
    """Insert by one statement and one parameter; the events that were new, by key.

    `bulk_create` renders and parses a placeholder per value: three quarters of the time.
    """
    rows = [{field.column: _in_json(field, event) for field in _COLUMNS} for event in events]
    with connection.cursor() as cursor:
        cursor.execute(_INSERT, [msgspec.json.encode(rows).decode()])
        fresh = {row[0] for row in cursor.fetchall()}
    return {_key(event): event for event in events if event.pk in fresh}


_COLUMNS: Final = [
    field
    for field in UsageEvent._meta.concrete_fields  # noqa: SLF001  (Django's public Meta API)
    if field.name != "created_at"  # the database's
]
_NAMES: Final = ", ".join(f'"{field.column}"' for field in _COLUMNS)
_INSERT: Final = f"""
INSERT INTO usage_events ({_NAMES})
SELECT {_NAMES} FROM json_populate_recordset(NULL::usage_events, %s::json)
ON CONFLICT DO NOTHING RETURNING id
"""  # noqa: S608  (the names of our own columns)


def _in_json(field: Field[Any, Any], event: UsageEvent) -> object:
    value = getattr(event, field.attname)
    return "\\x" + value.hex() if isinstance(value, bytes) else value


def _name_no_request(events: Sequence[UsageEvent]) -> None:
    """Some servers give every answer one id; the call is a fact all the same."""
    for event in events:
        event.provider_request_id = ""
    log.warning(
        "provider_request_id.repeated",
        provider_ids=sorted({str(event.provider_id) for event in events}),
        events=len(events),
    )


def _stored(events: Sequence[UsageEvent]) -> dict[tuple[UUID, int], UsageEvent]:
    rows = UsageEvent.objects.filter(request_id__in={event.request_id for event in events}).only(
        "request_id", "attempt", "payload_hash", "estimated_cost", "billed_cost", "quantities"
    )
    wanted = {_key(event) for event in events}
    return {_key(row): row for row in rows if _key(row) in wanted}


def _key(event: UsageEvent) -> tuple[UUID, int]:
    return event.request_id, event.attempt


def _answer(event: UsageEvent, stored: UsageEvent) -> Answer:
    if bytes(stored.payload_hash) != event.payload_hash:
        return RequestReused(request_id=str(event.request_id), attempt=event.attempt)
    return Settlement(
        event_id=stored.pk,
        request_id=stored.request_id,
        attempt=stored.attempt,
        cost_usd=stored.estimated_cost,
        billed_usd=stored.billed_cost,
        tokens=TokenCount({UnitClass(name): n for name, n in stored.quantities.items()}),
        already_settled=stored.pk != event.pk,
    )


def _fact(event: UsageEvent) -> tuple[str, dict[str, facts.Value]]:
    payload: dict[str, facts.Value] = {
        "event_id": str(event.pk),
        "organization_id": str(event.customer_id),
        "request_id": str(event.request_id),
        "attempt": event.attempt,
    }
    return str(event.pk), payload


def _count(events: Iterable[UsageEvent]) -> None:
    for event in events:
        for name, count in event.quantities.items():
            metrics.llm_tokens_total.labels(provider=event.provider_type, type=name).inc(count)
        if event.estimated_cost is None:
            metrics.unpriced_events_total.inc()
        else:
            # The graph's counter is binary; this is the one place where money leaves Decimal.
            usd = int(event.estimated_cost.scaleb(12)) / 10**12
            metrics.llm_cost_total.labels(provider=event.provider_type).inc(usd)
