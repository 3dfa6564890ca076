"""What billing's REST answers, as types: the published schema, which the suite holds it to."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from billing.forecasting import ForecastMethod
from billing.types import (
    Accuracy,
    BillingMode,
    BudgetDecision,
    BudgetScope,
    CustomerStatus,
    OnHard,
    Operation,
    Outcome,
    PeriodKind,
    Source,
)


class UsageLine(msgspec.Struct, kw_only=True):
    """One priced class of a call: `amount` = `quantity` x `unit_price`, in USD."""

    unit_class: str
    quantity: int
    unit_price: Decimal
    amount: Decimal


class UsageEvent(msgspec.Struct, kw_only=True):
    """One dispatched provider call. Costs in USD; `estimated_cost` is null while unpriced."""

    id: UUID
    request_id: UUID
    attempt: int
    occurred_at: datetime
    completed_at: datetime
    provider_id: UUID
    provider_type: str
    organization_id: UUID
    user_id: UUID | None
    workspace_id: UUID | None
    api_key_id: UUID | None
    agent_id: str
    conversation_id: UUID | None
    run_id: UUID | None
    operation: Operation
    model: str
    requested_model: str
    served_model: str
    service_tier: str
    region: str
    provider_request_id: str
    billing_mode: BillingMode
    source: Source
    accuracy: Accuracy
    outcome: Outcome
    status: int
    tokens_input: int
    tokens_output: int
    tokens_cache_read: int
    tokens_cache_write: int
    tokens_reasoning: int
    quantities: dict[str, int]
    lines: list[UsageLine]
    price_version_id: UUID | None
    estimated_cost: Decimal | None
    billed_cost: Decimal
    saved_by_cache: Decimal
    currency: str
    first_token_ms: int | None
    duration_ms: int | None
    streamed: bool
    created_at: datetime


class UsageEvents(msgspec.Struct, kw_only=True):
    items: list[UsageEvent]
    next_cursor: str


class ReportedUsage(msgspec.Struct, kw_only=True):
    """What became of one report of a batch: its event, or the problem."""

    status: int
    event: UsageEvent | None
    problem: dict[str, object] | None


class ReportedUsages(msgspec.Struct, kw_only=True):
    results: list[ReportedUsage]


class SummaryPeriod(msgspec.Struct, kw_only=True, rename={"start": "from", "end": "to"}):
    """`[from, to)` in UTC; days and hours are those of `tz`."""

    name: str
    start: datetime
    end: datetime
    tz: str


class SummaryTotals(msgspec.Struct, kw_only=True):
    """Corrections count where their events do. `failed_requests` ended in an error or a crash."""

    requests: int
    failed_requests: int
    unpriced_requests: int
    tokens_input: int
    tokens_output: int
    tokens_cache_read: int
    tokens_cache_write: int
    tokens_reasoning: int
    estimated_cost: Decimal
    billed_cost: Decimal
    byok_estimated_cost: Decimal
    saved_by_cache: Decimal


class SummaryGroup(SummaryTotals, kw_only=True):
    """Beside the totals stands one member per dimension of `group_by`."""

    model: str | msgspec.UnsetType = msgspec.UNSET
    agent: str | msgspec.UnsetType = msgspec.UNSET
    workspace: str | msgspec.UnsetType | None = msgspec.UNSET
    user: str | msgspec.UnsetType | None = msgspec.UNSET
    provider: str | msgspec.UnsetType = msgspec.UNSET
    api_key: str | msgspec.UnsetType | None = msgspec.UNSET
    day: str | msgspec.UnsetType = msgspec.UNSET
    hour: str | msgspec.UnsetType = msgspec.UNSET


class SummaryPoint(SummaryTotals, kw_only=True, rename={"start": "from", "end": "to"}):
    key: str
    start: datetime
    end: datetime


class SummaryBefore(msgspec.Struct, kw_only=True):
    period: SummaryPeriod
    totals: SummaryTotals


class Money(msgspec.Struct, kw_only=True):
    """USD, exact. `posted` is `paid` and `promo`; `available` is what new calls can reserve."""

    currency: str
    posted: Decimal
    paid: Decimal
    promo: Decimal
    held: Decimal
    limit: Decimal
    available: Decimal


class Balance(Money, kw_only=True):
    organization_id: UUID
    status: CustomerStatus


class Fill(msgspec.Struct, kw_only=True):
    """The present window of a budget; `pct` counts spent and held, null for a limit of 0.

    `granted` is what approvals let be spent in this window beyond the hard limit.
    """

    subject: str
    starts_at: datetime
    resets_at: datetime | None
    spent: Decimal
    held: Decimal
    granted: Decimal
    pct: int | None


class Budget(msgspec.Struct, kw_only=True):
    """A limit in USD per period. `fills` are its fullest subjects, at most 20."""

    id: UUID
    organization_id: UUID
    name: str
    scope: BudgetScope
    scope_id: str
    period: PeriodKind
    tz: str
    hard: Decimal | None
    soft: Decimal | None
    alert_steps: list[int]
    on_hard: OnHard
    degrade_to: str
    inherit_from: UUID | None
    counts_byok: bool
    is_enabled: bool
    created_at: datetime
    updated_at: datetime
    fills: list[Fill]


class Budgets(msgspec.Struct, kw_only=True):
    items: list[Budget]
    next_cursor: str


class BudgetApproval(msgspec.Struct, kw_only=True):
    """A window's hard limit that refused a call: `needs` is the most that a call lacked, USD."""

    id: UUID
    budget_id: UUID
    subject: str
    starts_at: datetime
    resets_at: datetime | None
    needs: Decimal
    state: BudgetDecision
    granted: Decimal
    decided_by_id: UUID | None
    decided_at: datetime | None
    created_at: datetime


class BudgetApprovals(msgspec.Struct, kw_only=True):
    items: list[BudgetApproval]


class SummaryBudget(msgspec.Struct, kw_only=True):
    id: UUID
    scope: BudgetScope
    subject: str
    limit: Decimal
    spent: Decimal
    held: Decimal
    pct: int | None
    resets_at: datetime | None


class Forecast(msgspec.Struct, kw_only=True):
    """What will have been billed at the window's end, USD: in four of five cases `low` to `high`.

    By `pace` (too few days to judge by) `low` is what is spent already; `closed` windows are over.
    """

    low: Decimal
    mid: Decimal
    high: Decimal
    method: ForecastMethod


class Summary(msgspec.Struct, kw_only=True):
    """Totals, groups and series each add up to the same, exactly.

    `balance` is null and `budgets` empty where the caller sees no one organization's money.
    """

    period: SummaryPeriod
    currency: str
    totals: SummaryTotals
    groups: list[SummaryGroup]
    interval: str
    series: list[SummaryPoint]
    budgets: list[SummaryBudget]
    balance: Money | None
    forecast: Forecast
    as_of: datetime
    exact: bool
    previous: SummaryBefore | msgspec.UnsetType = msgspec.UNSET
