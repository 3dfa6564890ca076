"""What providers' REST answers, as types: the published schema, which the suite holds it to."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from billing.types import BillingMode
from providers.types import (
    Capability,
    Capture,
    HealthState,
    ModelSource,
    ProviderScope,
    ProviderType,
)


class ProviderVerdict(msgspec.Struct, kw_only=True):
    """What calls have shown of a model, or (`model` null) of the account's key."""

    model: str | None
    state: HealthState
    until: datetime | None
    latency_ms: int | None
    error_code: str | None
    checked_at: datetime | None


class Provider(msgspec.Struct, kw_only=True):
    """An account at a vendor. Its key never comes back: only whether there is one, and a hint."""

    id: UUID
    public_id: str
    name: str
    slug: str
    type: ProviderType
    scope: ProviderScope
    organization_id: UUID | None
    workspace_id: UUID | None
    owner_id: UUID | None
    billing_mode: BillingMode
    config: dict[str, object]
    key_present: bool
    key_hint: str
    report_key_present: bool
    priority: int
    is_enabled: bool
    external_account_ref: str
    version: int
    health: list[ProviderVerdict]
    created_at: datetime
    updated_at: datetime


class Providers(msgspec.Struct, kw_only=True):
    items: list[Provider]
    next_cursor: str


class ProviderModel(msgspec.Struct, kw_only=True):
    """`id` is the name to call it by; unknown limits and capabilities are null."""

    id: str
    model_id: str
    provider_id: UUID
    display_name: str
    source: ModelSource
    is_enabled: bool
    context_tokens: int | None
    max_output_tokens: int | None
    capabilities: list[Capability] | None


class ProviderModels(msgspec.Struct, kw_only=True):
    items: list[ProviderModel]
    next_cursor: str


class TestFailure(msgspec.Struct, kw_only=True):
    """One of bad_key, forbidden, no_credit, model_missing, rate_limited, overloaded, timeout,
    not_reachable, bad_protocol, tls."""

    code: str
    title: str


class TestReport(msgspec.Struct, kw_only=True):
    ok: bool
    latency_ms: int | None
    first_token_ms: int | None
    models: list[str]
    capabilities: list[str]
    failure: TestFailure | None


class ModelCandidate(msgspec.Struct, kw_only=True):
    """A target of an alias and, unless it is ready, why not."""

    model: str
    provider_id: UUID | None
    is_ready: bool
    reason: str | None


class ModelAlias(msgspec.Struct, kw_only=True):
    """A name that people call; `resolved` is who would answer now."""

    id: str
    scope: ProviderScope
    organization_id: UUID | None
    workspace_id: UUID | None
    description: str
    selected_model: str | None
    targets: list[str]
    resolved: ModelCandidate | None
    candidates: list[ModelCandidate]


class ModelAliases(msgspec.Struct, kw_only=True):
    items: list[ModelAlias]
    next_cursor: str


class GatewayCapture(msgspec.Struct, kw_only=True):
    """How much of its gateway calls an organization keeps."""

    organization_id: UUID
    capture: Capture
