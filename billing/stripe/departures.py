"""A customer that was deleted at Stripe: nothing can be charged or bought there any more.

Deleting forgets cards, not payments: what is taken back of them still counts. The next purchase
makes a new customer at Stripe.
"""

from __future__ import annotations

import functools

import structlog
from django.db import transaction

from billing.models import Customer, StripeOutbox, TopUp
from billing.services.retries import retried
from billing.stripe import api, payments
from billing.types import MessageKind, MessageState

log = structlog.get_logger(__name__)


def forget(payer_id: str) -> bool:
    """Part with a customer that Stripe has no longer; False when it is there, or not ours.

    Raises what `stripe.api` raises.
    """
    return api.payer(payer_id).deleted and retried(functools.partial(_part, payer_id))


@transaction.atomic
def _part(payer_id: str) -> bool:
    ours = Customer.objects.select_for_update(no_key=True).filter(stripe_customer_id=payer_id)
    customer = ours.first()
    if customer is None:
        return False
    Customer.objects.filter(pk=customer.pk).update(stripe_customer_id=None)
    made = StripeOutbox.objects.filter(customer=customer, kind=MessageKind.CUSTOMER)
    made.filter(state=MessageState.DONE).update(state=MessageState.DEAD, error="customer_deleted")
    TopUp.objects.filter(customer=customer).exclude(payment_method="").update(payment_method="")
    payments.stop_recharging(customer.pk, reason="customer_deleted")
    log.warning("stripe_customer.deleted", organization_id=str(customer.pk))
    return True
