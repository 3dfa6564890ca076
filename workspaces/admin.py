"""Operators see workspaces and imports; they change nothing here and read no content."""

from __future__ import annotations

from django.contrib import admin

from ideplatform.kit.admin import ReadOnly
from workspaces.models import ImportJob, OrganizationStorage, Workspace, WorkspaceMembership


class Members(ReadOnly, admin.TabularInline):  # type: ignore[type-arg]
    model = WorkspaceMembership
    fields = ("user", "role", "follows_organization", "created_at")
    readonly_fields = fields
    extra = 0


@admin.register(Workspace)
class WorkspaceAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("name", "organization", "owner", "file_count", "bytes_used", "deleted_at")
    list_filter = ("visibility",)
    search_fields = ("name", "id")
    list_select_related = ("organization", "owner")
    inlines = (Members,)


@admin.register(ImportJob)
class ImportJobAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("id", "workspace", "state", "archive_bytes", "files_written", "created_at")
    list_filter = ("state",)
    list_select_related = ("workspace",)


@admin.register(OrganizationStorage)
class OrganizationStorageAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("organization", "bytes_used")
    list_select_related = ("organization",)
