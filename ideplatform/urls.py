"""Every HTTP route of Django."""

from __future__ import annotations

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path

from ideplatform import openapi, pages

api_v1: list[URLPattern | URLResolver] = [
    path("schema", openapi.Schema.as_view()),
    path("auth/", include("accounts.api.urls.auth")),
    path("organizations", include("accounts.api.urls.organizations")),
    path("workspaces", include("workspaces.api.urls")),
    path("providers", include("providers.api.urls")),
    path("billing/", include("billing.api.urls")),
    path("billing/", include("billing.api.payment_urls")),
    path("billing/", include("billing.api.reconcile_urls")),
    path("billing/", include("billing.api.report_urls")),
    path("", include("agents.api.urls")),
]

urlpatterns = [
    path("", pages.chat),
    path("problems", pages.problems),
    path("problems/<slug:code>", pages.problem),
    path("account/", include("accounts.web.urls")),
    path("billing/", include("billing.web.urls")),
    path("admin/", admin.site.urls),
    path("api/v1/", include(api_v1)),
]

handler400 = "ideplatform.kit.rest.bad_request"
handler403 = "ideplatform.kit.rest.forbidden"
handler404 = "ideplatform.kit.rest.not_found"
handler500 = "ideplatform.kit.rest.server_error"
