"""`/api/v1/billing/exports`: lists too long for one answer."""

from __future__ import annotations

from typing import Final

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.authentication import actor_of
from accounts.types import Permission
from billing.api import export as downloads
from billing.api import serializers
from billing.models import Export as Row
from billing.selectors import exports as selectors
from billing.services import exports
from billing.types import ExportState
from ideplatform.kit import ids, lists, paging, throttle
from ideplatform.kit.renderers import JSONRenderer, encode
from ideplatform.kit.serializers import StrictSerializer, read

HERE: Final = "/api/v1/billing/exports"


class ExportsForm(StrictSerializer):
    cursor = serializers.cursor_field()
    limit = serializers.limit_field(paging.MOST)


class Exports(APIView):
    """The caller's own exports."""

    permissions = {"GET": Permission.BILLING_VIEW, "POST": Permission.BILLING_VIEW}
    limits = {"POST": throttle.EXPORT}

    def get(self, request: Request) -> Response:
        asked = serializers.query(ExportsForm, request)
        return lists.answer(selectors.exports(actor_of(request), **asked), shown)

    def post(self, request: Request) -> HttpResponse:
        asked = read(serializers.FilterForm, request)
        filters = serializers.usage_filters(asked)
        return accepted(exports.request(actor=actor_of(request), filters=filters))


class Export(APIView):
    """How far one export is."""

    permissions = {"GET": Permission.BILLING_VIEW}

    def get(self, request: Request, export_id: str) -> Response:
        return Response(shown(selectors.export(actor_of(request), ids.parse(export_id))))


class Content(APIView):
    """The lines of an export, streamed from where they are kept."""

    permissions = {"GET": Permission.BILLING_VIEW}
    renderer_classes = [downloads.CSVRenderer, JSONRenderer]

    def get(self, request: Request, export_id: str) -> HttpResponseBase:
        row = selectors.export(actor_of(request), ids.parse(export_id))
        return downloads.streamed(request, exports.pieces(row), f"usage-{row.pk}.csv")


def accepted(row: Row) -> HttpResponse:
    """202 in JSON, whatever was asked for: the lines come later, from another place."""
    answer = HttpResponse(encode(shown(row)), status=202, content_type=JSONRenderer.media_type)
    answer["Location"] = f"{HERE}/{row.pk}"
    return answer


def shown(row: Row) -> dict[str, object]:
    """A job: `url` is where its lines are, null while they are not."""
    is_done = row.state == ExportState.DONE
    return {
        "id": row.pk,
        "state": row.state,
        "filters": row.filters,
        "rows": row.rows,
        "bytes": row.size,
        "sha256": None if row.sha256 is None else bytes(row.sha256).hex(),
        "url": f"{HERE}/{row.pk}/content" if is_done else None,
        "problem": row.problem,
        "created_at": row.created_at,
        "finished_at": row.finished_at,
        "expires_at": row.expires_at,
    }
