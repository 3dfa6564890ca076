"""Top-ups that a person pays on Stripe's page."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from django.conf import settings
from django.db import transaction

from accounts.services import access, audit
from accounts.types import Actor, Permission
from billing.models import Customer, StripeOutbox, TopUp
from billing.stripe import api, outbox, payers
from billing.types import MessageKind, TopUpKind
from ideplatform.kit import money
from ideplatform.kit.errors import IdempotencyKeyReused
from ideplatform.kit.serializers import wrong

CURRENCY: Final = "usd"
MINOR_PER_USD: Final = 100
LEAST_USD: Final = Decimal(5)
MOST_USD: Final = Decimal(10_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A top-up and the address where it is paid."""

    top_up: TopUp
    url: str


def start(
    *,
    actor: Actor,
    organization_id: UUID,
    amount_usd: Decimal,
    saves_card: bool,
    request_key: str | None,
) -> Started:
    """Ask for credit of `amount_usd`, whole cents. Nothing is credited before it is paid.

    The same `request_key` is the same top-up. `saves_card` keeps the card for auto-recharges.
    Raises NotFound, Forbidden, InvalidInput, IdempotencyKeyReused, CustomerClosed,
    StripeNotConfigured, StripeUnavailable, StripeRejected.
    """
    access.authorise(actor, Permission.BILLING_MANAGE, organization_id)
    api.require_configured()
    amount_minor = minor(amount_usd)
    payer = payers.ensure(organization_id)
    message_id = _queued(
        actor=actor,
        organization_id=organization_id,
        amount_minor=amount_minor,
        request_key=request_key,
        payload=_checkout(payer, organization_id, amount_minor, saves_card=saves_card),
    )
    message = outbox.send(message_id)
    top_up = TopUp.objects.get(messages=message)
    return Started(top_up=top_up, url=str((message.response or {})["url"]))


def minor(amount_usd: Decimal) -> int:
    """An amount in cents; raises InvalidInput for parts of a cent or outside the limits."""
    cents = amount_usd * MINOR_PER_USD
    if cents != cents.to_integral_value() or not LEAST_USD <= amount_usd <= MOST_USD:
        raise wrong("/amount_usd", f"whole cents, from {LEAST_USD} to {MOST_USD} USD")
    return int(cents)


def usd(amount_minor: int) -> Decimal:
    return money.quantise(Decimal(amount_minor) / MINOR_PER_USD)


@transaction.atomic
def _queued(
    *,
    actor: Actor,
    organization_id: UUID,
    amount_minor: int,
    request_key: str | None,
    payload: dict[str, Any],
) -> UUID:
    Customer.objects.select_for_update(no_key=True).get(pk=organization_id)
    if request_key is not None:
        known = StripeOutbox.objects.filter(
            top_up__customer=organization_id, top_up__request_key=request_key
        ).select_related("top_up")
        for message in known:
            if message.top_up is None or message.top_up.amount_minor != amount_minor:
                raise IdempotencyKeyReused
            return message.pk
    top_up = TopUp.objects.create(
        customer_id=organization_id,
        kind=TopUpKind.CHECKOUT,
        amount_minor=amount_minor,
        currency=CURRENCY,
        credited=usd(amount_minor),
        request_key=request_key,
        actor_id=actor.user_id,
    )
    audit.record(
        action="top_up.started", actor=actor, organization_id=organization_id, target=top_up.pk
    )
    message = outbox.queue(
        kind=MessageKind.CHECKOUT, customer_id=organization_id, payload=payload, top_up=top_up
    )
    return message.pk


def _checkout(
    payer: str, organization_id: UUID, amount_minor: int, *, saves_card: bool
) -> dict[str, Any]:
    back = f"{settings.ENV.public_url}/billing/payment?organization={organization_id}"
    return {
        "mode": "payment",
        "customer": payer,
        "line_items": [
            {
                "quantity": 1,
                "price_data": {
                    "currency": CURRENCY,
                    "unit_amount": amount_minor,
                    "product_data": {"name": "Credit"},
                },
            }
        ],
        # In another currency than was asked for, the amount would be another one too.
        "adaptive_pricing": {"enabled": False},
        "payment_intent_data": {"setup_future_usage": "off_session"} if saves_card else {},
        # Stripe puts the session's id in place of the name in braces.
        "success_url": f"{back}&checkout={{CHECKOUT_SESSION_ID}}",
        "cancel_url": f"{back}&checkout=cancelled",
    }
