"""What an adapter gets and gives. One adapter per provider type, without state of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Protocol
from uuid import UUID

from billing.types import BillingMode
from ideplatform.kit.crypto import Secret
from ideplatform.kit.egress import Timeouts
from providers.config import Config
from providers.types import (
    Call,
    Chunk,
    EmbedCall,
    Embeddings,
    ModelInfo,
    ProviderType,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """Tokens per UTF-8 byte of a model, learned from calls the vendor counted."""

    input: float = 0.3
    output: float = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One way to serve a call: an account at a vendor and a model there."""

    provider_id: UUID
    provider_type: ProviderType
    slug: str
    billing_mode: BillingMode
    secret_id: UUID | None
    model: str
    config: Config
    base_url: str
    capabilities: frozenset[str] | None = None  # None: nobody knows
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    ratio: Ratio = field(default_factory=Ratio)
    is_trial: bool = False  # the breaker is open: this call finds out whether it may close


class Adapter(Protocol):
    """Vendor events to our chunks, vendor errors to our errors.

    `stream` yields Started first, any number of Usage that are not final (each replaces the one
    before), and Stop last. A stream that does not end in order raises instead.
    All raise `providers.errors.VendorError`s and the errors of `kit.egress`.
    """

    def stream(
        self, call: Call, route: Route, key: Secret | None, timeouts: Timeouts
    ) -> AsyncGenerator[Chunk, None]: ...

    async def embed(
        self, call: EmbedCall, route: Route, key: Secret | None, timeouts: Timeouts
    ) -> Embeddings: ...

    async def list_models(
        self, route: Route, key: Secret | None, timeouts: Timeouts
    ) -> list[ModelInfo]: ...

    async def count_tokens(
        self, call: Call, route: Route, key: Secret | None, timeouts: Timeouts
    ) -> int | None: ...
