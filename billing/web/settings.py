"""`/billing/settings`: how a person wants to see money, and whether alerts come by e-mail."""

from __future__ import annotations

import zoneinfo
from typing import Any

from django.http import HttpRequest, HttpResponse

from accounts.types import Permission
from billing.services import preferences
from billing.types import Precision
from billing.web import forms
from billing.web.pages import BillingPage
from ideplatform.kit.errors import InvalidInput

_PATH = "/billing/settings"


class Settings(BillingPage):
    """A form of three fields."""

    permissions = {"GET": Permission.SELF, "POST": Permission.SELF}
    section = _PATH

    def get(self, request: HttpRequest) -> HttpResponse:
        stored = self.viewer.preferences
        return self._page(
            {
                "tz": stored.tz,
                "precision": stored.precision.value,
                "gets_alerts": stored.gets_alerts,
            }
        )

    def post(self, request: HttpRequest) -> HttpResponse:
        try:
            preferences.save(actor=self.actor, **forms.settings(request.POST))
        except InvalidInput as refused:
            sent = request.POST.dict() | {"gets_alerts": "gets_alerts" in request.POST}
            return self._page(sent, faults=forms.faults(refused), status=refused.status)
        return self.to(_PATH, done="saved")

    def _page(
        self, sent: dict[str, Any], *, faults: dict[str, str] | None = None, status: int = 200
    ) -> HttpResponse:
        context = {
            "sent": sent,
            "faults": faults or {},
            "done": self.request.GET.get("done", ""),
            "zones": sorted(zone for zone in zoneinfo.available_timezones() if "/" in zone),
            "precisions": [one.value for one in Precision],
        }
        return self.shown("billing/settings.html", context, status=status)
