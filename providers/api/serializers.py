"""What the REST of providers accepts and answers. Keys go in and never come out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.core.validators import RegexValidator
from msgspec import UNSET
from rest_framework import serializers

from billing.types import BillingMode
from ideplatform.kit import ids
from ideplatform.kit.serializers import SecretField, StrictSerializer
from providers import selectors
from providers.models import ModelAlias, Provider, ProviderHealth, ProviderModel
from providers.services import cache, health
from providers.services.directory import Limits
from providers.services.providers import Changes, Draft
from providers.services.routing import Candidate
from providers.services.testing import Report
from providers.types import Capture, ProviderScope, ProviderType

_SLUG = r"^[a-z0-9-]{1,40}\Z"
_KEY = r"^[\x21-\x7e]{1,500}\Z"
_REPORT_KEY = r"^([\x21-\x7e]{1,500}|\s*\{[\x09\x0a\x0d\x20-\x7e]{1,8000})\Z"
_MODEL = r"^[^\s\x00-\x1f]{1,200}\Z"
_REF = r"^[^\s\x00-\x1f]{1,250}\Z"


class KeyField(SecretField):
    """A vendor's key: printable, without spaces, because it travels in a header; null is none."""

    def __init__(self) -> None:
        super().__init__(required=False, allow_null=True, validators=[RegexValidator(_KEY)])

    def run_validation(self, data: Any = serializers.empty) -> Any:
        return None if data is None else super().run_validation(data)


class ReportKeyField(SecretField):
    """A vendor's key for reports, or a service account's JSON; null is none."""

    def __init__(self) -> None:
        super().__init__(required=False, allow_null=True, validators=[RegexValidator(_REPORT_KEY)])

    def run_validation(self, data: Any = serializers.empty) -> Any:
        return None if data is None else super().run_validation(data)


class CaptureForm(StrictSerializer):
    capture = serializers.ChoiceField(choices=[capture.value for capture in Capture])


class _Account(StrictSerializer):
    config = serializers.DictField(required=False)
    api_key = KeyField()
    report_api_key = ReportKeyField()
    billing_mode = serializers.ChoiceField(choices=[m.value for m in BillingMode], required=False)
    priority = serializers.IntegerField(min_value=-1_000, max_value=1_000, required=False)
    is_enabled = serializers.BooleanField(required=False)
    external_account_ref = serializers.CharField(max_length=200, required=False, allow_blank=True)


class ProviderForm(_Account):
    name = serializers.CharField(max_length=255)
    type = serializers.ChoiceField(choices=[kind.value for kind in ProviderType])
    slug = serializers.RegexField(_SLUG, required=False)
    scope = serializers.ChoiceField(
        choices=[scope.value for scope in ProviderScope], default=ProviderScope.USER.value
    )
    organization_id = serializers.UUIDField(required=False, allow_null=True, default=None)
    workspace_id = serializers.UUIDField(required=False, allow_null=True, default=None)
    models = serializers.ListField(
        child=serializers.RegexField(_MODEL), required=False, max_length=200
    )


class TestDraftForm(ProviderForm):
    """An unsaved account; a metered call belongs to a saved one."""

    name = serializers.CharField(max_length=255, required=False, default="Unsaved")
    generate = serializers.BooleanField(required=False, default=False)

    def validate_generate(self, value: bool) -> bool:
        if value:
            raise serializers.ValidationError("Save the account first: this call is metered.")
        return value


class ProviderChangeForm(_Account):
    name = serializers.CharField(max_length=255, required=False)
    type = serializers.ChoiceField(choices=[k.value for k in ProviderType], required=False)
    slug = serializers.RegexField(_SLUG, required=False)


class TestForm(StrictSerializer):
    generate = serializers.BooleanField(required=False, default=False)
    model = serializers.RegexField(_MODEL, required=False, default="", allow_blank=True)


class AliasForm(StrictSerializer):
    scope = serializers.ChoiceField(
        choices=[scope.value for scope in ProviderScope], default=ProviderScope.USER.value
    )
    organization_id = serializers.UUIDField(required=False, allow_null=True, default=None)
    workspace_id = serializers.UUIDField(required=False, allow_null=True, default=None)
    targets = serializers.ListField(
        child=serializers.RegexField(_REF), required=False, default=list, max_length=50
    )
    description = serializers.CharField(
        max_length=300, required=False, default="", allow_blank=True
    )
    selected_model = serializers.RegexField(_REF, required=False, default="", allow_blank=True)


def draft(form: Mapping[str, Any]) -> Draft:
    """The account that a form describes."""
    mine = form["scope"] != ProviderScope.PLATFORM
    return Draft(
        name=form["name"],
        type=ProviderType(form["type"]),
        config=form.get("config", {}),
        api_key=form.get("api_key"),
        report_key=form.get("report_api_key"),
        slug=form.get("slug", ""),
        billing_mode=BillingMode(
            form.get("billing_mode", BillingMode.BYOK if mine else BillingMode.PLATFORM)
        ),
        priority=form.get("priority", 0),
        is_enabled=form.get("is_enabled", True),
        external_account_ref=form.get("external_account_ref", ""),
        models=tuple(form.get("models", ())),
    )


def changes(form: Mapping[str, Any]) -> Changes:
    """What a form says; absent members stay as they are."""
    mode, kind = form.get("billing_mode", UNSET), form.get("type", UNSET)
    return Changes(
        name=form.get("name", UNSET),
        type=UNSET if kind is UNSET else ProviderType(kind),
        config=form.get("config", UNSET),
        api_key=form.get("api_key", UNSET),
        report_key=form.get("report_api_key", UNSET),
        slug=form.get("slug", UNSET),
        billing_mode=UNSET if mode is UNSET else BillingMode(mode),
        priority=form.get("priority", UNSET),
        is_enabled=form.get("is_enabled", UNSET),
        external_account_ref=form.get("external_account_ref", UNSET),
    )


def provider(row: Provider, verdicts: Sequence[ProviderHealth]) -> dict[str, object]:
    """An account: what changes with its version, remembered, and what its calls have shown."""
    return {**cache.description(row, _described), "health": [_verdict(one) for one in verdicts]}


def _described(row: Provider) -> dict[str, object]:
    return {
        "id": str(row.pk),
        "public_id": ids.public(selectors.PREFIX, row.pk),
        "name": row.name,
        "slug": row.slug,
        "type": row.type,
        "scope": row.scope,
        "organization_id": row.organization_id,
        "workspace_id": row.workspace_id,
        "owner_id": row.owner_id,
        "billing_mode": row.billing_mode,
        "config": row.config,
        "key_present": row.secret_id is not None,
        "key_hint": row.key_hint,
        "report_key_present": row.report_secret_id is not None,
        "priority": row.priority,
        "is_enabled": row.is_enabled,
        "external_account_ref": row.external_account_ref,
        "version": row.version,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }


def _verdict(row: ProviderHealth) -> dict[str, object]:
    return {
        "model": None if row.model == health.KEY else row.model,
        "state": row.state,
        "until": row.until,
        "latency_ms": row.latency_ms,
        "error_code": row.error_code or None,
        "checked_at": row.checked_at,
    }


def model(row: ProviderModel, known: Limits) -> dict[str, object]:
    return {
        "id": f"{row.provider.slug}/{row.model_id}",
        "model_id": row.model_id,
        "provider_id": row.provider_id,
        "display_name": row.display_name or row.model_id,
        "source": row.source,
        "is_enabled": row.is_enabled,
        "context_tokens": known.context_tokens,
        "max_output_tokens": known.max_output_tokens,
        "capabilities": None if known.capabilities is None else sorted(known.capabilities),
    }


def report(found: Report) -> dict[str, object]:
    failure = found.failure
    return {
        "ok": found.is_ok,
        "latency_ms": found.latency_ms,
        "first_token_ms": found.first_token_ms,
        "models": list(found.models),
        "capabilities": list(found.capabilities),
        "failure": None if failure is None else {"code": failure.code, "title": failure.title},
    }


def alias(row: ModelAlias, candidates: Iterable[Candidate]) -> dict[str, object]:
    found = list(candidates)
    ready = next((one for one in found if not one.reason), None)
    return {
        "id": row.name,
        "scope": row.scope,
        "organization_id": row.organization_id,
        "workspace_id": row.workspace_id,
        "description": row.description,
        "selected_model": row.selected_model or None,
        "targets": [target.model_ref for target in row.targets.order_by("position")],
        "resolved": None if ready is None else _candidate(ready),
        "candidates": [_candidate(one) for one in found],
    }


def _candidate(one: Candidate) -> dict[str, object]:
    return {
        "model": one.model_ref,
        "provider_id": one.provider_id,
        "is_ready": not one.reason,
        "reason": one.reason or None,
    }
