"""`/api/v1/organizations`."""

from __future__ import annotations

from django.urls import path

from accounts.api.views import organizations as views

urlpatterns = [
    path("", views.Organizations.as_view()),
    path("/<uuid:organization_id>", views.Organization.as_view()),
    path("/<uuid:organization_id>/members", views.Members.as_view()),
    path("/<uuid:organization_id>/members/<uuid:user_id>", views.Member.as_view()),
    path("/<uuid:organization_id>/audit", views.Audit.as_view()),
]
