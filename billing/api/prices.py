"""`GET /api/v1/billing/prices`: what calls cost at a moment, and what is charged beside it."""

from __future__ import annotations

from rest_framework import serializers as fields
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.authentication import actor_of
from accounts.types import Permission
from billing.api import serializers
from billing.models import MarkupRule, Price
from billing.selectors import prices as selectors
from billing.services import prices
from ideplatform.kit import clock, money, paging
from ideplatform.kit.serializers import StrictSerializer


class PricesForm(StrictSerializer):
    """With `model`: every price that can decide about its calls. Without: all, page by page."""

    model = fields.CharField(required=False, max_length=200)
    provider_type = fields.CharField(required=False, max_length=30)
    at = fields.DateTimeField(required=False)
    organization_id = fields.UUIDField(required=False)
    cursor = serializers.cursor_field()
    limit = serializers.limit_field(paging.MOST)


class Prices(APIView):
    """Prices in force."""

    permissions = {"GET": Permission.BILLING_VIEW}

    def get(self, request: Request) -> Response:
        asked = serializers.query(PricesForm, request)
        actor, at = actor_of(request), asked.get("at") or clock.now()
        vendor = asked.get("provider_type", "")
        rules = selectors.markups_of(actor, at=at, organization_id=asked.get("organization_id"))
        if "model" in asked:
            named = prices.deciding(model=asked["model"], at=at, provider_type=vendor)
            items = selectors.prices_named(actor, named)
            cursor = ""
        else:
            page = selectors.prices_page(
                actor, at=at, provider_type=vendor, cursor=asked["cursor"], limit=asked["limit"]
            )
            items, cursor = page.items, page.next_cursor
        return Response(
            {
                "at": at,
                "currency": "USD",
                "items": [_price(row) for row in items],
                "markups": [_markup(row) for row in rules],
                "next_cursor": cursor,
            }
        )


def _price(row: Price) -> dict[str, object]:
    """`unit_price` is USD for one unit of its class; `to` is null without an end."""
    return {
        "id": row.pk,
        "version": row.version.number,
        "provider_type": row.provider_type,
        "match": row.match,
        "model": row.pattern,
        "service_tier": row.service_tier,
        "region": row.region,
        "context_over_tokens": row.context_over_tokens,
        "unit_class": row.unit_class,
        "unit_price": money.text(row.unit_price),
        "from": row.effective.lower,
        "to": row.effective.upper,
        "source": row.source,
    }


def _markup(row: MarkupRule) -> dict[str, object]:
    """`value` is percent of the vendor's price, or USD a token, or USD a call."""
    return {
        "id": row.pk,
        "kind": row.kind,
        "value": money.text(row.value),
        "priority": row.priority,
        "is_own": row.customer_id is not None,
        "provider_type": row.provider_type,
        "model_glob": row.model_glob,
        "from": row.effective.lower,
        "to": row.effective.upper,
    }
