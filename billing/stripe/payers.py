"""The customer at Stripe, and its own page there."""

from __future__ import annotations

from uuid import UUID

from django.conf import settings
from django.db import transaction

from accounts.models import Organization
from accounts.services import access
from accounts.types import Actor, Permission
from billing.errors import CustomerClosed
from billing.models import Customer, StripeOutbox
from billing.services import customers
from billing.stripe import api, outbox
from billing.types import CustomerStatus, MessageKind, MessageState


def ensure(organization_id: UUID) -> str:
    """The customer's id at Stripe, made there when it has none.

    Raises CustomerClosed, and what `outbox.send` raises.
    """
    customers.ensure([organization_id])
    customer = Customer.objects.get(pk=organization_id)
    if customer.status == CustomerStatus.CLOSED:
        raise CustomerClosed
    if customer.stripe_customer_id is None:
        outbox.send(_queued(organization_id).pk)
        customer.refresh_from_db()
    return str(customer.stripe_customer_id)


@transaction.atomic
def _queued(organization_id: UUID) -> StripeOutbox:
    Customer.objects.select_for_update(no_key=True).get(pk=organization_id)
    messages = StripeOutbox.objects.filter(
        customer=organization_id, kind=MessageKind.CUSTOMER
    ).exclude(state=MessageState.DEAD)
    known = messages.first()
    if known is not None:
        return known
    name = Organization.objects.values_list("name", flat=True).get(pk=organization_id)
    return outbox.queue(
        kind=MessageKind.CUSTOMER, customer_id=organization_id, payload={"name": name}
    )


def open_portal(*, actor: Actor, organization_id: UUID) -> str:
    """The address of Stripe's page for cards and receipts.

    Raises NotFound, Forbidden, StripeNotConfigured, StripeUnavailable, StripeRejected.
    """
    access.authorise(actor, Permission.BILLING_MANAGE, organization_id)
    api.require_configured()
    back = f"{settings.ENV.public_url}/billing/payment?organization={organization_id}"
    return api.portal(ensure(organization_id), return_url=back)
