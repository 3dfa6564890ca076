"""Markups: what customers pay beside the vendor's price; each change is asked for and approved."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from billing.admin import desk, forms
from billing.admin.desk import Desk
from billing.models import MarkupRule
from billing.services import markup_rerating, markup_reviews, operators
from billing.services.markup_reviews import Markup
from billing.services.tokens import Outcome
from billing.types import MarkupKind, Right
from ideplatform.kit.errors import Forbidden, NotFound, PlatformError


@admin.register(MarkupRule)
class MarkupRuleAdmin(Desk):
    """Rules as they stand; `draft/` asks for another one, `end/` for the end of one."""

    list_display = (
        "kind", "value", "priority", "customer_id", "provider_type", "model_glob", "effective",
        "created_by",
    )  # fmt: skip
    list_filter = ("kind", "provider_type")
    list_select_related = ("created_by",)
    search_fields = ("customer__organization__name", "provider_type", "model_glob", "note")
    ordering = ("-created_at",)
    change_list_template = "admin/console/markups.html"

    def get_urls(self) -> list[URLPattern]:
        own = [
            path("draft/", self.guarded(self.draft), name="billing_markup_draft"),
            path("<uuid:rule_id>/change/", self.guarded(self.end), name="billing_markup_end"),
        ]
        return [*own, *super().get_urls()]

    def draft(self, request: HttpRequest) -> HttpResponse:
        """Asked, shown beside what stands and what last week would have paid, then proposed."""
        actor = desk.actor(request)
        operators.authorise(actor, Right.DRAFT_PRICES)
        form = forms.Markup(request.POST if request.method == "POST" else None)
        context: dict[str, object] = {"form": form}
        if not form.is_valid() or "back" in request.POST:
            return self.page(request, "markup", "Change a markup", context)
        markup = _markup(form)
        if "confirm" not in request.POST:
            judged = markup_reviews.judge(markup)
            replaced = judged.was.pk if judged.was else None
            context |= {
                "judged": judged,
                "markup": markup,
                "bills": markup_rerating.rerate(markup, replaces=replaced),
            }
            return self.page(request, "markup", "Change a markup", context)
        given = form.cleaned_data
        try:
            outcome = markup_reviews.ask_to_set(
                actor=actor,
                markup=markup,
                starts_at=_utc(given["starts_at"]),
                ends_at=_utc(given["ends_at"]),
                accepts_jump=given["accepts_jump"],
                grounds=form.grounds(),
                token=given["token"],
            )
        except Forbidden:
            raise
        except PlatformError as refused:
            desk.tell(request, refused)
            return self.page(request, "markup", "Change a markup", context)
        return _waiting(request, outcome)

    def end(self, request: HttpRequest, rule_id: UUID) -> HttpResponse:
        """A rule, and the form that asks for its end."""
        actor = desk.actor(request)
        operators.authorise(actor, Right.VIEW)
        rule = MarkupRule.objects.select_related("customer__organization").filter(pk=rule_id)
        found = rule.first()
        if found is None:
            raise NotFound
        form = forms.MarkupEnd(request.POST if request.method == "POST" else None)
        context = {
            "rule": found,
            "form": form,
            "may_end": markup_reviews.is_open(found) and desk.may(request, Right.DRAFT_PRICES),
        }
        if not form.is_valid():
            return self.page(request, "markup_rule", f"Markup: {found}", context)
        try:
            outcome = markup_reviews.ask_to_end(
                actor=actor,
                rule_id=rule_id,
                ends_at=_utc(form.cleaned_data["ends_at"]),
                grounds=form.grounds(),
                token=form.cleaned_data["token"],
            )
        except (Forbidden, NotFound):
            raise
        except PlatformError as refused:
            desk.tell(request, refused)
            return self.page(request, "markup_rule", f"Markup: {found}", context)
        return _waiting(request, outcome)


def _markup(form: forms.Markup) -> Markup:
    given = form.cleaned_data
    return Markup(
        kind=MarkupKind(given["kind"]),
        value=given["value"],
        priority=given["priority"],
        customer_id=given["customer"],
        provider_type=given["provider_type"],
        model_glob=given["model_glob"],
    )


def _utc(moment: datetime | None) -> datetime | None:
    return moment.astimezone(UTC) if moment else None


def _waiting(request: HttpRequest, outcome: Outcome) -> HttpResponse:
    messages.warning(request, "The markup waits for a second person.")
    address = reverse("admin:billing_approvalrequest_change", args=[outcome.target])
    return HttpResponseRedirect(address)
