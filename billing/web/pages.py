"""What the dashboard's pages share: whose money is shown, in which zone and how exactly."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, ClassVar, Final
from urllib.parse import urlencode
from uuid import UUID
from zoneinfo import ZoneInfo

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.types import Permission
from accounts.web.pages import Page, is_partial
from billing.selectors import reach, viewers
from billing.selectors.viewers import Place, Viewer
from billing.types import UsageFilters
from billing.windows import Window, of_period, this_month
from ideplatform.kit import clock, ids
from ideplatform.kit.serializers import wrong
from workspaces import selectors as workspaces
from workspaces.services import access as workspace_access

ALL: Final = "all"
"""Instead of an organization: whatever the reader sees, wherever it was used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """An entry of the navigation."""

    path: str
    label: Promise
    needs_money: bool = False
    is_managed: bool = False


SECTIONS: Final = (
    Section(path="/billing/", label=_("Overview")),
    Section(path="/billing/explorer", label=_("Explorer")),
    Section(path="/billing/budgets", label=_("Keys & budgets")),
    Section(path="/billing/statements", label=_("Statements"), needs_money=True),
    Section(path="/billing/payment", label=_("Payment"), is_managed=True),
    Section(path="/billing/settings", label=_("Settings")),
)


class BillingPage(Page):
    """A page about one organization's money, one workspace's, or everything the reader sees.

    `?organization=` and `?workspace=` say which; a form carries the organization as a field.
    """

    section: ClassVar[str] = ""
    viewer: Viewer
    place: Place | None
    workspace_id: UUID | None
    workspace_name: str

    def begin(self, request: HttpRequest, stack: ExitStack) -> None:
        self.viewer = viewers.viewer(self.actor)
        stack.enter_context(timezone.override(self.zone))
        if request.method in ("GET", "HEAD"):
            stack.enter_context(reach.kept(self.viewer.reach))
        asked = request.POST if request.method == "POST" else request.GET
        self.workspace_id, self.workspace_name = None, ""
        self.place = self._workspaces_place(asked) if asked.get("workspace") else self._named(asked)

    @property
    def zone(self) -> ZoneInfo:
        return ZoneInfo(self.viewer.preferences.tz)

    @property
    def sees_money(self) -> bool:
        """Whether the whole organization's money stands on the page."""
        return self.place is not None and self.place.sees_money and self.workspace_id is None

    @property
    def scope(self) -> str:
        """The page's organization or workspace, as the links of the page carry it on."""
        if self.workspace_id is not None:
            return urlencode({"workspace": str(self.workspace_id)})
        return urlencode({"organization": ALL if self.place is None else str(self.place.id)})

    def filters(self, **more: Any) -> UsageFilters:
        """Which usage the page is about."""
        organization_id = None if self.place is None else self.place.id
        return UsageFilters(
            **({"organization_id": organization_id, "workspace_id": self.workspace_id} | more)
        )

    def month(self) -> Window:
        """`?period=month:2026-11`, else this month, in the reader's zone; raises InvalidInput."""
        period = self.request.GET.get("period", "")
        if not period:
            return this_month(clock.now(), self.zone)
        if not period.startswith("month:"):
            raise wrong("/period", "a month, such as month:2026-11")
        return of_period(period, self.zone)

    def shown(
        self, template: str, context: Mapping[str, Any], *, status: int = 200
    ) -> HttpResponse:
        common = {
            "viewer": self.viewer,
            "precision": self.viewer.preferences.precision,
            "place": self.place,
            "sees_money": self.sees_money,
            "workspace_name": self.workspace_name,
            "scope": self.scope,
            "section": self.section,
            "sections": self._sections(),
        }
        return super().shown(template, common | dict(context), status=status)

    def parts(self, whole: str, part: str, context: Mapping[str, Any]) -> HttpResponse:
        """The page, or the part of it that htmx replaces."""
        return self.shown(part if is_partial(self.request) else whole, context)

    def to(self, path: str, **query: str) -> HttpResponse:
        """After a write: the page that shows what it did."""
        more = urlencode(query)
        return HttpResponseRedirect(f"{path}?{self.scope}{'&' + more if more else ''}", status=303)

    def money_place(self) -> Place:
        """The organization whose money the page is about; the first one when none is named."""
        return self.viewer.place(None if self.place is None else self.place.id)

    def _named(self, asked: QueryDict) -> Place | None:
        text = asked.get("organization", "")
        if text == ALL or not self.viewer.places:
            return None
        return self.viewer.place(ids.parse(text) if text else None)

    def _workspaces_place(self, asked: QueryDict) -> Place | None:
        """The workspace that is named, where the reader sees costs, and its organization."""
        permission = Permission.BILLING_VIEW
        asked_id = ids.parse(asked.get("workspace", ""))
        ref = workspace_access.workspace(self.actor, asked_id, permission)
        self.workspace_id, self.workspace_name = ref.id, workspaces.workspace(ref).name
        known = [place for place in self.viewer.places if place.id == ref.organization_id]
        return known[0] if known else None

    def _sections(self) -> list[Section]:
        place = self.place
        return [
            one
            for one in SECTIONS
            if ((place is not None and place.sees_money) or not one.needs_money)
            and ((place is not None and place.manages_money) or not one.is_managed)
        ]
