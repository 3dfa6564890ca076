"""`/api/v1/providers/capture/{organization}`: how much of its gateway calls is kept."""

from __future__ import annotations

from uuid import UUID

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.authentication import actor_of
from accounts.types import Permission
from ideplatform.kit.serializers import read
from providers.api import serializers
from providers.services import exchanges
from providers.types import Capture


class GatewayCapture(APIView):
    permissions = {"GET": Permission.ORGANIZATION_VIEW, "PUT": Permission.ORGANIZATION_MANAGE}

    def get(self, request: Request, organization_id: UUID) -> Response:
        found = exchanges.capture_of(actor=actor_of(request), organization_id=organization_id)
        return _answer(organization_id, found)

    def put(self, request: Request, organization_id: UUID) -> Response:
        form = read(serializers.CaptureForm, request)
        kept = exchanges.set_capture(
            actor=actor_of(request),
            organization_id=organization_id,
            capture=Capture(form["capture"]),
        )
        return _answer(organization_id, kept)


def _answer(organization_id: UUID, capture: Capture) -> Response:
    return Response({"organization_id": organization_id, "capture": capture.value})
