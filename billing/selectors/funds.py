"""What an actor may see of money: balances, and how full budgets are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

from accounts.selectors import personal_organization_id
from accounts.services import access
from accounts.types import Actor, Permission
from billing.models import Budget, LedgerAccount
from billing.selectors import reach
from billing.types import AccountKind, Balance, CustomerStatus
from ideplatform.kit import money

MOST_SUBJECTS: Final = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Funds:
    """An organization's money. `is_open` once it has moved any: only then it has wallets."""

    organization_id: UUID
    status: CustomerStatus
    balance: Balance
    is_open: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Fill:
    """How full a budget is for one subject ("" but for `*`) in the present window.

    `granted` is what approvals let be spent in it beyond the hard limit.
    """

    subject: str
    starts_at: datetime
    ends_at: datetime | None
    spent: Decimal
    held: Decimal
    granted: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """A budget with its fullest subjects first; an untouched window is there, and empty."""

    budget: Budget
    fills: tuple[Fill, ...]

    @property
    def limit(self) -> Decimal:
        hard: Decimal | None = self.budget.hard
        return hard if hard is not None else self.budget.soft or money.ZERO

    def percent(self, fill: Fill) -> int | None:
        """Spent and held of what may be, rounded down; None of a limit of 0."""
        limit = self.limit_in(fill)
        return int((fill.spent + fill.held) * 100 / limit) if limit else None

    def limit_in(self, fill: Fill) -> Decimal:
        """The limit in this window, with what was granted for it."""
        return self.limit + fill.granted


def funds(actor: Actor, organization_id: UUID | None = None) -> Funds:
    """The money of an organization, else of the actor's own; raises NotFound, Forbidden."""
    chosen = organization_id or actor.key_organization_id or personal_organization_id(actor)
    access.authorise(actor, Permission.BILLING_VIEW, chosen)
    return _funds(chosen)


def funds_seen(actor: Actor, organization_id: UUID | None) -> tuple[Funds | None, list[Filled]]:
    """Money and budgets beside a summary: of the organization it is of, where the actor sees them.

    Without one named, of the only organization whose money the actor sees.
    """
    seen = reach.of(actor)
    paying = seen.administered
    chosen = organization_id if organization_id is not None else next(iter(paying), None)
    if chosen not in paying or (organization_id is None and len(paying) > 1):
        return None, []
    return _funds(chosen), _filled_of(chosen)


def budgets(actor: Actor, organization_id: UUID | None = None) -> QuerySet[Budget]:
    """The budgets the actor may see, of one organization or of all."""
    if organization_id is not None:
        access.authorise(actor, Permission.BILLING_VIEW, organization_id)
        return _budgets([organization_id])
    return _budgets(reach.of(actor).administered)


def filled(rows: Sequence[Budget]) -> list[Filled]:
    """How full some budgets are at this moment, in one query."""
    found: dict[UUID, list[Fill]] = {row.pk: [] for row in rows}
    with connection.cursor() as cursor:
        cursor.execute(_FILLS, [MOST_SUBJECTS, list(found)])
        for budget_id, *values in cursor.fetchall():
            names = Fill.__dataclass_fields__
            found[budget_id].append(Fill(**dict(zip(names, values, strict=True))))
    return [Filled(budget=row, fills=tuple(found[row.pk])) for row in rows]


def _filled_of(organization_id: UUID) -> list[Filled]:
    """An organization's budgets and how full they are, in one query."""
    found: dict[UUID, tuple[Budget, list[Fill]]] = {}
    for row in Budget.objects.raw(_BUDGETS, [MOST_SUBJECTS, organization_id]):
        values = {name: getattr(row, f"fill_{name}") for name in Fill.__dataclass_fields__}
        found.setdefault(row.pk, (row, []))[1].append(Fill(**values))
    return [Filled(budget=row, fills=tuple(fills)) for row, fills in found.values()]


def _budgets(organization_ids: Sequence[UUID]) -> QuerySet[Budget]:
    return Budget.objects.filter(customer__in=organization_ids, deleted_at__isnull=True)


def _funds(organization_id: UUID) -> Funds:
    found = LedgerAccount.objects.filter(customer=organization_id).select_related("customer")
    rows = {row.kind: row for row in found}
    customer = rows[AccountKind.WALLET].customer if rows else None
    if customer is None:
        return Funds(
            organization_id=organization_id,
            status=CustomerStatus.ACTIVE,
            balance=Balance(posted=money.ZERO, promo=money.ZERO, held=money.ZERO, limit=money.ZERO),
            is_open=False,
        )
    paid, promo = rows[AccountKind.WALLET], rows[AccountKind.WALLET_PROMO]
    return Funds(
        organization_id=organization_id,
        status=CustomerStatus(customer.status),
        balance=Balance(
            posted=paid.posted, promo=promo.posted, held=paid.held, limit=customer.postpaid_limit
        ),
        is_open=True,
    )


_FILL: Final = """
coalesce(p.subject, '') AS fill_subject, w.starts_at AS fill_starts_at, w.ends_at AS fill_ends_at,
coalesce(p.spent, 0::numeric) AS fill_spent, coalesce(p.held, 0::numeric) AS fill_held,
coalesce(p.granted, 0::numeric) AS fill_granted
FROM billing_budgets b
CROSS JOIN LATERAL billing_window(b.period, now(), b.tz) AS w
LEFT JOIN LATERAL (
    SELECT q.subject, q.spent, q.held, q.granted FROM billing_budget_periods q
    WHERE q.budget_id = b.id AND q.starts_at = w.starts_at
    ORDER BY q.spent + q.held DESC, q.subject LIMIT %s
) AS p ON true
"""
_ORDER: Final = "ORDER BY b.id, p.spent + p.held DESC NULLS LAST, p.subject"
_FILLS: Final = f"SELECT b.id, {_FILL} WHERE b.id = ANY(%s) {_ORDER}"
_BUDGETS: Final = f"SELECT b.*, {_FILL} WHERE b.customer_id = %s AND b.deleted_at IS NULL {_ORDER}"
