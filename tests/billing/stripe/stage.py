"""A team that buys credit, and the roads by which Stripe's events reach us."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import timedelta
from decimal import Decimal
from typing import Any

from django.conf import settings
from django.db.models import F
from django.test import Client, override_settings

from accounts.services import sessions
from accounts.types import OrganizationRole
from billing.models import (
    AutoRecharge,
    Customer,
    LedgerEntry,
    LedgerTxn,
    StripeInbox,
    StripeOutbox,
    TopUp,
)
from billing.services import customers
from billing.stripe import inbox, recharges, topups
from billing.stripe.topups import Started
from ideplatform.kit import ids
from tests.billing.calls import usd
from tests.billing.funds import take, wallet
from tests.factories import a_user, an_actor, an_organization, join_organization
from tests.fakes.stripe import FakeStripe

WEBHOOK = "/api/v1/billing/webhooks/stripe"
TOP_UPS = "/api/v1/billing/top-ups"


class Team:
    """An organization without welcome credit, and its owner."""

    def __init__(self, stripe: FakeStripe) -> None:
        self.stripe = stripe
        self.owner = a_user()
        self.organization = an_organization()
        customers.ensure([self.organization.pk])
        join_organization(self.organization, self.owner, OrganizationRole.OWNER)
        self.actor = an_actor(self.owner, session_id=sessions.begin(user=self.owner).pk)

    def start(self, amount: str = "25", **options: Any) -> Started:
        asked: dict[str, Any] = {"saves_card": False, "request_key": None} | options
        return topups.start(
            actor=self.actor, organization_id=self.organization.pk, amount_usd=usd(amount), **asked
        )

    def buy(self, amount: str = "25", **options: Any) -> tuple[TopUp, str]:
        """A top-up that was paid, and its payment's id; its webhooks are not delivered."""
        started = self.start(amount, **options)
        paid = self.stripe.pay(str(started.top_up.checkout_session))
        return started.top_up, paid["id"]

    @property
    def customer(self) -> Customer:
        return Customer.objects.get(pk=self.organization.pk)

    @property
    def balance(self) -> Decimal:
        posted: Decimal = wallet(self.organization).posted
        return posted

    def client(self) -> Client:
        pair = sessions.sign_in(user=self.owner, ip="", user_agent="test")
        return Client(headers={"Authorization": f"Bearer {pair.access}"})


def configure(team: Team, **changes: Any) -> AutoRecharge:
    """Refill below 10 USD by 20, at most 100 a month."""
    asked: dict[str, Any] = {
        "is_enabled": True,
        "threshold_usd": usd("10"),
        "amount_usd": usd("20"),
        "monthly_cap_usd": usd("100"),
    }
    return recharges.configure(
        actor=team.actor, organization_id=team.organization.pk, **(asked | changes)
    )


def spend(team: Team, amount: str) -> None:
    take(team.organization, usd(amount))


def post(stripe: FakeStripe, event: dict[str, Any], **signing: Any) -> Any:
    """Deliver an event as Stripe does."""
    body, signature = stripe.signed(event, **signing)
    return Client().post(
        WEBHOOK, body, content_type="application/json", headers={"Stripe-Signature": signature}
    )


def deliver(stripe: FakeStripe, *events: dict[str, Any]) -> None:
    """Deliver events (all that happened, unless some are named) and apply them."""
    for event in events or tuple(stripe.events):
        assert post(stripe, event).status_code == 200
        inbox.apply(event["id"])


def books() -> list[tuple[str, str, list[tuple[str, str]]]]:
    """Every transaction of payments: kind, key, legs."""
    found = []
    for txn in LedgerTxn.objects.order_by("idempotency_key"):
        legs = LedgerEntry.objects.filter(txn=txn).values_list("account__kind", "amount")
        found.append(
            (txn.kind, txn.idempotency_key, sorted((kind, f"{amount:f}") for kind, amount in legs))
        )
    return found


def let_time_pass(stripe: FakeStripe, *, hours: int) -> None:
    """Messages, events and all that happened at Stripe lie further back."""
    span = timedelta(hours=hours)
    StripeOutbox.objects.update(
        first_sent_at=F("first_sent_at") - span,
        next_at=F("next_at") - span,
        created_at=F("created_at") - span,
    )
    StripeInbox.objects.update(next_at=F("next_at") - span)
    AutoRecharge.objects.update(not_before=F("not_before") - span)
    stripe.age(hours)


def a_key() -> str:
    return str(ids.new())


def unconfigured() -> AbstractContextManager[Any]:
    """A platform without a Stripe account."""
    without = {"stripe_secret_key": None, "stripe_webhook_secrets": None}
    return override_settings(ENV=settings.ENV.model_copy(update=without))
