"""Prices: a draft, what it changes, what last week would have cost, what is odd, publishing."""

from __future__ import annotations

from datetime import UTC
from uuid import UUID

from django.contrib import admin, messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import URLPattern, path, reverse

from accounts.types import Actor
from billing import price_files
from billing.admin import desk, forms
from billing.admin.desk import Desk
from billing.models import PriceVersion
from billing.price_files import PriceKey
from billing.services import operators, price_reviews, rerating
from billing.types import Right
from ideplatform.kit.errors import Forbidden, NotFound, PlatformError


@admin.register(PriceVersion)
class PriceVersionAdmin(Desk):
    """Its change page is the review of a version; the POSTs beside it edit or ask to publish."""

    list_display = ("number", "state", "note", "created_by", "approved_by", "published_at")
    list_filter = ("state",)
    list_select_related = ("created_by", "approved_by")
    ordering = ("-created_at",)
    change_list_template = "admin/console/versions.html"

    def get_urls(self) -> list[URLPattern]:
        own = [
            path("draft/", self.guarded(self.draft), name="billing_draft"),
            path("<uuid:version_id>/change/", self.guarded(self.review), name="billing_review"),
            path("<uuid:version_id>/price/", self.guarded(self.price), name="billing_price"),
            path("<uuid:version_id>/publish/", self.guarded(self.publish), name="billing_publish"),
            path("<uuid:version_id>/drop/", self.guarded(self.drop), name="billing_drop"),
        ]
        return [*own, *super().get_urls()]

    def draft(self, request: HttpRequest) -> HttpResponse:
        """A new draft: a whole list, or its first price."""
        actor = desk.actor(request)
        operators.authorise(actor, Right.DRAFT_PRICES)
        listed = forms.PriceList(request.POST if "listed" in request.POST else None)
        one = forms.OnePrice(request.POST if "unit_price" in request.POST else None)
        try:
            if listed.is_bound and listed.is_valid():
                given = listed.cleaned_data
                read = price_files.read({"typed": given["listed"]})
                return _to(price_reviews.draft_list(actor=actor, listed=read, note=given["note"]))
            if one.is_bound and one.is_valid():
                return _to(_set(actor, None, one))
        except (Forbidden, NotFound):
            raise
        except PlatformError as refused:
            desk.tell(request, refused)
        return self.page(request, "draft", "Draft prices", {"listed": listed, "one": one})

    def review(self, request: HttpRequest, version_id: UUID) -> HttpResponse:
        operators.authorise(desk.actor(request), Right.VIEW)
        return self._review(request, version_id)

    def price(self, request: HttpRequest, version_id: UUID) -> HttpResponse:
        one = forms.OnePrice(request.POST or None)
        try:
            if one.is_valid():
                return _to(_set(desk.actor(request), version_id, one))
        except (Forbidden, NotFound):
            raise
        except PlatformError as refused:
            desk.tell(request, refused)
        return self._review(request, version_id, one=one)

    def publish(self, request: HttpRequest, version_id: UUID) -> HttpResponse:
        form = forms.Publish(request.POST or None)
        if not form.is_valid():
            return self._review(request, version_id, publish=form)
        moment = form.cleaned_data["effective_from"]
        try:
            outcome = price_reviews.ask_to_publish(
                actor=desk.actor(request),
                version_id=version_id,
                effective_from=moment.astimezone(UTC) if moment else None,
                accepts_jumps=form.cleaned_data["accepts_jumps"],
                grounds=form.grounds(),
                token=form.cleaned_data["token"],
            )
        except (Forbidden, NotFound):
            raise
        except PlatformError as refused:
            desk.tell(request, refused)
            return self._review(request, version_id, publish=form)
        messages.warning(request, "Publishing waits for a second person.")
        address = reverse("admin:billing_approvalrequest_change", args=[outcome.target])
        return HttpResponseRedirect(address)

    def drop(self, request: HttpRequest, version_id: UUID) -> HttpResponse:
        if request.method != "POST":
            return _to(version_id)
        try:
            price_reviews.drop(actor=desk.actor(request), version_id=version_id)
        except (Forbidden, NotFound):
            raise
        except PlatformError as refused:
            desk.tell(request, refused)
            return _to(version_id)
        messages.success(request, "The draft is gone.")
        return HttpResponseRedirect(reverse("admin:billing_priceversion_changelist"))

    def _review(
        self,
        request: HttpRequest,
        version_id: UUID,
        *,
        one: forms.OnePrice | None = None,
        publish: forms.Publish | None = None,
    ) -> HttpResponse:
        seen = price_reviews.review(version_id)
        is_draft = seen.version.state == "draft"
        context = {
            "review": seen,
            "odd": [row for row in seen.rows if row.warning],
            "rerated": rerating.rerate(version_id) if is_draft else [],
            "may_draft": is_draft and desk.may(request, Right.DRAFT_PRICES),
            "one": one or forms.OnePrice(),
            "publish": publish or forms.Publish(),
        }
        return self.page(request, "version", f"Prices: {seen.version}", context)


def _set(actor: Actor, version_id: UUID | None, one: forms.OnePrice) -> UUID:
    given = one.cleaned_data
    key = PriceKey(
        provider_type=given["provider_type"],
        match=price_reviews.exact_match(given["pattern"]),
        pattern=given["pattern"],
        service_tier=given["service_tier"],
        region=given["region"],
        context_over_tokens=given["context_over_tokens"],
        unit_class=given["unit_class"],
    )
    return price_reviews.set_price(
        actor=actor,
        version_id=version_id,
        key=key,
        unit_price=given["unit_price"],
        source=given["source"],
    )


def _to(version_id: UUID) -> HttpResponse:
    return HttpResponseRedirect(reverse("admin:billing_review", args=[version_id]))
