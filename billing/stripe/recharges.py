"""Auto-recharge: a wallet that runs low buys credit with the saved card."""

from __future__ import annotations

import functools
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import structlog
from django.db import transaction
from django.db.models import F, Q, QuerySet, Sum

from accounts.services import access, audit
from accounts.types import Actor, Permission
from billing.errors import PaymentMethodMissing
from billing.models import AutoRecharge, TopUp
from billing.services import customers
from billing.services.retries import retried
from billing.stripe import api, outbox, payers, payments, topups
from billing.types import CustomerStatus, MessageKind, TopUpKind, TopUpState
from ideplatform.kit.db import database_now
from ideplatform.kit.errors import PlatformError
from ideplatform.kit.serializers import wrong

log = structlog.get_logger(__name__)


def configure(
    *,
    actor: Actor,
    organization_id: UUID,
    is_enabled: bool,
    threshold_usd: Decimal,
    amount_usd: Decimal,
    monthly_cap_usd: Decimal,
) -> AutoRecharge:
    """Set the auto-recharge; enabling it forgets earlier failures.

    Raises NotFound, Forbidden, InvalidInput, PaymentMethodMissing when there is no card to charge,
    CustomerClosed, StripeNotConfigured, StripeUnavailable.
    """
    access.authorise(actor, Permission.BILLING_MANAGE, organization_id)
    api.require_configured()
    amount_minor = topups.minor(amount_usd)
    if monthly_cap_usd < amount_usd:
        raise wrong("/monthly_cap_usd", "at least one recharge must fit into a month")
    if is_enabled and not _card_of(organization_id, payers.ensure(organization_id)):
        raise PaymentMethodMissing
    columns = {
        "is_enabled": is_enabled,
        "threshold": threshold_usd,
        "amount_minor": amount_minor,
        "monthly_cap_minor": int(monthly_cap_usd * topups.MINOR_PER_USD),
        "failures": 0,
        "not_before": None,
        "enabled_by_id": actor.user_id,
    }
    return _write(actor, organization_id, columns)


@transaction.atomic
def _write(actor: Actor, organization_id: UUID, columns: dict[str, Any]) -> AutoRecharge:
    customers.ensure([organization_id])
    row, _ = AutoRecharge.objects.update_or_create(pk=organization_id, defaults=columns)
    audit.record(action="auto_recharge.configured", actor=actor, organization_id=organization_id)
    row.refresh_from_db()
    return row


def run() -> int:
    """Start a recharge for every wallet that is low; how many were started."""
    if not api.is_configured():
        return 0
    low = list(_low(database_now()).values_list("pk", flat=True))
    return sum(_try(customer_id) for customer_id in low)


def _low(now: datetime) -> QuerySet[AutoRecharge]:
    """Those that may buy and have less than their threshold available."""
    open_ones = TopUp.objects.filter(kind=TopUpKind.RECHARGE, state=TopUpState.CREATED)
    return (
        AutoRecharge.objects.filter(
            Q(not_before__isnull=True) | Q(not_before__lte=now),
            is_enabled=True,
            customer__status=CustomerStatus.ACTIVE,
        )
        .exclude(customer__in=open_ones.values("customer"))
        .annotate(available=Sum("customer__accounts__posted") - Sum("customer__accounts__held"))
        .filter(available__lt=F("threshold"))
    )


def _try(customer_id: UUID) -> bool:
    try:
        payer = payers.ensure(customer_id)
        card = _card_of(customer_id, payer)
    except PlatformError as failed:
        log.info("recharge.not_started", organization_id=str(customer_id), code=failed.code)
        return False
    message_id = retried(functools.partial(_start, customer_id, payer, card))
    if message_id is not None:
        outbox.send_queued(message_id)
    return message_id is not None


@transaction.atomic
def _start(customer_id: UUID, payer: str, card: str) -> UUID | None:
    """Write the purchase, judged again under the lock; None when it is not due any more."""
    row = AutoRecharge.objects.select_for_update(no_key=True).get(pk=customer_id)
    now = database_now()
    if not _low(now).filter(pk=customer_id).exists():
        return None
    if not card:
        payments.stop_recharging(customer_id, reason="no_card")
        return None
    if _bought(customer_id, now) + row.amount_minor > row.monthly_cap_minor:
        AutoRecharge.objects.filter(pk=customer_id).update(not_before=_next_month(now))
        return None
    top_up = TopUp.objects.create(
        customer_id=customer_id,
        kind=TopUpKind.RECHARGE,
        amount_minor=row.amount_minor,
        currency=topups.CURRENCY,
        credited=topups.usd(row.amount_minor),
        actor_id=row.enabled_by_id,
    )
    message = outbox.queue(
        kind=MessageKind.RECHARGE,
        customer_id=customer_id,
        payload={
            "amount": row.amount_minor,
            "currency": topups.CURRENCY,
            "customer": payer,
            "payment_method": card,
            "confirm": True,
            "off_session": True,
        },
        top_up=top_up,
    )
    return message.pk


def _card_of(customer_id: UUID, payer: str) -> str:
    """The card to charge: the default chosen at Stripe, else the one that was last saved."""
    chosen = api.payer(payer).invoice_settings
    if chosen is not None and chosen.default_payment_method:
        return chosen.default_payment_method
    saved = TopUp.objects.filter(customer=customer_id).exclude(payment_method="")
    return saved.order_by("-paid_at").values_list("payment_method", flat=True).first() or ""


def _bought(customer_id: UUID, now: datetime) -> int:
    """What recharges of this month cost, those on their way included."""
    bought = TopUp.objects.filter(
        customer=customer_id, kind=TopUpKind.RECHARGE, created_at__gte=_month(now)
    ).exclude(state=TopUpState.FAILED)
    total: int = bought.aggregate(total=Sum("amount_minor"))["total"] or 0
    return total


def _month(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(day=1, hour=0, minute=0, second=0, microsecond=0)


def _next_month(moment: datetime) -> datetime:
    first = _month(moment)
    return first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
