"""Providers and their models: kinds, scopes, health, abilities."""

from __future__ import annotations

from enum import StrEnum

import msgspec


class ProviderType(StrEnum):
    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    GOOGLE = "google"
    OPENAI_COMPATIBLE = "openai_compatible"


class ProviderScope(StrEnum):
    """Who may use a provider; the nearest scope wins when names collide."""

    PLATFORM = "platform"
    ORGANIZATION = "organization"
    WORKSPACE = "workspace"
    USER = "user"


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A model as a provider lists it; unknown limits are None."""

    id: str
    display_name: str = ""
    context_tokens: int | None = None
    max_output_tokens: int | None = None


class ModelSource(StrEnum):
    """How a provider's model became known."""

    CATALOGUE = "catalogue"
    DISCOVERED = "discovered"
    MANUAL = "manual"


class HealthState(StrEnum):
    """What calls have shown of an account or one of its models."""

    CLOSED = "closed"
    OPEN = "open"
    COOLING_DOWN = "cooling_down"
    KEY_INVALID = "key_invalid"


class Capability(StrEnum):
    """What a model can do, beyond text in and text out."""

    TOOLS = "tools"
    PARALLEL_TOOLS = "parallel_tools"
    VISION = "vision"
    DOCUMENTS = "documents"
    AUDIO_IN = "audio_in"
    STRUCTURED_OUTPUT = "structured_output"
    THINKING = "thinking"
    THINKING_ADAPTIVE = "thinking_adaptive"
    EFFORT = "effort"
    PROMPT_CACHE = "prompt_cache"
    SERVER_TOOLS = "server_tools"
    COMPACTION = "compaction"
    EMBEDDINGS = "embeddings"
    DEVELOPER_ROLE = "developer_role"
