"""What the payment routes accept and answer."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from rest_framework import serializers

from billing.models import AutoRecharge, TopUp
from billing.stripe.topups import usd
from ideplatform.kit import money, paging
from ideplatform.kit.serializers import StrictSerializer, wrong

_KEY_LENGTH: Final = 200
_ZERO: Final = Decimal(0)


class OrganizationForm(StrictSerializer):
    organization_id = serializers.UUIDField()


class PortalForm(OrganizationForm):
    pass


class WhoseForm(StrictSerializer):
    organization_id = serializers.UUIDField(required=False)


class TopUpsForm(WhoseForm):
    cursor = serializers.CharField(
        required=False, default="", allow_blank=True, max_length=paging.MAX_CURSOR_LENGTH
    )
    limit = serializers.IntegerField(
        required=False, default=paging.DEFAULT_LIMIT, min_value=1, max_value=paging.MOST
    )


class TopUpForm(OrganizationForm):
    amount_usd = serializers.DecimalField(12, 2, min_value=_ZERO)
    saves_card = serializers.BooleanField(required=False, default=False)


class AutoRechargeForm(OrganizationForm):
    is_enabled = serializers.BooleanField()
    threshold_usd = serializers.DecimalField(12, 2, min_value=_ZERO)
    amount_usd = serializers.DecimalField(12, 2, min_value=_ZERO)
    monthly_cap_usd = serializers.DecimalField(12, 2, min_value=_ZERO)


def request_key(header: str | None) -> str | None:
    """A client's Idempotency-Key; raises InvalidInput for one that cannot be kept."""
    if header is not None and (not 0 < len(header) <= _KEY_LENGTH or not header.isprintable()):
        raise wrong("/Idempotency-Key", f"1 to {_KEY_LENGTH} printable characters")
    return header


def top_up(row: TopUp) -> dict[str, object]:
    """A purchase; amounts in USD."""
    return {
        "id": row.pk,
        "organization_id": row.customer_id,
        "kind": row.kind,
        "state": row.state,
        "amount_usd": money.text(usd(row.amount_minor)),
        "credited_usd": money.text(row.credited),
        "created_at": row.created_at,
        "paid_at": row.paid_at,
    }


def auto_recharge(row: AutoRecharge | None) -> dict[str, object]:
    """Amounts in USD; all null where none was ever set."""
    if row is None:
        amounts = dict.fromkeys(("threshold_usd", "amount_usd", "monthly_cap_usd"))
        return {"is_enabled": False, "failures": 0} | amounts
    return {
        "is_enabled": row.is_enabled,
        "failures": row.failures,
        "threshold_usd": money.text(row.threshold),
        "amount_usd": money.text(usd(row.amount_minor)),
        "monthly_cap_usd": money.text(usd(row.monthly_cap_minor)),
    }
