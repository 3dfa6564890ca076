from __future__ import annotations

from django.urls import path

from accounts.web import views

urlpatterns = [
    path("login", views.SignIn.as_view()),
    path("logout", views.SignOut.as_view()),
    path("appearance", views.Appearance.as_view()),
]
