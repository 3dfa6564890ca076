"""Operators see accounts, models, aliases and health; keys are nowhere to be seen."""

from __future__ import annotations

from django.contrib import admin

from providers.models import (
    AliasTarget,
    CatalogueModel,
    ModelAlias,
    Provider,
    ProviderHealth,
    ProviderModel,
)


class ReadOnly:
    """No adding, changing or deleting: changes go through the API, which audits them."""

    def has_add_permission(self, *_: object) -> bool:
        return False

    def has_change_permission(self, *_: object) -> bool:
        return False

    def has_delete_permission(self, *_: object) -> bool:
        return False


class Offers(ReadOnly, admin.TabularInline):  # type: ignore[type-arg]
    model = ProviderModel
    fields = ("model_id", "source", "is_enabled", "context_tokens", "max_output_tokens")
    extra = 0


class Verdicts(ReadOnly, admin.TabularInline):  # type: ignore[type-arg]
    model = ProviderHealth
    fields = ("model", "state", "until", "error_code", "latency_ms", "checked_at")
    extra = 0


class Targets(ReadOnly, admin.TabularInline):  # type: ignore[type-arg]
    model = AliasTarget
    fields = ("position", "model_ref")
    extra = 0


@admin.register(Provider)
class ProviderAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("slug", "name", "type", "scope", "billing_mode", "is_enabled", "deleted_at")
    list_filter = ("type", "scope", "billing_mode", "is_enabled")
    search_fields = ("slug", "name", "id")
    exclude = ("secret", "report_secret")
    inlines = (Verdicts, Offers)


@admin.register(ModelAlias)
class ModelAliasAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("name", "scope", "selected_model", "updated_at")
    list_filter = ("scope",)
    search_fields = ("name",)
    inlines = (Targets,)


@admin.register(CatalogueModel)
class CatalogueModelAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("model_id", "provider_type", "context_tokens", "deprecated_at")
    list_filter = ("provider_type",)
    search_fields = ("model_id",)
