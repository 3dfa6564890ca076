"""Operators see people, organizations, sessions and the audit log.

They change nothing here but end an account's access, which needs a superuser. No secret, key or
hash is shown, and the vault has no page.
"""

from __future__ import annotations

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from accounts.models import (
    ApiKey,
    AuditEvent,
    Organization,
    OrganizationMembership,
    RefreshSession,
    User,
)
from accounts.services import access, authentication, profile
from accounts.types import Actor, Permission
from ideplatform.kit import accounting, peers
from ideplatform.kit.admin import ReadOnly
from ideplatform.kit.errors import Forbidden


@admin.action(description="End all access of the selected people")
def deactivate(
    options: admin.ModelAdmin[User], request: HttpRequest, users: QuerySet[User]
) -> None:
    """Superusers only: a staff account may look, not act."""
    with accounting.at("action accounts.User.deactivate"):
        actor = _actor(request)
        try:
            access.authorise_platform(actor)
        except Forbidden:
            options.message_user(request, "Only a superuser may do this.", messages.ERROR)
            return
        for user in users:
            profile.deactivate(actor=actor, user=user)
    options.message_user(request, "Their sessions and keys ended.", messages.SUCCESS)


accounting.declare("action accounts.User.deactivate", permission=Permission.PLATFORM_MANAGE)


@admin.register(User)
class UserAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("email", "full_name", "is_active", "is_staff", "created_at", "deleted_at")
    list_filter = ("is_active", "is_staff")
    search_fields = ("email", "full_name")
    ordering = ("-created_at",)
    fields = (
        "id", "email", "full_name", "locale", "is_active", "is_staff", "is_superuser",
        "is_email_verified", "created_at", "updated_at", "deleted_at",
    )  # fmt: skip
    actions = (deactivate,)


@admin.register(Organization)
class OrganizationAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("name", "slug", "kind", "created_at")
    list_filter = ("kind",)
    search_fields = ("name", "slug")
    fields = ("id", "name", "slug", "kind", "personal_user", "created_at", "updated_at")


@admin.register(OrganizationMembership)
class OrganizationMembershipAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("organization", "user", "role", "created_at")
    list_filter = ("role",)
    fields = ("organization", "user", "role", "created_at", "updated_at")


@admin.register(RefreshSession)
class RefreshSessionAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("id", "user", "kind", "ip", "last_seen_at", "revoked_at", "reason")
    list_filter = ("kind", "reason")
    fields = (
        "id", "user", "kind", "ip", "user_agent", "created_at", "rotated_at", "last_seen_at",
        "expires_at", "revoked_at", "reason",
    )  # fmt: skip


@admin.register(ApiKey)
class ApiKeyAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("name", "kind", "user", "organization", "last4", "last_used_at", "revoked_at")
    list_filter = ("kind",)
    fields = (
        "id", "name", "kind", "user", "organization", "workspace_id", "scopes", "last4",
        "created_at", "expires_at", "last_used_at", "revoked_at",
    )  # fmt: skip


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("at", "action", "outcome", "actor_id", "organization_id", "target", "ip")
    list_filter = ("outcome",)
    search_fields = ("action", "target")
    ordering = ("-at",)
    fields = (
        "id", "at", "action", "outcome", "actor_id", "session_id", "organization_id",
        "workspace_id", "target", "ip", "details", "request_id",
    )  # fmt: skip


def _actor(request: HttpRequest) -> Actor:
    """The person at the admin, as any other entry would see them."""
    meta = request.META
    ip = peers.ip(meta.get("REMOTE_ADDR", ""), meta.get("HTTP_X_FORWARDED_FOR", ""))
    return authentication.of_browser(request.session.session_key or "", ip=ip)
