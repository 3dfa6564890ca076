"""Token counts, usage facts, settlements."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from uuid import UUID


class UnitClass(StrEnum):
    """What a price is per. Classes are disjoint: a token is counted in exactly one."""

    INPUT = "input"
    CACHE_READ = "cache_read"
    CACHE_WRITE_5M = "cache_write_5m"
    CACHE_WRITE_30M = "cache_write_30m"
    CACHE_WRITE_1H = "cache_write_1h"
    CACHE_WRITE_12H = "cache_write_12h"
    TOOL_INPUT = "tool_input"
    OUTPUT = "output"
    OUTPUT_REASONING = "output_reasoning"
    AUDIO_INPUT = "audio_input"
    AUDIO_OUTPUT = "audio_output"
    IMAGE_INPUT = "image_input"
    IMAGE_OUTPUT = "image_output"
    EMBEDDING = "embedding"
    REQUEST = "request"
    WEB_SEARCH = "web_search"


class BillingMode(StrEnum):
    """Whose key pays: the platform's (wallet charged), the customer's own, or nobody."""

    PLATFORM = "platform"
    BYOK = "byok"
    FREE = "free"


class Accuracy(StrEnum):
    EXACT = "exact"
    ESTIMATED = "estimated"


class Outcome(StrEnum):
    OK = "ok"
    CLIENT_CANCELLED = "client_cancelled"
    PROVIDER_ERROR = "provider_error"
    TIMEOUT = "timeout"
    CRASH_RECOVERED = "crash_recovered"


class Operation(StrEnum):
    CHAT = "chat"
    EMBED = "embed"
    RERANK = "rerank"
    BATCH = "batch"


class Source(StrEnum):
    """Who counted: our paid door, the client with its own key, or an import."""

    GATEWAY = "gateway"
    CLIENT = "client"
    IMPORT = "import"


class ServiceTier(StrEnum):
    """Speed and price classes vendors sell. A price never stands in for another tier's."""

    STANDARD = "standard"
    BATCH = "batch"
    FLEX = "flex"
    PRIORITY = "priority"
    ULTRAFAST = "ultrafast"
    DECISIONS = "decisions"


class PriceMatch(StrEnum):
    """How a price names models; the order is the order of preference."""

    EXACT = "exact"
    GLOB = "glob"
    REGEX = "regex"


class VersionState(StrEnum):
    """A version is drafted, published once, and retired when newer ones replaced all of it."""

    DRAFT = "draft"
    PUBLISHED = "published"
    RETIRED = "retired"


class CorrectionReason(StrEnum):
    """Why an event is not the whole truth."""

    LATE_REPORT = "late_report"
    PRICE_ERROR = "price_error"
    DUPLICATE = "duplicate"
    ESTIMATE_TRUED_UP = "estimate_trued_up"
    GOODWILL = "goodwill"


class RollupDimension(StrEnum):
    """By what a day's usage is summed; `workspace_model` is both at once."""

    MODEL = "model"
    WORKSPACE = "workspace"
    USER = "user"
    AGENT = "agent"
    API_KEY = "api_key"
    PROVIDER = "provider"
    WORKSPACE_MODEL = "workspace_model"


INPUT_CLASSES = frozenset(
    {
        UnitClass.INPUT,
        UnitClass.CACHE_READ,
        UnitClass.CACHE_WRITE_5M,
        UnitClass.CACHE_WRITE_30M,
        UnitClass.CACHE_WRITE_1H,
        UnitClass.CACHE_WRITE_12H,
        UnitClass.TOOL_INPUT,
        UnitClass.AUDIO_INPUT,
        UnitClass.IMAGE_INPUT,
        UnitClass.EMBEDDING,
    }
)
OUTPUT_CLASSES = frozenset(
    {
        UnitClass.OUTPUT,
        UnitClass.OUTPUT_REASONING,
        UnitClass.AUDIO_OUTPUT,
        UnitClass.IMAGE_OUTPUT,
    }
)
CACHE_WRITE_CLASSES = frozenset(
    {
        UnitClass.CACHE_WRITE_5M,
        UnitClass.CACHE_WRITE_30M,
        UnitClass.CACHE_WRITE_1H,
        UnitClass.CACHE_WRITE_12H,
    }
)


@dataclass(frozen=True, slots=True)
class TokenCount:
    """Tokens by disjoint class, as the provider reported them (integers; absent is zero)."""

    quantities: Mapping[UnitClass, int] = field(default_factory=dict)

    def of(self, *classes: UnitClass) -> int:
        return sum(self.quantities.get(name, 0) for name in classes)

    @property
    def input(self) -> int:
        """Everything the model read, cached and written parts included."""
        return self.of(*INPUT_CLASSES)

    @property
    def output(self) -> int:
        """Everything the model wrote, reasoning included."""
        return self.of(*OUTPUT_CLASSES)

    @property
    def cache_read(self) -> int:
        return self.of(UnitClass.CACHE_READ)

    @property
    def cache_write(self) -> int:
        return self.of(*CACHE_WRITE_CLASSES)

    @property
    def reasoning(self) -> int:
        return self.of(UnitClass.OUTPUT_REASONING)

    @property
    def total(self) -> int:
        return self.input + self.output


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderCallRecord:
    """A dispatched provider call and how it ended: everything that becomes one usage event.

    `status` is the provider's HTTP status; 499 the client went away, 0 no answer came.
    `accuracy` is estimated when the provider's own count did not arrive.
    """

    request_id: UUID
    attempt: int
    organization_id: UUID
    workspace_id: UUID | None
    user_id: UUID | None
    api_key_id: UUID | None
    agent_id: str
    conversation_id: UUID | None
    run_id: UUID | None
    provider_id: UUID
    provider_type: str
    billing_mode: BillingMode
    operation: Operation
    requested_model: str
    served_model: str
    tokens: TokenCount
    status: int
    accuracy: Accuracy
    outcome: Outcome
    occurred_at: datetime
    completed_at: datetime
    service_tier: str = "standard"
    region: str = ""
    provider_request_id: str = ""
    first_token_ms: int | None = None
    duration_ms: int | None = None
    is_streamed: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What a call cost. `cost_usd` is the vendor's price, None when unpriced.

    `balance_usd` is what the customer's wallets hold after it, and no part of what happened.
    """

    event_id: UUID
    request_id: UUID
    attempt: int
    cost_usd: Decimal | None
    billed_usd: Decimal
    tokens: TokenCount
    accuracy: Accuracy
    already_settled: bool
    balance_usd: Decimal | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageFilters:
    """Which usage events are meant; None is any. `start` and `end` are `[start, end)`."""

    start: datetime | None = None
    end: datetime | None = None
    organization_id: UUID | None = None
    workspace_id: UUID | None = None
    user_id: UUID | None = None
    provider_id: UUID | None = None
    api_key_id: UUID | None = None
    conversation_id: UUID | None = None
    run_id: UUID | None = None
    request_id: UUID | None = None
    agent_id: str | None = None
    model: str | None = None
    status: int | None = None
    outcome: str | None = None
    source: str | None = None
    billing_mode: str | None = None
    min_cost: Decimal | None = None
