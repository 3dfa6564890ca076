"""`/api/v1/billing/statements`: a month's money, line by line, as JSON or CSV."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from django.http.response import HttpResponseBase
from rest_framework import serializers as fields
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.authentication import actor_of
from accounts.types import Permission
from billing import selectors, sheets
from billing.api import export, serializers
from billing.models import Statement as Row
from billing.selectors.statements import Figures, MonthStatement, plain_lines, read_month
from ideplatform.kit import lists, money, paging
from ideplatform.kit.renderers import JSONRenderer
from ideplatform.kit.serializers import StrictSerializer

COLUMNS: Final = (
    "kind",
    "provider_type",
    "model",
    "count",
    "tokens_input",
    "tokens_output",
    "amount",
)


class WhoseStatementForm(StrictSerializer):
    organization_id = fields.UUIDField(required=False)
    format = fields.ChoiceField(["json", "csv"], required=False)


class StatementsForm(StrictSerializer):
    organization_id = fields.UUIDField(required=False)
    cursor = serializers.cursor_field()
    limit = serializers.limit_field(paging.MOST)


class Statements(APIView):
    """Closed months, the latest first."""

    permissions = {"GET": Permission.BILLING_VIEW}

    def get(self, request: Request) -> Response:
        asked = serializers.query(StatementsForm, request)
        return lists.answer(selectors.statements_page(actor_of(request), **asked), _head)


class Statement(APIView):
    """One month: opening + lines = closing."""

    permissions = {"GET": Permission.BILLING_VIEW}
    renderer_classes = [JSONRenderer, export.CSVRenderer]

    def get(self, request: Request, month: str) -> HttpResponseBase:
        asked = serializers.query(WhoseStatementForm, request)
        found = selectors.statement(
            actor_of(request), read_month(month), asked.get("organization_id")
        )
        if request.accepted_renderer.format == "csv":
            return export.streamed(request, _csv(found.figures), f"statement-{month}.csv")
        return Response(shown(found))


def shown(found: MonthStatement) -> dict[str, object]:
    """Amounts are decimal strings in USD; `sha256` and `closed_at` once the month is closed."""
    figures = found.figures
    return {
        "organization_id": figures.customer_id,
        "month": f"{figures.month:%Y-%m}",
        "currency": "USD",
        "opening": money.text(money.quantise(figures.opening)),
        "lines": plain_lines(figures),
        "closing": money.text(money.quantise(figures.closing)),
        "is_closed": found.closed_at is not None,
        "closed_at": found.closed_at,
        "sha256": found.sha256,
    }


def _head(row: Row) -> dict[str, object]:
    return {
        "organization_id": row.customer_id,
        "month": f"{row.month:%Y-%m}",
        "currency": row.currency,
        "opening": money.text(row.opening),
        "closing": money.text(row.closing),
        "closed_at": row.closed_at,
        "sha256": bytes(row.sha256).hex(),
    }


def _csv(found: Figures) -> Iterator[bytes]:
    """The lines between two rows of their own: what was there, and what is left."""
    blank = [""] * (len(COLUMNS) - 2)
    yield sheets.text([COLUMNS, ["opening", *blank, found.opening]])
    yield sheets.text([getattr(line, name) for name in COLUMNS] for line in found.lines)
    yield sheets.text([["closing", *blank, found.closing]])
