from django.urls import path

from billing.api import views

urlpatterns = [
    path("usage", views.Usage.as_view()),
    path("summary", views.Summary.as_view()),
    path("balance", views.Balance.as_view()),
    path("budgets", views.Budgets.as_view()),
    path("budgets/<str:budget_id>", views.Budget.as_view()),
    path("budgets/<str:budget_id>/approvals", views.BudgetApprovals.as_view()),
    path(
        "budgets/<str:budget_id>/approvals/<str:approval_id>",
        views.BudgetApproval.as_view(),
    ),
]
