"""`POST /api/v1/billing/usage`: what clients report of calls with their own vendor keys."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from accounts.api.authentication import actor_of
from billing.api import report_serializers as forms
from billing.services import client_usage
from billing.services.client_usage import Recorded, Report
from ideplatform.kit.errors import PlatformError


def receive(request: Request) -> Response:
    """One call: 201, or 200 where it was known. A batch: 207, and what became of each."""
    body: object = request.data
    if isinstance(body, dict) and forms.is_batch(body):
        return Response(forms.results(_batch(request, forms.several(body))), status=207)
    answer = client_usage.report(actor=actor_of(request), told=forms.one(body))
    return Response(forms.recorded(answer), status=201 if answer.is_new else 200)


def _batch(request: Request, told: list[Report | PlatformError]) -> list[Recorded | PlatformError]:
    """Each valid report is recorded beside the faults of the others, in the order they came."""
    valid = [one for one in told if isinstance(one, Report)]
    answers = iter(client_usage.report_many(actor=actor_of(request), told=valid))
    return [one if isinstance(one, PlatformError) else next(answers) for one in told]
