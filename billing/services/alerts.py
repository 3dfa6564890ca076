"""Telling people that a budget was reached: a notice each, and one mail of it.

The database remembers who was told of what, so a fact that comes again tells nobody anew. A mail
that could not be handed over is tried again for a day; its Message-ID stays the same.
"""

from __future__ import annotations

from datetime import timedelta
from smtplib import SMTPException
from typing import Final
from urllib.parse import urlsplit
from uuid import UUID

import structlog
from django.conf import settings
from django.core.mail import EmailMessage
from django.db import transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from django.template.loader import render_to_string

from accounts.models import OrganizationMembership
from accounts.types import ORGANIZATION_PERMISSIONS, Permission
from billing.models import BudgetAlert, Notice
from billing.types import AlertKind

log = structlog.get_logger(__name__)

TRIED_FOR: Final = timedelta(days=1)
_BATCH: Final = 200
_PAYING: Final = [
    role
    for role, permissions in ORGANIZATION_PERMISSIONS.items()
    if Permission.BILLING_MANAGE in permissions
]


def tell(*, alert_id: UUID) -> int:
    """Notify whoever manages the organization's money, and who set the budget while they are
    members; how many had not been told before. Idempotent.
    """
    alert = BudgetAlert.objects.select_related("period__budget").get(pk=alert_id)
    budget = alert.period.budget
    members = OrganizationMembership.objects.filter(
        Q(role__in=_PAYING) | Q(user_id=budget.created_by_id),
        organization=budget.customer_id,
        user__is_active=True,
    )
    people = set(members.values_list("user_id", flat=True))
    with transaction.atomic():
        known = set(Notice.objects.filter(alert=alert).values_list("user_id", flat=True))
        Notice.objects.bulk_create(
            [
                Notice(alert=alert, user_id=user_id, customer_id=budget.customer_id)
                for user_id in sorted(people)
            ],
            ignore_conflicts=True,
        )
    mail_due(alert_id=alert_id)
    return len(people - known)


def mail_due(*, alert_id: UUID | None = None) -> int:
    """Send what was not mailed yet, of one alert or of all of the last day; how many."""
    due = _due() if alert_id is None else _due().filter(alert=alert_id)
    found = list(due.order_by("created_at", "pk").values_list("pk", flat=True)[:_BATCH])
    return sum(_mail(notice_id) for notice_id in found)


def _due() -> QuerySet[Notice]:
    """Mails that their people want and did not get."""
    return Notice.objects.filter(
        mailed_at__isnull=True, created_at__gte=Now() - TRIED_FOR, user__is_active=True
    ).exclude(user__billing_preference__gets_alerts=False)


@transaction.atomic
def _mail(notice_id: UUID) -> bool:
    """Send one, unless somebody else is at it or was: the row is locked until it is marked."""
    rows = _due().filter(pk=notice_id).select_for_update(of=("self",), skip_locked=True)
    notice = rows.select_related("user", "alert__period__budget", "customer__organization").first()
    if notice is None:
        return False
    try:
        _message(notice).send()
    except (SMTPException, OSError) as failed:
        log.warning("notice.mail_failed", notice_id=str(notice_id), error=type(failed).__name__)
        return False
    Notice.objects.filter(pk=notice_id).update(mailed_at=Now())
    return True


def _message(notice: Notice) -> EmailMessage:
    budget = notice.alert.period.budget
    context = {
        "name": notice.user.full_name,
        "organization": notice.customer.organization.name,
        "budget": budget.name or str(budget),
        "reached": reached(notice.alert),
        "limit": budget.hard if budget.hard is not None else budget.soft,
        "spent": notice.alert.spent,
        "resets_at": notice.alert.period.ends_at,
        "url": f"{settings.ENV.public_url}/billing/",
    }
    host = urlsplit(settings.ENV.public_url).hostname or "localhost"
    return EmailMessage(
        subject=" ".join(render_to_string("emails/budget_reached_subject.txt", context).split()),
        body=render_to_string("emails/budget_reached.txt", context),
        to=[notice.user.email],
        headers={"Message-ID": f"<{notice.pk}@{host}>"},
    )


def reached(alert: BudgetAlert) -> str:
    """What was reached: `80 %` of the limit, or the soft limit itself ("")."""
    return f"{alert.step} %" if alert.kind == AlertKind.STEP else ""
