"""Closing months: each customer's statement is written once, and then never changes."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import Final
from uuid import UUID

import structlog
from django.db import connection, transaction

from billing.models import Customer, Statement
from billing.models.ledger import WALLETS
from billing.selectors import statements as reads
from ideplatform.kit import clock

log = structlog.get_logger(__name__)

# What was begun in a month and is committed this much later is on the next month's statement.
GRACE: Final = timedelta(minutes=15)
_BATCH: Final = 500


def close_due(*, now: datetime | None = None) -> int:
    """Write the statements of all months that have ended; how many there were.

    Safe to run anywhere and at once: a customer's months are closed one after the other, once.
    """
    moment = now or clock.now()
    until = reads.first_of(moment - GRACE)
    closed = 0
    for customer_id in _behind(until):
        closed += _close(customer_id, until, moment)
    if closed:
        log.info("statements.closed", count=closed)
    return closed


def _behind(until: date) -> Iterator[UUID]:
    """Customers with a month before `until` that is not closed, each once."""
    last: UUID | None = None
    while True:
        with connection.cursor() as cursor:
            cursor.execute(_BEHIND, [until, last, last, until, _BATCH])
            found = [customer_id for (customer_id,) in cursor.fetchall()]
        yield from found
        if len(found) < _BATCH:
            return
        last = found[-1]


@transaction.atomic
def _close(customer_id: UUID, until: date, now: datetime) -> int:
    customer = Customer.objects.select_for_update(no_key=True).get(pk=customer_id)
    latest = Statement.objects.filter(customer=customer).order_by("month").last()
    month = reads.first_of(customer.created_at) if latest is None else reads.after(latest.month)
    closed = 0
    while month < until:
        _write(reads.figures(customer_id, month, now=now))
        month = reads.after(month)
        closed += 1
    return closed


def _write(found: reads.Figures) -> None:
    wallet_seq, promo_seq = (found.numbers[kind] for kind in WALLETS)
    Statement.objects.create(
        customer_id=found.customer_id,
        month=found.month,
        opening=found.opening,
        lines=reads.plain_lines(found),
        closing=found.closing,
        wallet_seq=wallet_seq,
        promo_seq=promo_seq,
        sha256=reads.digest(found),
    )


_BEHIND: Final = """
SELECT c.organization_id FROM billing_customers c
WHERE date_trunc('month', c.created_at AT TIME ZONE 'UTC') < %s
    AND (%s::uuid IS NULL OR c.organization_id > %s::uuid)
    AND NOT EXISTS (SELECT 1 FROM billing_statements s WHERE s.customer_id = c.organization_id
                    AND s.month = (%s::date - interval '1 month')::date)
ORDER BY c.organization_id LIMIT %s
"""
