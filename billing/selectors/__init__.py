"""Reads of billing: the actor first, so that a foreign row cannot be reached."""

from billing.selectors.funds import Filled, Funds, budgets, filled, funds, funds_seen
from billing.selectors.summaries import summary
from billing.selectors.usage import usage_chunks, usage_page

__all__ = [
    "Filled",
    "Funds",
    "budgets",
    "filled",
    "funds",
    "funds_seen",
    "summary",
    "usage_chunks",
    "usage_page",
]
