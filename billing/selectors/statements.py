"""Monthly statements: what a customer had, what moved, what is left. USD, UTC months.

A month's entries are a range of each wallet's own numbers, which have no gaps and grow in the
order of commits. So opening and lines always make the closing, and no entry is on two months.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec
from django.db import connection

from accounts.selectors import personal_organization_id
from accounts.services import access
from accounts.types import Actor, Permission
from billing.models import Customer, Statement
from billing.models.ledger import WALLETS
from ideplatform.kit import clock, money, paging
from ideplatform.kit.errors import NotFound
from ideplatform.kit.paging import Page

_MONTH: Final = re.compile(r"20[0-9]{2}-(0[1-9]|1[0-2])")
_NUMBERS: Final = dict.fromkeys(WALLETS, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What moved of one kind: usage by model, other transactions together. Signed USD."""

    kind: str
    provider_type: str
    model: str
    count: int
    tokens_input: int
    tokens_output: int
    amount: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """A month's money. `numbers` are the last entries of the wallets that it covers."""

    customer_id: UUID
    month: date
    opening: Decimal
    lines: tuple[Line, ...]
    closing: Decimal
    numbers: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class MonthStatement:
    """A statement as it is read; `sha256` (hexadecimal) and `closed_at` once it is closed."""

    figures: Figures
    sha256: str | None
    closed_at: datetime | None


def statement(actor: Actor, month: date, organization_id: UUID | None = None) -> MonthStatement:
    """The statement of a month: closed as it was written, an open month as it stands.

    Without an organization, of the actor's own. Raises NotFound (also for months to come and
    before the organization had any money), Forbidden.
    """
    chosen = _chosen(actor, organization_id)
    row = Statement.objects.filter(customer=chosen, month=month).first()
    if row is not None:
        return MonthStatement(
            figures=stored(row), sha256=bytes(row.sha256).hex(), closed_at=row.closed_at
        )
    now = clock.now()
    customer = Customer.objects.filter(pk=chosen).first()
    first = first_of(now if customer is None else customer.created_at)
    if not first <= month <= first_of(now):
        raise NotFound
    return MonthStatement(figures=figures(chosen, month, now=now), sha256=None, closed_at=None)


def statements_page(
    actor: Actor,
    organization_id: UUID | None = None,
    *,
    cursor: str = "",
    limit: int = paging.DEFAULT_LIMIT,
) -> Page[Statement]:
    """Closed statements, the latest first; raises NotFound, Forbidden."""
    chosen = _chosen(actor, organization_id)
    rows = Statement.objects.filter(customer=chosen)
    return paging.page(
        rows, order=("-month", "-id"), scope=f"statements:{chosen}", cursor=cursor, limit=limit
    )


def read_month(text: str) -> date:
    """`2026-11`; what is no month names nothing. Raises NotFound."""
    if not _MONTH.fullmatch(text):
        raise NotFound
    return date.fromisoformat(f"{text}-01")


def first_of(moment: datetime) -> date:
    """The month of a moment, by its first day in UTC."""
    return moment.astimezone(UTC).date().replace(day=1)


def after(month: date) -> date:
    return (month + timedelta(days=31)).replace(day=1)


def figures(customer_id: UUID, month: date, *, now: datetime) -> Figures:
    """What a month's entries come to, by the ledger; follows the statement before it."""
    before = (
        Statement.objects.filter(customer=customer_id, month__lt=month).order_by("month").last()
    )
    begins = _NUMBERS if before is None else _numbers_of(before)
    if before is None or after(before.month) != month:
        begins = _boundary(customer_id, month, at_least=begins)
    ends = _boundary(customer_id, after(month), at_least=begins)
    if month == first_of(now):
        ends = _boundary(customer_id, None, at_least=begins)
    return Figures(
        customer_id=customer_id,
        month=month,
        opening=_balance(customer_id, begins),
        lines=_lines(customer_id, begins, ends),
        closing=_balance(customer_id, ends),
        numbers=ends,
    )


def digest(found: Figures) -> bytes:
    """SHA-256 of everything a statement says, the same whenever it is computed again."""
    said = [
        str(found.customer_id),
        f"{found.month:%Y-%m}",
        money.text(money.quantise(found.opening)),
        [list(_plain(line).values()) for line in found.lines],
        money.text(money.quantise(found.closing)),
        [found.numbers[kind] for kind in WALLETS],
    ]
    return hashlib.sha256(msgspec.json.encode(said)).digest()


def plain_lines(found: Figures) -> list[dict[str, str | int]]:
    """The lines as the table keeps them: amounts as decimal strings."""
    return [_plain(line) for line in found.lines]


def _chosen(actor: Actor, organization_id: UUID | None) -> UUID:
    chosen = organization_id or actor.key_organization_id or personal_organization_id(actor)
    access.authorise(actor, Permission.BILLING_VIEW, chosen)
    return chosen


def _plain(line: Line) -> dict[str, str | int]:
    return {
        "kind": line.kind,
        "provider_type": line.provider_type,
        "model": line.model,
        "count": line.count,
        "tokens_input": line.tokens_input,
        "tokens_output": line.tokens_output,
        "amount": money.text(money.quantise(line.amount)),
    }


def stored(row: Statement) -> Figures:
    """What a closed statement says, by itself."""
    return Figures(
        customer_id=row.customer_id,
        month=row.month,
        opening=row.opening,
        lines=tuple(Line(**(line | {"amount": Decimal(line["amount"])})) for line in row.lines),
        closing=row.closing,
        numbers=_numbers_of(row),
    )


def _numbers_of(row: Statement) -> dict[str, int]:
    return dict(zip(WALLETS, (row.wallet_seq, row.promo_seq), strict=True))


def _boundary(
    customer_id: UUID, end: date | None, *, at_least: Mapping[str, int]
) -> dict[str, int]:
    """The last entry of each wallet that was begun before a month (None: the very last)."""
    moment = datetime.combine(end, time.min, tzinfo=UTC) if end is not None else None
    found = dict(_fetched(_BOUNDARY, [moment, moment, customer_id]))
    return {kind: max(at_least[kind], found.get(kind) or 0) for kind in WALLETS}


def _balance(customer_id: UUID, numbers: Mapping[str, int]) -> Decimal:
    """What the wallets held after some entries."""
    ((total,),) = _fetched(_BALANCE, [customer_id, *(numbers[kind] for kind in WALLETS)])
    return money.quantise(total)


def _lines(
    customer_id: UUID, begins: Mapping[str, int], ends: Mapping[str, int]
) -> tuple[Line, ...]:
    ranges = [number for kind in WALLETS for number in (begins[kind], ends[kind])]
    names = Line.__dataclass_fields__
    rows = _fetched(_LINES, [customer_id, *ranges])
    return tuple(Line(**dict(zip(names, row, strict=True))) for row in rows)


def _fetched(sql: str, params: list[Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
    return rows


_BOUNDARY: Final = """
SELECT a.kind, (
    SELECT e.account_seq FROM billing_ledger_entries e JOIN billing_ledger_txns t ON t.id = e.txn_id
    WHERE e.account_id = a.id AND e.account_seq IS NOT NULL
        AND (%s::timestamptz IS NULL OR t.created_at < %s::timestamptz)
    ORDER BY e.account_seq DESC LIMIT 1)
FROM billing_ledger_accounts a WHERE a.customer_id = %s
"""
_BALANCE: Final = """
SELECT coalesce(sum(e.balance_after), 0)
FROM billing_ledger_accounts a JOIN billing_ledger_entries e ON e.account_id = a.id
WHERE a.customer_id = %s AND (
    (a.kind = 'wallet' AND e.account_seq = %s) OR (a.kind = 'wallet_promo' AND e.account_seq = %s))
"""
_LINES: Final = """
WITH leg AS (
    SELECT e.txn_id, sum(e.amount) AS amount
    FROM billing_ledger_accounts a JOIN billing_ledger_entries e ON e.account_id = a.id
    WHERE a.customer_id = %s AND (
        (a.kind = 'wallet' AND e.account_seq > %s AND e.account_seq <= %s)
        OR (a.kind = 'wallet_promo' AND e.account_seq > %s AND e.account_seq <= %s))
    GROUP BY e.txn_id
)
SELECT t.kind, coalesce(u.provider_type, ''), coalesce(u.model, ''), count(*),
    coalesce(sum(u.tokens_input), 0)::bigint, coalesce(sum(u.tokens_output), 0)::bigint,
    sum(leg.amount)
FROM leg JOIN billing_ledger_txns t ON t.id = leg.txn_id
LEFT JOIN usage_events u
    ON t.kind = 'usage' AND u.id = (t.links ->> 'usage_event')::uuid AND u.txn_id = t.id
GROUP BY 1, 2, 3 ORDER BY 1, 2, 3
"""
