"""`/billing/budgets`: what each key spends, and the limits of an organization."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from accounts.models import ApiKey
from accounts.types import Permission
from billing import selectors
from billing.api import money_serializers
from billing.errors import BudgetApprovalClosed, BudgetInherited
from billing.models import Budget, BudgetApproval
from billing.selectors import names
from billing.selectors.budget_approvals import waiting
from billing.selectors.names import Named
from billing.selectors.summaries import Totals, summary
from billing.selectors.viewers import Place
from billing.services import budget_approvals, budgets
from billing.types import BudgetScope, OnHard, PeriodKind
from billing.web import forms
from billing.web.overview import limit
from billing.web.pages import BillingPage
from billing.windows import this_month
from ideplatform.kit import clock
from ideplatform.kit.errors import Conflict, InvalidInput

_PATH = "/billing/budgets"
_Options: TypeAlias = list[tuple[str, object]]
_EACH: Final[Mapping[BudgetScope, Promise]] = {
    BudgetScope.USER: _("every person"),
    BudgetScope.WORKSPACE: _("every workspace"),
    BudgetScope.API_KEY: _("every API key"),
    BudgetScope.PROVIDER: _("every provider"),
    BudgetScope.RUN: _("every run"),
}
_BY_NAME: Final[Mapping[BudgetScope, Promise]] = {
    BudgetScope.MODEL_GLOB: _("models"),
    BudgetScope.AGENT: _("an agent"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySpend:
    """A key, and what its calls of this month come to."""

    key: ApiKey
    totals: Totals


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """An approval that somebody has to decide, and the amount its form begins with."""

    approval: BudgetApproval
    amount: str


class Budgets(BillingPage):
    """Keys with what they spend, budgets with how full they are, and the form of a new one."""

    permissions = {"GET": Permission.BILLING_VIEW, "POST": Permission.BILLING_MANAGE}
    section = _PATH

    def get(self, request: HttpRequest) -> HttpResponse:
        return self._page({})

    def post(self, request: HttpRequest) -> HttpResponse:
        place = self.money_place()
        try:
            form = forms.new_budget(request.POST, place.id)
            budgets.create(
                actor=self.actor,
                organization_id=place.id,
                subject=money_serializers.subject(form),
                limits=money_serializers.limits(form),
            )
        except (InvalidInput, Conflict) as refused:
            more = {"sent": request.POST.dict(), "faults": forms.faults(refused)}
            return self._page(more, status=refused.status)
        return self.to(_PATH, done="created")

    def _page(self, more: dict[str, Any], *, status: int = 200) -> HttpResponse:
        place = self.place
        context = {
            "keys": [] if place is None else self._keys(place),
            "limits": [] if place is None or not place.sees_money else self._limits(place),
            "done": self.request.GET.get("done", ""),
            "is_manager": place is not None and place.manages_money,
            "waiting": self._waiting(place),
            "givers": self._givers(place),
            "subjects": self._subjects(place),
            "periods": [one.value for one in PeriodKind],
            "sent": {},
            "faults": {},
        }
        return self.shown("billing/budgets.html", context | more, status=status)

    def _keys(self, place: Place) -> list[KeySpend]:
        window = this_month(clock.now(), self.zone)
        filters = self.filters(organization_id=place.id)
        found = summary(self.actor, window, filters=filters, group_by=["api_key"])
        spent = {dict(group.key)["api_key"]: group.totals for group in found.groups}
        return [
            KeySpend(key=key, totals=spent.get(key.pk, Totals()))
            for key in names.keys(self.viewer.reach, place.id)
        ]

    def _limits(self, place: Place) -> list[Any]:
        rows = list(selectors.budgets(self.actor, place.id).order_by("created_at", "pk"))
        return [limit(one) for one in selectors.filled(rows)]

    def _waiting(self, place: Place | None) -> list[Waiting]:
        """What calls were refused for, and whoever manages the money can let be spent."""
        if place is None or not place.manages_money:
            return []
        return [Waiting(approval=one, amount=forms.amount(one.needs)) for one in waiting(place.id)]

    def _givers(self, place: Place | None) -> list[Budget]:
        if place is None or not place.manages_money:
            return []
        return _givers(selectors.budgets(self.actor, place.id).order_by("created_at", "pk"))

    def _subjects(self, place: Place | None) -> list[tuple[Promise, _Options]]:
        """What a new budget can limit, in groups: the form's value, and what people read."""
        if place is None or not place.manages_money:
            return []
        found = names.choices(self.viewer.reach, place.id)
        every: _Options = [(f"{scope}:{budgets.EACH}", label) for scope, label in _EACH.items()]
        by_name: _Options = [(str(scope), label) for scope, label in _BY_NAME.items()]
        return [
            (_("each by itself"), every),
            (_("by name"), by_name),
            (_("Workspaces"), _named(BudgetScope.WORKSPACE, found.workspaces)),
            (_("People"), _named(BudgetScope.USER, found.people)),
            (_("API keys"), _named(BudgetScope.API_KEY, found.keys)),
            (_("Providers"), _named(BudgetScope.PROVIDER, found.providers)),
        ]


class OneBudget(BillingPage):
    """A budget's limits; what it limits is for ever."""

    permissions = {"GET": Permission.BILLING_MANAGE, "POST": Permission.BILLING_MANAGE}
    section = _PATH

    def get(self, request: HttpRequest, budget_id: UUID) -> HttpResponse:
        budget = self._budget(budget_id)
        return self._page(budget, _stored(budget), {})

    def post(self, request: HttpRequest, budget_id: UUID) -> HttpResponse:
        budget = self._budget(budget_id)
        try:
            changes = money_serializers.changes(forms.changed_budget(request.POST))
            budgets.update(actor=self.actor, budget_id=budget_id, changes=changes)
        except (InvalidInput, Conflict) as refused:
            sent, faults = request.POST.dict(), forms.faults(refused)
            return self._page(budget, sent, faults, status=refused.status)
        return self.to(_PATH, done="changed")

    def _budget(self, budget_id: UUID) -> Budget:
        budget = budgets.of(self.actor, budget_id, Permission.BILLING_MANAGE)
        self.place = self.viewer.place(budget.customer_id)
        return budget

    def _page(
        self, budget: Budget, sent: Any, faults: dict[str, str], *, status: int = 200
    ) -> HttpResponse:
        others = selectors.budgets(self.actor, budget.customer_id).exclude(pk=budget.pk)
        context = {"budget": budget, "sent": sent, "faults": faults, "givers": _givers(others)}
        return self.shown("billing/budget.html", context, status=status)


class BudgetEnd(BillingPage):
    """Ends a budget; what it counted is kept."""

    permissions = {"POST": Permission.BILLING_MANAGE}
    section = _PATH

    def post(self, request: HttpRequest, budget_id: UUID) -> HttpResponse:
        budget = budgets.of(self.actor, budget_id, Permission.BILLING_MANAGE)
        self.place = self.viewer.place(budget.customer_id)
        try:
            budgets.delete(actor=self.actor, budget_id=budget_id)
        except BudgetInherited:
            return self.to(_PATH, done="inherited")
        return self.to(_PATH, done="deleted")


class BudgetDecide(BillingPage):
    """Grants more than a hard limit in one window, or lets the limit stand."""

    permissions = {"POST": Permission.BILLING_MANAGE}
    section = _PATH

    def post(self, request: HttpRequest, budget_id: UUID, approval_id: UUID) -> HttpResponse:
        budget = budgets.of(self.actor, budget_id, Permission.BILLING_MANAGE)
        self.place = self.viewer.place(budget.customer_id)
        try:
            form = forms.budget_decision(request.POST)
            if form["action"] == "grant":
                budget_approvals.grant(
                    actor=self.actor,
                    budget_id=budget_id,
                    approval_id=approval_id,
                    amount_usd=form["amount"],
                )
                return self.to(_PATH, done="granted")
            budget_approvals.refuse(actor=self.actor, budget_id=budget_id, approval_id=approval_id)
        except InvalidInput:
            return self.to(_PATH, done="amount")
        except BudgetApprovalClosed:
            return self.to(_PATH, done="decided")
        return self.to(_PATH, done="refused")


def _givers(rows: Iterable[Budget]) -> list[Budget]:
    """The budgets that others can take their limit from: those with one of their own."""
    return [row for row in rows if row.inherit_from_id is None]


def _named(scope: BudgetScope, found: Sequence[Named]) -> _Options:
    return [(f"{scope}:{one.id}", one.name) for one in found]


def _stored(budget: Budget) -> dict[str, object]:
    """A budget as its form is filled in."""
    return {
        "name": budget.name,
        "hard": "" if budget.inherit_from_id else forms.amount(budget.hard),
        "soft": "" if budget.inherit_from_id else forms.amount(budget.soft),
        "inherit_from": str(budget.inherit_from_id or ""),
        "alert_steps": ", ".join(map(str, budget.alert_steps)),
        "on_hard": OnHard(budget.on_hard).value,
        "degrade_to": budget.degrade_to,
        "counts_byok": budget.counts_byok,
        "is_enabled": budget.is_enabled,
    }
