"""What an organization has to spend, as people see it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Final
from uuid import UUID

from django.db import connection

from accounts.types import Actor
from billing import selectors
from billing.selectors import Filled, Funds
from billing.selectors.summaries import Summary
from billing.services import customers
from billing.types import UsageFilters
from billing.windows import Window
from ideplatform.kit.db import snapshot


def of(actor: Actor, organization_id: UUID | None = None) -> Funds:
    """The money of an organization, else of the actor's own; raises NotFound, Forbidden."""
    return _with_welcome(selectors.funds(actor, organization_id))


def seen_with_summary(
    actor: Actor, organization_id: UUID | None
) -> tuple[Funds | None, list[Filled]]:
    """Money and budgets that stand beside a summary; nothing where the actor sees neither."""
    funds, budgets = selectors.funds_seen(actor, organization_id)
    return (None if funds is None else _with_welcome(funds)), budgets


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """What a window's usage adds up to, and the money beside it, all of one moment."""

    summary: Summary
    funds: Funds | None
    budgets: Sequence[Filled]


def overview(
    actor: Actor,
    window: Window,
    *,
    organization_id: UUID | None = None,
    filters: UsageFilters | None = None,
    group_by: Sequence[str] = (),
    compares: bool = False,
) -> Overview:
    """Sums, balance and budgets in one snapshot: what is billed has left the balance beside it.

    Raises as `selectors.summary` does.
    """
    with snapshot():
        found = selectors.summary(
            actor, window, filters=filters, group_by=group_by, compares=compares
        )
        funds, budgets = seen_with_summary(actor, organization_id)
    return Overview(summary=found, funds=funds, budgets=budgets)


def _with_welcome(funds: Funds) -> Funds:
    """Credit that is given with the first call is money that the call can spend."""
    if funds.is_open:
        return funds
    promo, _ = customers.welcome_of(funds.organization_id)
    return replace(funds, balance=replace(funds.balance, promo=promo))


def after_run(run_id: UUID) -> Decimal | None:
    """What the customer's wallets hold, USD, once calls of a run were charged to them.

    None where the platform paid for none of its calls.
    """
    with connection.cursor() as cursor:
        cursor.execute(_AFTER_RUN, [run_id])
        row = cursor.fetchone()
    return None if row is None else row[0]


_AFTER_RUN: Final = """
SELECT sum(a.posted) FROM billing_ledger_accounts a WHERE a.customer_id = (
    SELECT e.customer_id FROM usage_events e
    WHERE e.run_id = %s AND e.billing_mode = 'platform' LIMIT 1)
HAVING count(*) > 0
"""
