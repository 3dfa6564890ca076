"""`/api/v1/auth/`."""

from __future__ import annotations

from django.urls import path

from accounts.api.views import account, entry

urlpatterns = [
    path("register", entry.Register.as_view()),
    path("login", entry.Login.as_view()),
    path("refresh", entry.Refresh.as_view()),
    path("logout", entry.Logout.as_view()),
    path("token", entry.BrowserTokens.as_view()),
    path("ws-ticket", entry.Ticket.as_view()),
    path("reauthenticate", entry.Reauthenticate.as_view()),
    path("password/change", entry.PasswordChange.as_view()),
    path("me", account.Me.as_view()),
    path("sessions", account.Sessions.as_view()),
    path("sessions/<uuid:session_id>", account.Session.as_view()),
    path("api-keys", account.ApiKeys.as_view()),
    path("api-keys/<uuid:key_id>", account.ApiKey.as_view()),
    path("api-keys/<uuid:key_id>/rotate", account.ApiKeyRotation.as_view()),
]
