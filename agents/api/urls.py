"""`/api/v1/agents`, `/runs`, `/conversations`."""

from __future__ import annotations

from django.urls import path

from agents.api import views

urlpatterns = [
    path("agents", views.Agents.as_view()),
    path("agents/<str:agent_id>/invoke", views.AgentInvoke.as_view()),
    path("agents/<str:agent_id>/history", views.AgentHistory.as_view()),
    path("runs", views.Runs.as_view()),
    path("runs/<uuid:run_id>", views.OneRun.as_view()),
    path("runs/<uuid:run_id>/events", views.RunEvents.as_view()),
    path("runs/<uuid:run_id>/cancel", views.RunCancel.as_view()),
    path("conversations", views.Conversations.as_view()),
    path("conversations/<uuid:conversation_id>", views.OneConversation.as_view()),
    path("conversations/<uuid:conversation_id>/messages", views.Messages.as_view()),
]
