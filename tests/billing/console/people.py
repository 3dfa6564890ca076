"""Builders of operators and of what two of them decide."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.contrib.auth.models import Group

from accounts.models import User
from accounts.services import sessions
from accounts.types import Actor, SessionKind
from billing.models import ApprovalRequest, MarkupRule
from billing.types import ApprovalKind, ApprovalState, MarkupKind
from ideplatform.kit import clock
from tests.factories import a_user, an_actor


def an_operator(*groups: str, **columns: Any) -> Actor:
    """Somebody of the staff in these groups, who has just signed in with a browser."""
    user = a_user(is_staff=True, **columns)
    user.groups.set(Group.objects.filter(name__in=groups))
    session = sessions.begin(user=user, kind=SessionKind.BROWSER)
    return an_actor(user, session_id=session.pk)


def approved(kind: ApprovalKind, customer_id: Any = None, /, **payload: Any) -> ApprovalRequest:
    """A request that two people have agreed on in this transaction, for what it covers."""
    one, other = an_operator(), an_operator()
    request = ApprovalRequest.objects.create(
        kind=kind,
        customer_id=customer_id,
        payload=payload,
        reason="test",
        proposer=User.objects.get(pk=one.user_id),
    )
    ApprovalRequest.objects.filter(pk=request.pk).update(
        state=ApprovalState.APPROVED,
        approver=other.user_id,
        approver_session_id=other.session_id,
        decided_at=request.created_at,
    )
    request.refresh_from_db()
    return request


def a_markup(kind: MarkupKind, value: str, *, effective: Any, **columns: Any) -> MarkupRule:
    """A rule that two people have agreed on, whenever it began."""
    ends = effective.upper
    approved(
        ApprovalKind.MARKUP,
        columns.get("customer_id"),
        kind=kind,
        value=value,
        priority=columns.get("priority", 0),
        provider_type=columns.get("provider_type", ""),
        model_glob=columns.get("model_glob", ""),
        starts_at=clock.rfc3339(effective.lower),
        ends_at=clock.rfc3339(ends) if ends else None,
    )
    return MarkupRule.objects.create(
        kind=kind, value=Decimal(value), effective=effective, **columns
    )
