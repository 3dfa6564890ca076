"""Asking for money and agreeing to it, as two people do."""

from __future__ import annotations

from django.db import connection, transaction

from billing.models import (
    ApprovalRequest,
)
from billing.services import adjustments, approvals
from billing.services.adjustments import Grounds
from ideplatform.kit import ids
from tests.billing.calls import usd

WHY = Grounds(reason="Outage of Friday", ticket="T-1", note="agreed by phone")


def a_request(actor, team, amount="250"):
    outcome = adjustments.correct(
        actor=actor, customer_id=team.pk, amount_usd=usd(amount), grounds=WHY, token=ids.new()
    )
    assert not outcome.is_done
    return ApprovalRequest.objects.get(pk=outcome.target)


def approve(actor, request):
    return approvals.approve(
        actor=actor, request_id=request.pk, payload_hash=approvals.digest(request)
    )


def commit():
    """Let the database judge now what it judges at a commit."""
    connection.check_constraints()


@transaction.atomic
def committed(work, *values):
    work(*values)
    commit()
