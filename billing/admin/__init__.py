"""The operators' console: a customer on one screen, dialogs, two persons, prices, reports.

Rows of money are read here and never written: nobody adds, changes or deletes one by hand.
"""

from billing.admin import customers, ledger, markups, prices, requests, stripe, usage

__all__ = ["customers", "ledger", "markups", "prices", "requests", "stripe", "usage"]
