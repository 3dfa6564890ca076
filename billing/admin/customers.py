"""The customer on one screen, the dialogs that move its money, and the reports over all."""

from __future__ import annotations

from uuid import UUID

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from billing.admin import desk
from billing.admin.desk import Desk
from billing.admin.dialogs import DIALOGS, Case
from billing.models import Customer
from billing.services import console, operators, reports
from billing.types import Right
from ideplatform.kit.errors import Forbidden, NotFound, PlatformError


@admin.register(Customer)
class CustomerAdmin(Desk):
    """Its change page is the screen; `dialog/<name>/` are the things that can be done there."""

    list_display = ("organization", "status", "postpaid_limit", "created_at")
    list_filter = ("status",)
    list_select_related = ("organization",)
    search_fields = ("organization__name", "organization__slug", "stripe_customer_id")
    ordering = ("-created_at",)
    change_list_template = "admin/console/customers.html"

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(
                "reports/<slug:name>/",
                self.guarded(self.report),
                name="billing_report",
            ),
            path("<uuid:customer_id>/change/", self.guarded(self.screen), name="billing_screen"),
            path(
                "<uuid:customer_id>/dialog/<slug:name>/",
                self.guarded(self.dialog),
                name="billing_dialog",
            ),
        ]
        return [*own, *super().get_urls()]

    def screen(self, request: HttpRequest, customer_id: UUID) -> HttpResponse:
        shown = console.screen(desk.actor(request), customer_id)
        dialogs = [
            (name, dialog.title)
            for name, dialog in DIALOGS.items()
            if desk.may(request, dialog.right)
        ]
        title = str(shown.customer.organization)
        return self.page(request, "customer", title, {"screen": shown, "dialogs": dialogs})

    def dialog(self, request: HttpRequest, customer_id: UUID, name: str) -> HttpResponse:
        """Asked, shown before and after, then done: one page, three steps."""
        if name not in DIALOGS:
            raise NotFound
        dialog = DIALOGS[name]
        case = Case(actor=desk.actor(request), customer_id=customer_id)
        operators.authorise(case.actor, dialog.right)
        form = dialog.form(request.POST if request.method == "POST" else None)
        context = {"form": form, "dialog": dialog, "customer_id": customer_id}
        if request.method != "POST" or not form.is_valid() or "back" in request.POST:
            console.after(customer_id)  # a customer that is not there has no dialogs
            return self.page(request, "dialog", dialog.title, context)
        try:
            if "confirm" in request.POST:
                return self._done(request, customer_id, name, case)
            preview = dialog.preview(case, form)
        except (Forbidden, NotFound):
            raise
        except PlatformError as refused:
            desk.tell(request, refused)
            return self.page(request, "dialog", dialog.title, context)
        return self.page(request, "confirm", dialog.title, context | {"preview": preview})

    def _done(self, request: HttpRequest, customer_id: UUID, name: str, case: Case) -> HttpResponse:
        dialog = DIALOGS[name]
        form = dialog.form(request.POST)
        form.is_valid()
        outcome = dialog.work(case, form)
        if outcome.is_done:
            messages.success(request, f"{dialog.title}: done.")
            return HttpResponseRedirect(reverse("admin:billing_screen", args=[customer_id]))
        messages.warning(request, f"{dialog.title}: it waits for a second person.")
        address = reverse("admin:billing_approvalrequest_change", args=[outcome.target])
        return HttpResponseRedirect(address)

    def report(self, request: HttpRequest, name: str) -> HttpResponse:
        operators.authorise(desk.actor(request), Right.REPORTS)
        if name not in reports.REPORTS:
            raise NotFound
        table = reports.REPORTS[name]()
        return self.page(
            request, "report", table.title, {"table": table, "names": list(reports.REPORTS)}
        )
