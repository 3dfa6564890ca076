from __future__ import annotations

from django.urls import path

from billing.web.budgets import BudgetDecide, BudgetEnd, Budgets, OneBudget
from billing.web.explorer import Explorer
from billing.web.notices import NoticeRead
from billing.web.overview import Overview
from billing.web.payment import BuyCredit, OpenPortal, Payment, Pending, SetRecharge
from billing.web.settings import Settings
from billing.web.statements import OneStatement, Statements

urlpatterns = [
    path("", Overview.as_view()),
    path("explorer", Explorer.as_view()),
    path("budgets", Budgets.as_view()),
    path("budgets/<uuid:budget_id>", OneBudget.as_view()),
    path("budgets/<uuid:budget_id>/end", BudgetEnd.as_view()),
    path(
        "budgets/<uuid:budget_id>/approvals/<uuid:approval_id>",
        BudgetDecide.as_view(),
    ),
    path("notices/<uuid:notice_id>/read", NoticeRead.as_view()),
    path("statements", Statements.as_view()),
    path("statements/<str:month>", OneStatement.as_view()),
    path("payment", Payment.as_view()),
    path("payment/pending", Pending.as_view()),
    path("payment/top-ups", BuyCredit.as_view()),
    path("payment/portal", OpenPortal.as_view()),
    path("payment/auto-recharge", SetRecharge.as_view()),
    path("settings", Settings.as_view()),
]
