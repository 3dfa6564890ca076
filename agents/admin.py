"""Operators see runs and conversations; they change nothing here."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest

from agents.models import Conversation, Run


class _ReadOnly(admin.ModelAdmin):  # type: ignore[type-arg]  # not generic at run time
    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(Run)
class RunAdmin(_ReadOnly):
    list_display = ("id", "agent_id", "state", "attempt", "last_seq", "created_at", "ended_at")
    list_filter = ("state", "agent_id")
    fields = (
        "id",
        "workspace",
        "actor",
        "agent_id",
        "state",
        "attempt",
        "fence",
        "last_seq",
        "spent",
        "limits",
        "error",
        "created_at",
        "started_at",
        "ended_at",
    )


@admin.register(Conversation)
class ConversationAdmin(_ReadOnly):
    list_display = ("id", "workspace", "user", "agent_id", "visibility", "updated_at")
    fields = ("id", "workspace", "user", "agent_id", "visibility", "created_at", "updated_at")
