"""Usage events: a call, what was corrected of it, and the dialog that corrects it."""

from __future__ import annotations

from uuid import UUID

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from billing.admin import desk, forms
from billing.admin.desk import Desk
from billing.admin.dialogs import Preview
from billing.models import UsageCorrection, UsageEvent
from billing.services import correction_reviews, operators
from billing.services.correction_facts import Standing, change_to, standing
from billing.services.corrections import Change
from billing.types import CorrectionReason, Right
from ideplatform.kit import money
from ideplatform.kit.errors import Forbidden, NotFound, PlatformError

TITLE = "Correct a call"


@admin.register(UsageEvent)
class UsageEventAdmin(Desk):
    """Its change page shows a call with its corrections; `correct/` brings it to new facts."""

    list_display = (
        "occurred_at", "customer_id", "provider_type", "model", "estimated_cost", "billed_cost",
        "billing_mode", "accuracy", "outcome",
    )  # fmt: skip
    list_filter = ("billing_mode", "accuracy", "outcome", "provider_type")
    search_fields = ("request_id", "provider_request_id", "id")
    ordering = ("-occurred_at", "-id")
    exclude = ("payload_hash",)
    change_form_template = "admin/console/event.html"

    def get_urls(self) -> list[URLPattern]:
        own = [path("<uuid:event_id>/correct/", self.guarded(self.correct), name="billing_correct")]
        return [*own, *super().get_urls()]

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, object] | None = None,
    ) -> HttpResponse:
        corrections = UsageCorrection.objects.filter(event__pk=object_id).order_by("number")
        more = {"corrections": corrections, "may_correct": desk.may(request, Right.ADJUST)}
        context = (extra_context or {}) | more
        shown: HttpResponse = super().change_view(request, object_id, form_url, context)
        return shown

    def correct(self, request: HttpRequest, event_id: UUID) -> HttpResponse:
        """Asked, shown before and after, then done or proposed: one page, three steps."""
        actor = desk.actor(request)
        operators.authorise(actor, Right.ADJUST)
        event = UsageEvent.objects.filter(pk=event_id).first()
        if event is None:
            raise NotFound
        now = standing(event)
        sent = request.POST if request.method == "POST" else None
        form = forms.Correction(sent, counts=now.quantities)
        context = {"form": form, "now": now, "event": event, "title": TITLE}
        if not form.is_valid() or "back" in request.POST:
            return self.page(request, "correction", TITLE, context)
        try:
            if "confirm" in request.POST:
                return self._done(request, event, form)
            change = change_to(now, form.facts())
        except (Forbidden, NotFound):
            raise
        except PlatformError as refused:
            desk.tell(request, refused)
            return self.page(request, "correction", TITLE, context)
        why = correction_reviews.why_two(operator_id=actor.user_id, change=change)
        preview = Preview(lines=_lines(now, change), why_two=why)
        return self.page(request, "confirm", TITLE, context | {"preview": preview})

    def _done(
        self, request: HttpRequest, event: UsageEvent, form: forms.Correction
    ) -> HttpResponse:
        given = form.cleaned_data
        outcome = correction_reviews.ask(
            actor=desk.actor(request),
            event_id=event.pk,
            facts=form.facts(),
            reason=CorrectionReason(given["correction"]),
            grounds=form.grounds(),
            token=given["token"],
        )
        if outcome.is_done:
            messages.success(request, "The call was corrected.")
            address = reverse("admin:billing_usageevent_change", args=[event.pk])
        else:
            messages.warning(request, "The correction waits for a second person.")
            address = reverse("admin:billing_approvalrequest_change", args=[outcome.target])
        return HttpResponseRedirect(address)


def _lines(now: Standing, change: Change) -> list[tuple[str, str, str]]:
    """What would be otherwise: name, before, after."""
    was = now.costs
    cost = was.estimated_cost
    costs = [
        ("Billed, USD", was.billed_cost, was.billed_cost + change.billed_cost),
        (
            "The vendor's cost, USD",
            cost,
            cost if change.estimated_cost is None else (cost or money.ZERO) + change.estimated_cost,
        ),
    ]
    lines = [
        (name, "unknown" if before is None else f"{before:f}", f"{after:f}")
        for name, before, after in costs
        if after is not None and after != before
    ]
    for name, delta in sorted((change.quantities or {}).items()):
        before = now.quantities.get(name, 0)
        lines.append((name.value, str(before), str(before + delta)))
    return lines
