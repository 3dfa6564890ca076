"""Vendor dialects behind one contract; see `contract.Adapter`."""

from typing import Final

from providers.adapters import anthropic, google, openai, openai_compatible
from providers.adapters.contract import Adapter, Ratio, Route
from providers.types import ProviderType

_ADAPTERS: Final[dict[ProviderType, Adapter]] = {
    ProviderType.OPENAI: openai,
    ProviderType.ANTHROPIC: anthropic,
    ProviderType.GOOGLE: google,
    ProviderType.OPENAI_COMPATIBLE: openai_compatible,
}

__all__ = ["Adapter", "Ratio", "Route", "of"]


def of(provider_type: ProviderType) -> Adapter:
    """The adapter of a provider type: a module with the contract's functions."""
    return _ADAPTERS[provider_type]
