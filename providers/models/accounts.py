"""Tables of provider accounts, what they offer and the names people call."""

from __future__ import annotations

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q
from django.db.models.functions import Now

from accounts.models import Organization, SecretRecord
from billing.types import BillingMode
from ideplatform.kit import ids
from ideplatform.kit.columns import choices, one_of
from providers.types import HealthState, ModelSource, ProviderScope, ProviderType
from workspaces.models import Workspace


def scope_holds(name: str) -> models.CheckConstraint:
    """The id columns say exactly what the scope says."""
    nobody, organization, workspace, user = (
        Q(organization__isnull=True),
        Q(organization__isnull=False),
        Q(workspace__isnull=True),
        Q(owner__isnull=False),
    )
    return models.CheckConstraint(
        condition=Q(scope=ProviderScope.PLATFORM) & nobody & workspace
        | Q(scope=ProviderScope.ORGANIZATION) & organization & workspace
        | Q(scope=ProviderScope.WORKSPACE) & organization & ~workspace
        | Q(scope=ProviderScope.USER) & nobody & workspace & user,
        name=name,
    )


class Provider(models.Model):
    """An account at a vendor, or a server that needs none. Soft-deleted: usage rows survive it.

    `secret` is the only way to its key; `key_hint` holds the key's last four characters.
    `version` counts changes and is the ETag. `key_changed_at` ends a verdict about an older key.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    name = models.CharField(max_length=255)
    slug = models.CharField(max_length=40)
    type = models.CharField(max_length=50, choices=choices(ProviderType))
    config = models.JSONField(default=dict)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.PROTECT, null=True, blank=True, related_name="+"
    )
    scope = models.CharField(max_length=12, choices=choices(ProviderScope))
    organization = models.ForeignKey(
        Organization, models.PROTECT, null=True, blank=True, related_name="+"
    )
    workspace = models.ForeignKey(
        Workspace, models.CASCADE, null=True, blank=True, related_name="+"
    )
    billing_mode = models.CharField(max_length=50, choices=choices(BillingMode))
    secret = models.ForeignKey(
        SecretRecord, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    report_secret = models.ForeignKey(
        SecretRecord, models.SET_NULL, null=True, blank=True, related_name="+"
    )
    key_hint = models.CharField(max_length=4, blank=True, default="")
    key_changed_at = models.DateTimeField(db_default=Now())
    priority = models.IntegerField(default=0)
    is_enabled = models.BooleanField(default=True)
    deleted_at = models.DateTimeField(null=True, blank=True)
    external_account_ref = models.CharField(max_length=200, blank=True, default="")
    version = models.PositiveIntegerField(default=1)
    created_at = models.DateTimeField(db_default=Now())
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "providers"
        constraints = [
            one_of("type", ProviderType, "providers_type"),
            one_of("scope", ProviderScope, "providers_scope"),
            one_of("billing_mode", BillingMode, "providers_billing_mode"),
            scope_holds("providers_scope_ids"),
            models.CheckConstraint(
                condition=Q(slug__regex=r"^[a-z0-9-]{1,40}$"), name="providers_slug_form"
            ),
            # Only the platform's own accounts may be charged to a wallet.
            models.CheckConstraint(
                condition=~Q(billing_mode=BillingMode.PLATFORM) | Q(scope=ProviderScope.PLATFORM),
                name="providers_platform_pays",
            ),
            models.UniqueConstraint(
                fields=["slug"],
                condition=Q(scope=ProviderScope.PLATFORM, deleted_at__isnull=True),
                name="providers_slug_platform",
            ),
            models.UniqueConstraint(
                fields=["organization", "slug"],
                condition=Q(scope=ProviderScope.ORGANIZATION, deleted_at__isnull=True),
                name="providers_slug_organization",
            ),
            models.UniqueConstraint(
                fields=["workspace", "slug"],
                condition=Q(scope=ProviderScope.WORKSPACE, deleted_at__isnull=True),
                name="providers_slug_workspace",
            ),
            models.UniqueConstraint(
                fields=["owner", "slug"],
                condition=Q(scope=ProviderScope.USER, deleted_at__isnull=True),
                name="providers_slug_user",
            ),
        ]

    def __str__(self) -> str:
        return self.slug


class CatalogueModel(models.Model):
    """What is publicly known of a vendor's model; loaded from `providers/data/catalogue.json`."""

    provider_type = models.CharField(max_length=50, choices=choices(ProviderType))
    model_id = models.CharField(max_length=200)
    display_name = models.CharField(max_length=200)
    context_tokens = models.PositiveIntegerField(null=True, blank=True)
    max_output_tokens = models.PositiveIntegerField(null=True, blank=True)
    capabilities = ArrayField(models.CharField(max_length=40), null=True)  # null: unknown
    tokenizer = models.CharField(max_length=40, blank=True, default="")
    embedding_dimensions = models.PositiveIntegerField(null=True, blank=True)
    deprecated_at = models.DateField(null=True, blank=True)
    is_simulated = models.BooleanField(default=False)

    class Meta:
        db_table = "catalogue_models"
        constraints = [
            one_of("provider_type", ProviderType, "catalogue_models_type"),
            models.UniqueConstraint(
                fields=["provider_type", "model_id"], name="catalogue_models_unique"
            ),
        ]

    def __str__(self) -> str:
        return self.model_id


class ProviderModel(models.Model):
    """A model that an account offers. `overrides` replaces what the catalogue says of it."""

    provider = models.ForeignKey(Provider, models.CASCADE, related_name="models")
    model_id = models.CharField(max_length=200)
    display_name = models.CharField(max_length=200, blank=True, default="")
    source = models.CharField(max_length=12, choices=choices(ModelSource))
    context_tokens = models.PositiveIntegerField(null=True, blank=True)
    max_output_tokens = models.PositiveIntegerField(null=True, blank=True)
    is_enabled = models.BooleanField(default=True)
    overrides = models.JSONField(default=dict)

    class Meta:
        db_table = "provider_models"
        constraints = [
            models.UniqueConstraint(fields=["provider", "model_id"], name="provider_models_unique"),
            one_of("source", ModelSource, "provider_models_source"),
        ]
        indexes = [models.Index(fields=["model_id"], name="provider_models_model")]

    def __str__(self) -> str:
        return self.model_id


class ModelAlias(models.Model):
    """A name that people call, such as `default/code`; the nearest scope that has it wins.

    `selected_model` is a person's choice and goes before the targets.
    """

    id = models.UUIDField(primary_key=True, default=ids.new, editable=False)
    name = models.CharField(max_length=100)
    scope = models.CharField(max_length=12, choices=choices(ProviderScope))
    organization = models.ForeignKey(
        Organization, models.CASCADE, null=True, blank=True, related_name="+"
    )
    workspace = models.ForeignKey(
        Workspace, models.CASCADE, null=True, blank=True, related_name="+"
    )
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, null=True, blank=True, related_name="+"
    )
    description = models.CharField(max_length=300, blank=True, default="")
    selected_model = models.CharField(max_length=250, blank=True, default="")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        db_table = "model_aliases"
        constraints = [
            one_of("scope", ProviderScope, "model_aliases_scope"),
            scope_holds("model_aliases_scope_ids"),
            models.UniqueConstraint(
                fields=["name"],
                condition=Q(scope=ProviderScope.PLATFORM),
                name="model_aliases_platform",
            ),
            models.UniqueConstraint(
                fields=["organization", "name"],
                condition=Q(scope=ProviderScope.ORGANIZATION),
                name="model_aliases_organization",
            ),
            models.UniqueConstraint(
                fields=["workspace", "name"],
                condition=Q(scope=ProviderScope.WORKSPACE),
                name="model_aliases_workspace",
            ),
            models.UniqueConstraint(
                fields=["owner", "name"],
                condition=Q(scope=ProviderScope.USER),
                name="model_aliases_user",
            ),
        ]

    def __str__(self) -> str:
        return self.name


class AliasTarget(models.Model):
    """One candidate of an alias, tried in order of position."""

    alias = models.ForeignKey(ModelAlias, models.CASCADE, related_name="targets")
    position = models.PositiveSmallIntegerField()
    model_ref = models.CharField(max_length=250)

    class Meta:
        db_table = "alias_targets"
        constraints = [
            models.UniqueConstraint(fields=["alias", "position"], name="alias_targets_position")
        ]

    def __str__(self) -> str:
        return self.model_ref


class ProviderHealth(models.Model):
    """The verdict about an account (`model` empty) or one of its models, shared by all processes.

    `openings` counts consecutive openings and doubles the pause; `trial_until` marks the one call
    that may try while the breaker is open.
    """

    provider = models.ForeignKey(Provider, models.CASCADE, related_name="health")
    model = models.CharField(max_length=200, blank=True, default="")
    state = models.CharField(max_length=12, choices=choices(HealthState))
    until = models.DateTimeField(null=True, blank=True)
    trial_until = models.DateTimeField(null=True, blank=True)
    openings = models.PositiveIntegerField(default=0)
    latency_ms = models.PositiveIntegerField(null=True, blank=True)
    error_code = models.CharField(max_length=40, blank=True, default="")
    checked_at = models.DateTimeField(db_default=Now())

    class Meta:
        db_table = "provider_health"
        constraints = [
            models.UniqueConstraint(fields=["provider", "model"], name="provider_health_unique"),
            one_of("state", HealthState, "provider_health_state"),
        ]

    def __str__(self) -> str:
        return f"{self.provider_id} {self.model} {self.state}"


class TokenRatio(models.Model):
    """Bytes and tokens of calls that the vendor counted: how a cut call is estimated."""

    provider_type = models.CharField(max_length=50)
    model = models.CharField(max_length=200)
    input_bytes = models.BigIntegerField(default=0)
    input_tokens = models.BigIntegerField(default=0)
    output_bytes = models.BigIntegerField(default=0)
    output_tokens = models.BigIntegerField(default=0)

    class Meta:
        db_table = "token_ratios"
        constraints = [
            models.UniqueConstraint(fields=["provider_type", "model"], name="token_ratios_unique")
        ]

    def __str__(self) -> str:
        return f"{self.provider_type} {self.model}"
