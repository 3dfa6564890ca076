"""Money that Stripe moves for a customer, and the messages that move it."""

from __future__ import annotations

from enum import StrEnum


class TopUpKind(StrEnum):
    """Who pays: a person on Stripe's page, or the saved card of a wallet that ran low."""

    CHECKOUT = "checkout"
    RECHARGE = "recharge"


class TopUpState(StrEnum):
    """`failed` never brought money: it was abandoned or declined. A payment can still follow it."""

    CREATED = "created"
    FAILED = "failed"
    PAID = "paid"
    REFUNDED = "refunded"
    DISPUTED = "disputed"


class ClawbackKind(StrEnum):
    REFUND = "refund"
    DISPUTE = "dispute"


class ClawbackState(StrEnum):
    """Money that left again, and what came back of it: a failed refund, a dispute that was won."""

    STANDING = "standing"
    UNDONE = "undone"


class ParkReason(StrEnum):
    """Why a customer is parked by the platform itself, which then also ends it."""

    NONE = ""
    CLAWBACK = "clawback"


class MessageKind(StrEnum):
    """What is asked of Stripe by an outbox row."""

    CUSTOMER = "customer"
    CHECKOUT = "checkout"
    RECHARGE = "recharge"
    REFUND = "refund"


class MessageState(StrEnum):
    """`sent`: it may have arrived, and its answer is not known. `dead`: it never will be done."""

    QUEUED = "queued"
    SENT = "sent"
    DONE = "done"
    DEAD = "dead"


class InboxState(StrEnum):
    """`ignored` concerns nothing of ours; `failed` waits for an operator."""

    RECEIVED = "received"
    DONE = "done"
    IGNORED = "ignored"
    FAILED = "failed"
