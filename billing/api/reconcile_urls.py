from django.urls import path

from billing.api import reconcile

urlpatterns = [
    path("reconcile", reconcile.Reconciliations.as_view()),
    path("reconcile/<str:recon_id>", reconcile.Reconciliation.as_view()),
    path(
        "reconcile/<str:recon_id>/lines/<str:line_id>",
        reconcile.ReconciliationLine.as_view(),
    ),
]
