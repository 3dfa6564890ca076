"""What operators may do with money, and what needs a second person."""

from __future__ import annotations

from enum import StrEnum


class ApprovalKind(StrEnum):
    """What is asked for. `adjustment` is a signed correction of the paid wallet."""

    ADJUSTMENT = "adjustment"
    PROMO = "promo"
    REVERSAL = "reversal"
    REFUND = "refund"
    LIMIT = "limit"
    PRICES = "prices"
    RECONCILIATION = "reconciliation"
    CORRECTION = "correction"
    MARKUP = "markup"


class ApprovalState(StrEnum):
    """`approved` lasts only inside the transaction that applies it."""

    OPEN = "open"
    APPROVED = "approved"
    REJECTED = "rejected"
    EXPIRED = "expired"
    APPLIED = "applied"


class Right(StrEnum):
    """What an operator may do in the console: Django's permission of the app `billing`."""

    VIEW = "view_console"
    ADJUST = "adjust_wallets"
    PROMO = "grant_promo"
    REFUND = "refund_payments"
    LIMIT = "set_limits"
    PARK = "park_customers"
    VERIFY = "run_verification"
    APPROVE = "approve_money"
    DRAFT_PRICES = "draft_prices"
    APPROVE_PRICES = "approve_prices"
    REPLAY = "replay_webhooks"
    REPORTS = "view_reports"
    AUDIT = "view_audit"
    RECONCILE = "run_reconciliation"
    REVIEW = "review_reconciliation"
