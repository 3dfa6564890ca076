"""Requests that wait for a second person: what exactly would be done, and the decision."""

from __future__ import annotations

from uuid import UUID

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from accounts.services import passwords
from billing.admin import desk, forms
from billing.admin.desk import Desk
from billing.models import ApprovalRequest
from billing.services import approvals
from billing.types import ApprovalState
from ideplatform.kit import crypto
from ideplatform.kit.errors import NotFound, PlatformError


@admin.register(ApprovalRequest)
class ApprovalRequestAdmin(Desk):
    """Its change page shows a request; `approve/` and `reject/` decide it."""

    list_display = ("created_at", "kind", "customer_id", "reason", "proposer", "state", "approver")
    list_filter = ("state", "kind")
    list_select_related = ("proposer", "approver")
    search_fields = ("id", "reason", "ticket")
    ordering = ("-created_at",)

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(
                "<uuid:request_id>/change/",
                self.guarded(self.shown),
                name="billing_approvalrequest_change",
            ),
            path("<uuid:request_id>/approve/", self.guarded(self.approve), name="billing_approve"),
            path("<uuid:request_id>/reject/", self.guarded(self.reject), name="billing_reject"),
        ]
        return [*own, *super().get_urls()]

    def shown(self, request: HttpRequest, request_id: UUID) -> HttpResponse:
        asked = approvals.seen(desk.actor(request), request_id)
        return self._page(request, asked)

    def approve(self, request: HttpRequest, request_id: UUID) -> HttpResponse:
        """The password proves that the second person is here and not only their browser."""
        form = forms.Decision(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            return self._page(request, approvals.seen(desk.actor(request), request_id))
        actor = desk.actor(request)
        try:
            secret = crypto.Secret(form.cleaned_data["password"])
            passwords.reauthenticate(actor=actor, password=secret)
            done = approvals.approve(
                actor=actor, request_id=request_id, payload_hash=form.cleaned_data["payload_hash"]
            )
        except NotFound:
            raise
        except PlatformError as refused:
            desk.tell(request, refused)
            return self._back(request_id)
        messages.success(request, f"Approved and done: {done.result}")
        return self._back(request_id)

    def reject(self, request: HttpRequest, request_id: UUID) -> HttpResponse:
        form = forms.Refusal(request.POST if request.method == "POST" else None)
        if not form.is_valid():
            return self._back(request_id)
        try:
            approvals.reject(
                actor=desk.actor(request), request_id=request_id, note=form.cleaned_data["note"]
            )
        except NotFound:
            raise
        except PlatformError as refused:
            desk.tell(request, refused)
        return self._back(request_id)

    def _page(self, request: HttpRequest, asked: ApprovalRequest) -> HttpResponse:
        actor = desk.actor(request)
        digest = approvals.digest(asked)
        is_open = asked.state == ApprovalState.OPEN
        context = {
            "asked": asked,
            "digest": digest,
            "may_approve": is_open and approvals.may_approve(actor, asked),
            "is_own": is_open and asked.proposer_id == actor.user_id,
            "decision": forms.Decision(initial={"payload_hash": digest}),
            "refusal": forms.Refusal(),
        }
        return self.page(request, "request", f"Request: {asked.kind}", context)

    def _back(self, request_id: UUID) -> HttpResponse:
        return HttpResponseRedirect(
            reverse("admin:billing_approvalrequest_change", args=[request_id])
        )
