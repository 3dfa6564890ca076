"""Reads of billing: the actor first, so that a foreign row cannot be reached."""

from billing.selectors.budget_approvals import approvals_of
from billing.selectors.funds import Filled, Funds, budgets, filled, funds, funds_seen
from billing.selectors.statements import statement, statements_page
from billing.selectors.summaries import summary
from billing.selectors.usage import exceeds, usage_chunks, usage_page, usage_rows

__all__ = [
    "Filled",
    "Funds",
    "approvals_of",
    "budgets",
    "exceeds",
    "filled",
    "funds",
    "funds_seen",
    "statement",
    "statements_page",
    "summary",
    "usage_chunks",
    "usage_page",
    "usage_rows",
]
