"""What the payment routes take, answer and refuse (see `kit.openapi`)."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from uuid import UUID

import msgspec

from billing import errors
from billing.api import payment_serializers as forms
from billing.api import payments
from billing.types import TopUpKind, TopUpState
from ideplatform.kit.errors import IdempotencyKeyReused
from ideplatform.kit.openapi import Operation, Parameter, describe

_STRIPE = (errors.StripeNotConfigured, errors.StripeUnavailable, errors.StripeRejected)


class TopUp(msgspec.Struct, kw_only=True):
    """A purchase of credit, in USD. Credit is there once `state` is `paid`."""

    id: UUID
    organization_id: UUID
    kind: TopUpKind
    state: TopUpState
    amount_usd: Decimal
    credited_usd: Decimal
    created_at: datetime
    paid_at: datetime | None


class TopUps(msgspec.Struct, kw_only=True):
    items: list[TopUp]
    next_cursor: str


class StartedTopUp(TopUp, kw_only=True):
    """`url` is Stripe's page where a person pays."""

    url: str


class Portal(msgspec.Struct, kw_only=True):
    url: str


class AutoRecharge(msgspec.Struct, kw_only=True):
    """Buys `amount_usd` when less than `threshold_usd` is available; null where never set."""

    is_enabled: bool
    failures: int
    threshold_usd: Decimal | None
    amount_usd: Decimal | None
    monthly_cap_usd: Decimal | None


class Received(msgspec.Struct, kw_only=True):
    received: bool


describe(
    payments.TopUps,
    GET=Operation(
        "list_top_ups",
        "Purchases of credit, newest first; without an organization named, of your own.",
        answer=TopUps,
        query=forms.TopUpsForm,
    ),
    POST=Operation(
        "start_top_up",
        "Buy credit: answers the address of the page to pay on.",
        status=201,
        answer=StartedTopUp,
        body=forms.TopUpForm,
        example={"organization_id": "0199c2a4-7b1e-7c3d-9f00-2a1b3c4d5e6f", "amount_usd": "25.00"},
        headers=(Parameter("Idempotency-Key", str, "The same key is the same purchase."),),
        problems=(*_STRIPE, errors.CustomerClosed, IdempotencyKeyReused),
    ),
)
describe(
    payments.Portal,
    POST=Operation(
        "open_billing_portal",
        "Answer the address of Stripe's page for cards and receipts.",
        status=201,
        answer=Portal,
        body=forms.PortalForm,
        example={"organization_id": "0199c2a4-7b1e-7c3d-9f00-2a1b3c4d5e6f"},
        problems=(*_STRIPE, errors.CustomerClosed),
    ),
)
describe(
    payments.AutoRecharge,
    GET=Operation(
        "read_auto_recharge",
        "How a wallet is refilled; without an organization named, your own.",
        answer=AutoRecharge,
        query=forms.WhoseForm,
    ),
    PUT=Operation(
        "configure_auto_recharge",
        "Say how the wallet is refilled; enabling it needs a card that was saved.",
        answer=AutoRecharge,
        body=forms.AutoRechargeForm,
        example={
            "organization_id": "0199c2a4-7b1e-7c3d-9f00-2a1b3c4d5e6f",
            "is_enabled": False,
            "threshold_usd": "5.00",
            "amount_usd": "20.00",
            "monthly_cap_usd": "200.00",
        },
        problems=(*_STRIPE, errors.CustomerClosed, errors.PaymentMethodMissing),
    ),
)
describe(
    payments.StripeWebhook,
    POST=Operation(
        "receive_stripe_event",
        "Store an event that Stripe signed.",
        answer=Received,
        media=("application/json",),
        headers=(
            Parameter("Stripe-Signature", str, "Stripe's signature of the body.", is_required=True),
        ),
        problems=(
            errors.WebhookRefused,
            errors.WebhookOfOtherMode,
            errors.StripeNotConfigured,
            errors.StripeRejected,
        ),
    ),
)
