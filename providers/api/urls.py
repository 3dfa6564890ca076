"""`/api/v1/providers`."""

from __future__ import annotations

from django.urls import path

from providers.api import capture, views

_ONE = "/<str:provider_id>"

urlpatterns = [
    path("", views.Providers.as_view()),
    path("/test", views.TestDraft.as_view()),
    path("/models", views.Models.as_view()),
    path("/aliases", views.Aliases.as_view()),
    path("/aliases/<path:name>", views.Alias.as_view()),
    path("/capture/<uuid:organization_id>", capture.GatewayCapture.as_view()),
    path(_ONE, views.Provider.as_view()),
    path(_ONE + "/test", views.Test.as_view()),
    path(_ONE + "/models", views.ProviderModels.as_view()),
    path(_ONE + "/models/refresh", views.Refresh.as_view()),
]
