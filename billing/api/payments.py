"""`/api/v1/billing/{top-ups,portal,auto-recharge}` and Stripe's webhook."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.authentication import NoAuthentication, actor_of
from accounts.types import Permission
from billing.api import payment_serializers as forms
from billing.api.serializers import query
from billing.selectors import payments as selectors
from billing.stripe import inbox, payers, recharges, topups
from ideplatform.kit import throttle
from ideplatform.kit.serializers import read


class TopUps(APIView):
    """Purchases of credit."""

    permissions = {"GET": Permission.BILLING_MANAGE, "POST": Permission.BILLING_MANAGE}
    limits = {"POST": throttle.TOP_UP}

    def get(self, request: Request) -> Response:
        asked = query(forms.TopUpsForm, request)
        page = selectors.top_ups_page(actor_of(request), **asked)
        items = [forms.top_up(row) for row in page.items]
        return Response({"items": items, "next_cursor": page.next_cursor})

    def post(self, request: Request) -> Response:
        form = read(forms.TopUpForm, request)
        key = forms.request_key(request.headers.get("Idempotency-Key"))
        started = topups.start(actor=actor_of(request), request_key=key, **form)
        return Response(forms.top_up(started.top_up) | {"url": started.url}, status=201)


class Portal(APIView):
    """Stripe's own page for cards and receipts."""

    permissions = {"POST": Permission.BILLING_MANAGE}
    limits = {"POST": throttle.TOP_UP}

    def post(self, request: Request) -> Response:
        form = read(forms.PortalForm, request)
        return Response({"url": payers.open_portal(actor=actor_of(request), **form)}, status=201)


class AutoRecharge(APIView):
    """What is bought when a wallet runs low."""

    permissions = {"GET": Permission.BILLING_MANAGE, "PUT": Permission.BILLING_MANAGE}

    def get(self, request: Request) -> Response:
        asked = query(forms.WhoseForm, request)
        row = selectors.auto_recharge(actor_of(request), **asked)
        return Response(forms.auto_recharge(row))

    def put(self, request: Request) -> Response:
        form = read(forms.AutoRechargeForm, request)
        return Response(forms.auto_recharge(recharges.configure(actor=actor_of(request), **form)))


class StripeWebhook(APIView):
    """Stores what Stripe tells; the bytes themselves are signed, so they are not parsed before."""

    public = "Stripe's signature of the body is the credential"
    authentication_classes = [NoAuthentication]

    def post(self, request: Request) -> Response:
        inbox.receive(request.body, request.headers.get("Stripe-Signature", ""))
        return Response({"received": True})
