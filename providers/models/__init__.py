"""Tables of the app `providers`."""

from providers.models.accounts import (
    AliasTarget,
    CatalogueModel,
    ModelAlias,
    Provider,
    ProviderHealth,
    ProviderModel,
    TokenRatio,
    scope_holds,
)
from providers.models.exchanges import CapturePreference, GatewayExchange
from providers.models.responses import ResponseEvent, StoredResponse

__all__ = [
    "AliasTarget",
    "CapturePreference",
    "CatalogueModel",
    "GatewayExchange",
    "ModelAlias",
    "Provider",
    "ProviderHealth",
    "ProviderModel",
    "ResponseEvent",
    "StoredResponse",
    "TokenRatio",
    "scope_holds",
]
