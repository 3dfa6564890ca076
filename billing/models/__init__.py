"""Tables of billing: the price book, usage, the ledger, holds, budgets and payments.

The migrations add what columns cannot say: prices that never overlap in time, transactions that
balance, facts that refuse UPDATE, DELETE and TRUNCATE, and `usage_events.commit_xid` (the writing
transaction, for roll-ups).
"""

from billing.models.approvals import (
    ApprovalRequest,
    BillingAudit,
    HandMove,
    SpentToken,
    TwoPersonRule,
)
from billing.models.budgets import Budget, BudgetAlert, BudgetApproval, BudgetPeriod
from billing.models.corrections import UsageCorrection
from billing.models.exports import Export, ExportChunk
from billing.models.holds import Hold
from billing.models.ledger import (
    CreditLot,
    Customer,
    LedgerAccount,
    LedgerEntry,
    LedgerTxn,
    LotUse,
)
from billing.models.markups import MarkupRule
from billing.models.notices import Notice
from billing.models.payments import AutoRecharge, Clawback, StripeInbox, StripeOutbox, TopUp
from billing.models.preferences import ViewPreference
from billing.models.prices import ModelAlias, Price, PriceVersion
from billing.models.reconciliation import ProviderReportPage, ReconLine, ReconRun
from billing.models.reports import UsageReport
from billing.models.rollups import (
    RollupWatermark,
    UsageDaily,
    UsageEffective,
    UsageHourly,
)
from billing.models.statements import Statement
from billing.models.usage import ProviderCard, UsageEvent

__all__ = [
    "ApprovalRequest",
    "AutoRecharge",
    "BillingAudit",
    "Budget",
    "BudgetAlert",
    "BudgetApproval",
    "BudgetPeriod",
    "Clawback",
    "CreditLot",
    "Customer",
    "Export",
    "ExportChunk",
    "HandMove",
    "Hold",
    "LedgerAccount",
    "LedgerEntry",
    "LedgerTxn",
    "LotUse",
    "MarkupRule",
    "ModelAlias",
    "Notice",
    "Price",
    "PriceVersion",
    "ProviderCard",
    "ProviderReportPage",
    "ReconLine",
    "ReconRun",
    "RollupWatermark",
    "SpentToken",
    "Statement",
    "StripeInbox",
    "StripeOutbox",
    "TopUp",
    "TwoPersonRule",
    "UsageCorrection",
    "UsageDaily",
    "UsageEffective",
    "UsageEvent",
    "UsageHourly",
    "UsageReport",
    "ViewPreference",
]
