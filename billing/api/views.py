"""`/api/v1/billing`: usage, summary, balance and budgets."""

from __future__ import annotations

from typing import Final

from django.http import HttpResponseBase
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.api.authentication import actor_of
from accounts.types import Permission
from billing import selectors
from billing.api import export, exports, money_serializers, reports, serializers
from billing.models import Budget as BudgetRow
from billing.services import balances, budget_approvals, budgets
from billing.services import exports as export_jobs
from billing.sheets import USAGE_COLUMNS
from billing.types import UsageFilters
from ideplatform.kit import ids, lists, paging
from ideplatform.kit.renderers import JSONRenderer
from ideplatform.kit.serializers import read

MOST_STREAMED: Final = 250_000


class Usage(APIView):
    """Usage events, newest first: JSON pages, or everything as CSV. Clients report theirs."""

    permissions = {"GET": Permission.BILLING_VIEW, "POST": Permission.USAGE_REPORT}

    def get_renderers(self) -> list[BaseRenderer]:
        is_list = self.request is None or self.request.method != "POST"
        return [JSONRenderer(), export.CSVRenderer()] if is_list else [JSONRenderer()]

    def get(self, request: Request) -> HttpResponseBase:
        asked = serializers.query(serializers.UsageForm, request)
        filters = serializers.usage_filters(asked)
        if request.accepted_renderer.format == "csv":
            return _csv(request, filters)
        page = selectors.usage_page(
            actor_of(request), filters, cursor=asked["cursor"], limit=asked["limit"]
        )
        return lists.answer(page, serializers.event)

    def post(self, request: Request) -> Response:
        return reports.receive(request)


class Summary(APIView):
    """What a window's usage adds up to."""

    permissions = {"GET": Permission.BILLING_VIEW}

    def get(self, request: Request) -> Response:
        asked = serializers.query(serializers.SummaryForm, request)
        found = balances.overview(
            actor_of(request),
            serializers.window(asked),
            organization_id=asked.get("organization_id"),
            filters=serializers.filters(asked),
            group_by=serializers.group_by(asked),
            compares="compare" in asked,
        )
        return Response(serializers.summary(found.summary, found.funds, found.budgets))


class Balance(APIView):
    """What an organization has to spend."""

    permissions = {"GET": Permission.BILLING_VIEW}

    def get(self, request: Request) -> Response:
        asked = serializers.query(money_serializers.BalanceForm, request)
        found = balances.of(actor_of(request), asked.get("organization_id"))
        return Response(money_serializers.funds(found))


class Budgets(APIView):
    """The limits of organizations."""

    permissions = {"GET": Permission.BILLING_VIEW, "POST": Permission.BILLING_MANAGE}

    def get(self, request: Request) -> Response:
        asked = serializers.query(money_serializers.BudgetsForm, request)
        actor, organization_id = actor_of(request), asked.get("organization_id")
        page = paging.page(
            selectors.budgets(actor, organization_id),
            order=("id",),
            scope=f"budgets:{actor.user_id}:{actor.api_key_id}:{organization_id}",
            cursor=asked["cursor"],
            limit=asked["limit"],
        )
        items = [money_serializers.budget(one) for one in selectors.filled(page.items)]
        return Response({"items": items, "next_cursor": page.next_cursor})

    def post(self, request: Request) -> Response:
        form = read(money_serializers.BudgetForm, request)
        row = budgets.create(
            actor=actor_of(request),
            organization_id=form["organization_id"],
            subject=money_serializers.subject(form),
            limits=money_serializers.limits(form),
        )
        return _budget(row, status=201)


class Budget(APIView):
    """One limit of an organization."""

    permissions = {
        "GET": Permission.BILLING_VIEW,
        "PATCH": Permission.BILLING_MANAGE,
        "DELETE": Permission.BILLING_MANAGE,
    }

    def get(self, request: Request, budget_id: str) -> Response:
        permission = Permission.BILLING_VIEW
        return _budget(budgets.of(actor_of(request), ids.parse(budget_id), permission))

    def patch(self, request: Request, budget_id: str) -> Response:
        form = read(money_serializers.BudgetChangeForm, request)
        row = budgets.update(
            actor=actor_of(request),
            budget_id=ids.parse(budget_id),
            changes=money_serializers.changes(form),
        )
        return _budget(row)

    def delete(self, request: Request, budget_id: str) -> Response:
        budgets.delete(actor=actor_of(request), budget_id=ids.parse(budget_id))
        return Response(status=204)


class BudgetApprovals(APIView):
    """What calls were refused for at a budget's hard limit, and what was decided."""

    permissions = {"GET": Permission.BILLING_VIEW}

    def get(self, request: Request, budget_id: str) -> Response:
        rows = selectors.approvals_of(actor_of(request), ids.parse(budget_id))
        return Response({"items": [money_serializers.budget_approval(row) for row in rows]})


class BudgetApproval(APIView):
    """One decision about a budget's hard limit."""

    permissions = {"POST": Permission.BILLING_MANAGE}

    def post(self, request: Request, budget_id: str, approval_id: str) -> Response:
        form = read(money_serializers.BudgetApprovalForm, request)
        budget, approval = ids.parse(budget_id), ids.parse(approval_id)
        actor = actor_of(request)
        if form["action"] == "grant":
            row = budget_approvals.grant(
                actor=actor,
                budget_id=budget,
                approval_id=approval,
                amount_usd=form.get("amount"),
            )
        else:
            row = budget_approvals.refuse(actor=actor, budget_id=budget, approval_id=approval)
        return Response(money_serializers.budget_approval(row))


def _budget(row: BudgetRow, status: int = 200) -> Response:
    (found,) = selectors.filled([row])
    return Response(money_serializers.budget(found), status=status)


def _csv(request: Request, filters: UsageFilters) -> HttpResponseBase:
    """The events as they are read; more than 250,000 become an export."""
    actor = actor_of(request)
    if selectors.exceeds(actor, filters, MOST_STREAMED):
        return exports.accepted(export_jobs.request(actor=actor, filters=filters))
    chunks = selectors.usage_chunks(actor, filters, USAGE_COLUMNS)
    return export.streamed(request, export.lines(chunks), "usage.csv")
