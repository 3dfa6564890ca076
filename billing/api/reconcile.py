"""`/api/v1/billing/reconcile`: vendors' reports beside our count, and what differs."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.authentication import actor_of
from accounts.types import Permission
from billing.api import reconcile_serializers as forms
from billing.api.payment_serializers import request_key
from billing.api.serializers import query
from billing.selectors import reconciliation as selectors
from billing.services import reconcile
from billing.types import LineAction, LineClass, LineStatus
from ideplatform.kit import ids
from ideplatform.kit.serializers import read


class Reconciliations(APIView):
    """Comparisons, asked for."""

    permissions = {"POST": Permission.RECONCILIATION_RUN}

    def post(self, request: Request) -> Response:
        form = read(forms.ReconcileForm, request)
        asking = forms.asking(form, request_key(request.headers.get("Idempotency-Key")))
        found = reconcile.request(asking=asking, actor=actor_of(request))
        is_new = any(one.is_new for one in found)
        return Response(forms.asked(found), status=202 if is_new else 200)


class Reconciliation(APIView):
    """One comparison, and its lines."""

    permissions = {"GET": Permission.RECONCILIATION_RUN}

    def get(self, request: Request, recon_id: str) -> Response:
        asked = query(forms.LinesForm, request)
        actor, run_id = actor_of(request), ids.parse(recon_id)
        run = selectors.run(actor, run_id)
        lines = selectors.lines_page(
            actor,
            run_id,
            line_class=LineClass(asked["class"]) if "class" in asked else None,
            status=LineStatus(asked["status"]) if "status" in asked else None,
            cursor=asked["cursor"],
            limit=asked["limit"],
        )
        return Response(forms.run(run, lines))


class ReconciliationLine(APIView):
    """One difference, decided by an operator."""

    permissions = {"POST": Permission.BILLING_OPERATE}

    def post(self, request: Request, recon_id: str, line_id: str) -> Response:
        form = read(forms.DecisionForm, request)
        decided = reconcile.decide(
            actor=actor_of(request),
            run_id=ids.parse(recon_id),
            line_id=ids.parse(line_id),
            action=LineAction(form["action"]),
            note=form["note"],
        )
        waits = decided.approval_id is not None
        return Response(forms.line(decided.line), status=202 if waits else 200)
