"""What we read of Stripe's objects, and nothing more of them."""

from __future__ import annotations

from typing import TypeVar

import msgspec
import structlog

from billing.errors import StripeRejected

log = structlog.get_logger(__name__)
T = TypeVar("T")


def read(body: object, kind: type[T]) -> T:
    """The part of a decoded object that we know; raises StripeRejected for another shape."""
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as odd:
        log.error("stripe.unreadable", kind=kind.__name__)
        raise StripeRejected from odd


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """A PaymentIntent; amounts in the currency's smallest unit."""

    id: str
    status: str
    currency: str
    customer: str | None
    amount_received: int
    livemode: bool
    metadata: dict[str, str]
    payment_method: str | None = None
    setup_future_usage: str | None = None


class Refund(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    status: str | None
    amount: int
    currency: str
    created: int
    payment_intent: str | None


class Dispute(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    status: str
    amount: int
    currency: str
    created: int
    payment_intent: str | None


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """A Checkout session."""

    id: str
    status: str | None
    payment_intent: str | None
    metadata: dict[str, str]


class InvoiceSettings(msgspec.Struct, frozen=True, kw_only=True):
    default_payment_method: str | None


class Payer(msgspec.Struct, frozen=True, kw_only=True):
    """A customer at Stripe; of a deleted one only the id is left."""

    id: str
    deleted: bool = False
    invoice_settings: InvoiceSettings | None = None


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """What a message made at Stripe: its id, its page, its state."""

    id: str
    url: str | None = None
    status: str | None = None


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """The object that an event is about; its state is read anew, never from the event."""

    object: str
    id: str | None = None
    payment_intent: str | None = None


class Data(msgspec.Struct, frozen=True, kw_only=True):
    object: Subject


class Event(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    type: str
    created: int
    livemode: bool
    data: Data
    api_version: str | None = None
