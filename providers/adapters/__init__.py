"""Vendor dialects behind one contract; see `contract.Adapter`."""

from typing import Final

from providers.adapters.anthropic import Anthropic
from providers.adapters.contract import Adapter, Ratio, Route
from providers.adapters.google import Google
from providers.adapters.openai import OpenAI
from providers.adapters.openai_compatible import OpenAICompatible
from providers.types import ProviderType

_ADAPTERS: Final[dict[ProviderType, Adapter]] = {
    ProviderType.OPENAI: OpenAI(),
    ProviderType.ANTHROPIC: Anthropic(),
    ProviderType.GOOGLE: Google(),
    ProviderType.OPENAI_COMPATIBLE: OpenAICompatible(),
}

__all__ = ["Adapter", "Ratio", "Route", "of"]


def of(provider_type: ProviderType) -> Adapter:
    """The adapter of a provider type."""
    return _ADAPTERS[provider_type]
