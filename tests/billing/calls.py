"""Builders of provider calls and prices; each test shows only what matters to it."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import UUID

from django.db import transaction

from accounts.models import Organization
from billing import price_files
from billing.models import PriceVersion
from billing.services import price_versions, prices
from billing.types import (
    Accuracy,
    ApprovalKind,
    BillingMode,
    Operation,
    Outcome,
    ProviderCallRecord,
    TokenCount,
    UnitClass,
)
from ideplatform.kit import ids
from tests.billing.console.people import approved

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
SIMULATOR = (prices.DATA / "simulator_prices.json").read_text()
PROVIDER = UUID("00000000-0000-7000-8000-000000000001")


def tokens(**quantities: int) -> TokenCount:
    """`tokens(input=1_000, output=200)`."""
    return TokenCount({UnitClass(name): count for name, count in quantities.items()})


def a_call(organization: Organization | None = None, **facts: object) -> ProviderCallRecord:
    """A call of the simulator's echo model by the platform's key."""
    values: dict[str, object] = {
        "request_id": ids.new(),
        "attempt": 1,
        "organization_id": organization.pk if organization else None,
        "workspace_id": None,
        "user_id": None,
        "api_key_id": None,
        "agent_id": "universal",
        "conversation_id": None,
        "run_id": None,
        "provider_id": PROVIDER,
        "provider_type": "openai_compatible",
        "billing_mode": BillingMode.PLATFORM,
        "operation": Operation.CHAT,
        "requested_model": "sim-echo",
        "served_model": "sim-echo",
        "tokens": tokens(input=1_000, output=200),
        "status": 200,
        "accuracy": Accuracy.EXACT,
        "outcome": Outcome.OK,
        "occurred_at": NOON,
    } | facts
    moment = values["occurred_at"]
    assert isinstance(moment, datetime)
    return ProviderCallRecord(**({"completed_at": moment + timedelta(seconds=2)} | values))  # type: ignore[arg-type]


def a_list(*, aliases: dict[str, dict[str, str]] | None = None, **prices: str) -> str:
    """The JSON of a price list of openai models with one input and output price each."""
    models = {
        name.replace("_", "-"): {
            "litellm_provider": "openai",
            "mode": "chat",
            "input_cost_per_token": price,
            "output_cost_per_token": price,
        }
        for name, price in prices.items()
    }
    return json.dumps({"models": models, "aliases": aliases or {}})


@transaction.atomic
def publish(text: str, **options: object) -> int:
    """Publish a price list, agreed on by two people; its version number."""
    listed = price_files.read({"test.json": text})
    version_id = price_versions.draft(listed=listed, note="test")
    assert version_id is not None
    if PriceVersion.objects.exclude(state="draft").exists():
        approved(ApprovalKind.PRICES, version_id=str(version_id))
    return price_versions.publish(version_id=version_id, **options)  # type: ignore[arg-type]


def usd(text: str) -> Decimal:
    return Decimal(text)
