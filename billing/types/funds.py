"""Customers, accounts, holds and budgets."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID

from billing.types.usage import BillingMode, Operation, TokenCount


class CustomerStatus(StrEnum):
    ACTIVE = "active"
    PARKED = "parked"
    CLOSED = "closed"


class AccountKind(StrEnum):
    """Where money stands. `provider_payable` is one account per vendor: `provider_payable:openai`.

    Wallets belong to customers and cache their balance; the others are the platform's.
    """

    WALLET = "wallet"
    WALLET_PROMO = "wallet_promo"
    REVENUE_USAGE = "revenue_usage"
    REVENUE_SUBSCRIPTION = "revenue_subscription"
    PROVIDER_COGS = "provider_cogs"
    PROVIDER_PAYABLE = "provider_payable"
    STRIPE_CLEARING = "stripe_clearing"
    CASH = "cash"
    PROMO_EXPENSE = "promo_expense"
    BREAKAGE = "breakage"
    REFUNDS = "refunds"
    ADJUSTMENTS = "adjustments"
    ROUNDING = "rounding"
    FX = "fx"
    TAX_PAYABLE = "tax_payable"


class TxnKind(StrEnum):
    TOP_UP = "topup"
    USAGE = "usage"
    PROMO = "promo"
    ADJUSTMENT = "adjustment"
    EXPIRY = "expiry"
    REVERSAL = "reversal"
    REFUND = "refund"
    DISPUTE = "dispute"
    TRUE_UP = "true_up"
    CORRECTION = "correction"


class LotKind(StrEnum):
    PAID = "paid"
    PROMO = "promo"


class HoldState(StrEnum):
    """Reserved, on its way to the vendor, and how it ended."""

    PENDING = "pending"
    DISPATCHED = "dispatched"
    SETTLED = "settled"
    VOIDED = "voided"
    EXPIRED = "expired"


class BudgetScope(StrEnum):
    CUSTOMER = "customer"
    WORKSPACE = "workspace"
    USER = "user"
    API_KEY = "api_key"
    PROVIDER = "provider"
    MODEL_GLOB = "model_glob"
    AGENT = "agent"
    RUN = "run"


class PeriodKind(StrEnum):
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    TOTAL = "total"


class OnHard(StrEnum):
    """What a reached hard limit does: refuse; and name a cheaper model; or ask for an approval."""

    BLOCK = "block"
    DEGRADE = "degrade"
    APPROVE = "approve"


class BudgetDecision(StrEnum):
    """Whether more may be spent in one window of a budget than its hard limit."""

    OPEN = "open"
    GRANTED = "granted"
    REFUSED = "refused"


class AlertKind(StrEnum):
    STEP = "step"
    SOFT = "soft"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quote:
    """What a call may cost, USD: `bound` at most, `expected` by the usual ratio plus 10 %."""

    bound: Decimal
    expected: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """A call that asks for its money. Ratios are tokens per UTF-8 byte, the lease is seconds.

    With the customer's own key the quote reserves budgets only, and nothing of the wallet.
    """

    hold_id: UUID
    request_id: UUID
    attempt: int
    organization_id: UUID
    workspace_id: UUID | None
    user_id: UUID | None
    api_key_id: UUID | None
    agent_id: str
    conversation_id: UUID | None
    run_id: UUID | None
    provider_id: UUID
    provider_type: str
    billing_mode: BillingMode
    operation: Operation
    model: str
    requested_model: str
    quote: Quote
    price_version_id: UUID | None
    input_bytes: int
    input_ratio: Decimal
    output_ratio: Decimal
    lease_s: int
    is_dispatched: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """Money that is reserved. A replay is the hold that this request and attempt already had."""

    hold_id: UUID
    state: HoldState
    amount_usd: Decimal
    dispatched_at: datetime | None
    is_replay: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """How far a running call is: what its estimate rests on if its runner dies."""

    request_id: UUID
    attempt: int
    output_bytes: int
    usage: TokenCount | None
    service_tier: str
    served_model: str
    provider_request_id: str
    first_token_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Balance:
    """A customer's money, USD. `available` is what new calls can still reserve."""

    posted: Decimal
    promo: Decimal
    held: Decimal
    limit: Decimal

    @property
    def available(self) -> Decimal:
        return self.posted + self.promo + self.limit - self.held
