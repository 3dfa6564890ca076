"""`/api/v1/billing/usage` and `/api/v1/billing/summary`."""

from __future__ import annotations

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpResponseBase, StreamingHttpResponse
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.authentication import actor_of
from accounts.types import Permission
from billing import selectors
from billing.api import export, serializers
from billing.types import UsageFilters
from ideplatform.kit import lists
from ideplatform.kit.renderers import JSONRenderer


class Usage(APIView):
    """Usage events, newest first: JSON pages, or everything as CSV."""

    permissions = {"GET": Permission.BILLING_VIEW}
    renderer_classes = [JSONRenderer, export.CSVRenderer]

    def get(self, request: Request) -> HttpResponseBase:
        asked = serializers.query(serializers.UsageForm, request)
        filters = serializers.usage_filters(asked)
        if request.accepted_renderer.format == "csv":
            return _csv(request, filters)
        page = selectors.usage_page(
            actor_of(request), filters, cursor=asked["cursor"], limit=asked["limit"]
        )
        return lists.answer(page, serializers.event)


class Summary(APIView):
    """What a window's usage adds up to."""

    permissions = {"GET": Permission.BILLING_VIEW}

    def get(self, request: Request) -> Response:
        asked = serializers.query(serializers.SummaryForm, request)
        found = selectors.summary(
            actor_of(request),
            serializers.window(asked),
            filters=serializers.filters(asked),
            group_by=serializers.group_by(asked),
            compares="compare" in asked,
        )
        return Response(serializers.summary(found))


def _csv(request: Request, filters: UsageFilters) -> StreamingHttpResponse:
    """A stream in the server's own kind: Django would gather the other kind in memory first."""
    chunks = selectors.usage_chunks(actor_of(request), filters)
    is_async = isinstance(request._request, ASGIRequest)  # noqa: SLF001  (DRF's way to Django's)
    return StreamingHttpResponse(
        export.lines_async(chunks) if is_async else export.lines(chunks),
        content_type=f"{export.MEDIA_TYPE}; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="usage.csv"'},
    )
