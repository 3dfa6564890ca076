"""Builders of money: customers with a balance, reservations, budgets."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeAlias
from uuid import UUID

from django.db.models import F

from accounts.models import Organization
from billing.models import Budget, BudgetApproval, BudgetPeriod, Hold, LedgerAccount, TopUp
from billing.services import customers, ledger
from billing.services.ledger import Leg
from billing.types import (
    AccountKind,
    BillingMode,
    BudgetScope,
    LotKind,
    Operation,
    PeriodKind,
    ProviderCallRecord,
    Quote,
    Reservation,
    TopUpKind,
    TopUpState,
    TxnKind,
)
from ideplatform.kit import ids
from tests.billing.calls import PROVIDER, a_call, usd
from tests.factories import an_organization

# What builders tell is compared with tuples of whole dollars too: `(10, 0, usd("0.5"))`.
Amount: TypeAlias = Decimal | int


def a_customer(*, paid: str = "0", promo: str = "0", **columns: Any) -> Organization:
    """An organization without an owner (so without welcome credit) that has some money."""
    organization = an_organization(**columns)
    customers.ensure([organization.pk])
    for kind, amount in ((LotKind.PAID, usd(paid)), (LotKind.PROMO, usd(promo))):
        if amount:
            give(organization, amount, kind=kind)
    return organization


def give(organization: Organization, amount: Decimal, *, kind: LotKind = LotKind.PAID, **more: Any):
    """Credit, of a payment that somebody began (as the database asks of paid credit)."""
    if kind is LotKind.PAID:
        more["links"] = {"top_up": str(_a_payment(organization, amount).pk)}
    return ledger.credit(
        customer_id=organization.pk, amount_usd=amount, kind=kind, key=f"test:{ids.new()}", **more
    )


def take(organization: Organization, amount: Decimal) -> None:
    """Let the wallet have paid for something."""
    ledger.post(
        kind=TxnKind.USAGE,
        key=f"test:{ids.new()}",
        legs=[
            Leg(kind=AccountKind.WALLET, amount_usd=-amount, customer_id=organization.pk),
            Leg(kind=AccountKind.REVENUE_USAGE, amount_usd=amount),
        ],
    )


def _a_payment(organization: Organization, amount: Decimal) -> TopUp:
    return TopUp.objects.create(
        customer_id=organization.pk,
        kind=TopUpKind.CHECKOUT,
        state=TopUpState.FAILED,
        amount_minor=max(int(amount * 100), 1),
        credited=amount,
    )


def a_reservation(organization: Organization, amount: str = "1", **facts: Any) -> Reservation:
    """A dispatched call that may cost `amount`."""
    values: dict[str, Any] = {
        "hold_id": ids.new(),
        "request_id": ids.new(),
        "attempt": 1,
        "organization_id": organization.pk,
        "workspace_id": None,
        "user_id": None,
        "api_key_id": None,
        "agent_id": "coder",
        "conversation_id": None,
        "run_id": None,
        "provider_id": PROVIDER,
        "provider_type": "openai_compatible",
        "billing_mode": BillingMode.PLATFORM,
        "operation": Operation.CHAT,
        "model": "sim-echo",
        "requested_model": "sim-echo",
        "quote": Quote(bound=usd(amount), expected=usd(amount)),
        "price_version_id": None,
        "input_bytes": 0,
        "input_ratio": usd("0.3"),
        "output_ratio": usd("0.25"),
        "lease_s": 60,
    }
    return Reservation(**(values | facts))


def the_call(reservation: Reservation, **facts: Any) -> ProviderCallRecord:
    """How a reserved call ended; 0.0014 USD unless other tokens are given."""
    same = {
        name: getattr(reservation, name)
        for name in (
            "request_id",
            "attempt",
            "organization_id",
            "workspace_id",
            "user_id",
            "api_key_id",
            "agent_id",
            "conversation_id",
            "run_id",
            "provider_id",
            "provider_type",
            "billing_mode",
            "operation",
        )
    }
    return a_call(**(same | facts))


def a_budget(organization: Organization, hard: str | None = "10", **columns: Any) -> Budget:
    """A budget of the whole organization, for ever."""
    values: dict[str, Any] = {
        "scope": BudgetScope.CUSTOMER,
        "period": PeriodKind.TOTAL,
        "hard": None if hard is None else usd(hard),
    }
    return Budget.objects.create(customer_id=organization.pk, **(values | columns))


def an_approval(organization: Organization) -> BudgetApproval:
    """A budget that nothing was spent of yet, and its window that asks for half a dollar more."""
    budget = a_budget(organization, on_hard="approve")
    period = BudgetPeriod.objects.create(budget=budget, starts_at=datetime(2026, 1, 1, tzinfo=UTC))
    return BudgetApproval.objects.create(period=period, needs=usd("0.5"))


def wallet(organization: Organization) -> LedgerAccount:
    return LedgerAccount.objects.get(customer=organization.pk, kind=AccountKind.WALLET)


def promo(organization: Organization) -> LedgerAccount:
    return LedgerAccount.objects.get(customer=organization.pk, kind=AccountKind.WALLET_PROMO)


def money_of(organization: Organization) -> tuple[Amount, Amount, Amount]:
    """Posted, promotional, held."""
    purse = wallet(organization)
    return purse.posted, promo(organization).posted, purse.held


def period_of(budget: Budget) -> tuple[Amount, Amount]:
    """Spent and held of its only period."""
    period = BudgetPeriod.objects.get(budget=budget)
    return period.spent, period.held


def expire(*hold_ids: UUID) -> None:
    """Let the leases of some holds be over."""
    from datetime import timedelta

    Hold.objects.filter(pk__in=hold_ids).update(expires_at=F("created_at") - timedelta(seconds=1))
