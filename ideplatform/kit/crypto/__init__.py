"""Keys, seals and credentials: `crypto.seal(...)`, `crypto.Keyset`, `crypto.new_api_key(...)`."""

from ideplatform.kit.crypto.envelope import (
    DATA_KEY_MAX_USES,
    Binding,
    DataKey,
    SealBroken,
    open_sealed,
    seal,
)
from ideplatform.kit.crypto.keyring import (
    Keyring,
    LocalKeyring,
    Wrapped,
    read_masters,
    unwrap_data_key,
    wrap_data_key,
)
from ideplatform.kit.crypto.keysets import (
    Keyset,
    WeakKey,
    check_material,
    check_separate,
)
from ideplatform.kit.crypto.secret import Secret
from ideplatform.kit.crypto.tokens import (
    ApiKeyText,
    MalformedToken,
    api_key_mac,
    crc6,
    new_api_key,
    new_token,
    read_api_key,
    same,
    token_hash,
)

__all__ = [
    "DATA_KEY_MAX_USES",
    "ApiKeyText",
    "Binding",
    "DataKey",
    "Keyring",
    "Keyset",
    "LocalKeyring",
    "MalformedToken",
    "SealBroken",
    "Secret",
    "WeakKey",
    "Wrapped",
    "api_key_mac",
    "check_material",
    "check_separate",
    "crc6",
    "new_api_key",
    "new_token",
    "open_sealed",
    "read_api_key",
    "read_masters",
    "same",
    "seal",
    "token_hash",
    "unwrap_data_key",
    "wrap_data_key",
]
