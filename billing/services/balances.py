"""What an organization has to spend, as people see it."""

from __future__ import annotations

from dataclasses import replace
from uuid import UUID

from accounts.types import Actor
from billing import selectors
from billing.selectors import Filled, Funds
from billing.services import customers


def of(actor: Actor, organization_id: UUID | None = None) -> Funds:
    """The money of an organization, else of the actor's own; raises NotFound, Forbidden."""
    return _with_welcome(selectors.funds(actor, organization_id))


def seen_with_summary(
    actor: Actor, organization_id: UUID | None
) -> tuple[Funds | None, list[Filled]]:
    """Money and budgets that stand beside a summary; nothing where the actor sees neither."""
    funds, budgets = selectors.funds_seen(actor, organization_id)
    return (None if funds is None else _with_welcome(funds)), budgets


def _with_welcome(funds: Funds) -> Funds:
    """Credit that is given with the first call is money that the call can spend."""
    if funds.is_open:
        return funds
    promo, _ = customers.welcome_of(funds.organization_id)
    return replace(funds, balance=replace(funds.balance, promo=promo))
