"""The platform's own keys: made once, kept for ever in ``DATA_DIR/secrets.env``."""

import base64
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

from ideplatform.embedded import private_files
from ideplatform.embedded.errors import SecretsLost

T = TypeVar("T")
FILE_NAME = "secrets.env"
VAULT = "VAULT_MASTER_KEYS"
VAULT_FILE = "VAULT_MASTER_KEYS_FILE"
WRITTEN_LATER = ("children.json", "postgres.env", "postgres", "redis.env", "redis", "up.env")
HEADING = (
    "Keys of this platform. Made at the first start and never again: whoever loses\n"
    "VAULT_MASTER_KEYS loses every sealed provider key. Back this file up, apart from the data."
)


def ensure(data_dir: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The keys of ``secrets.env``, made when there is neither file nor data.

    A variable of the same name in ``environment`` stands above the file, and so does
    VAULT_MASTER_KEYS_FILE: then there is no VAULT_MASTER_KEYS among the keys. Raises
    SecretsLost when there is data but no vault key: new keys would start, and what the
    old one sealed could never be read again.
    """
    path = data_dir / FILE_NAME
    known = private_files.read_values(path)
    has_own_vault = bool(environment.get(VAULT) or environment.get(VAULT_FILE))
    if VAULT not in known and not has_own_vault and _has_data(data_dir):
        raise SecretsLost(
            f"{data_dir} holds data, but {path} has no {VAULT}: restore that file from a backup "
            f"or set {VAULT}; new keys could not open what is sealed"
        )
    makers = without_vault(MAKERS, environment)
    complete = {name: known.get(name) or make() for name, make in makers.items()}
    if not complete.items() <= known.items():
        private_files.write_values(path, {**known, **complete}, heading=HEADING)
    return {name: environment.get(name) or value for name, value in complete.items()}


def without_vault(values: Mapping[str, T], environment: Mapping[str, str]) -> dict[str, T]:
    """``values`` less VAULT_MASTER_KEYS where ``environment`` names a file of them instead."""
    is_file = bool(environment.get(VAULT_FILE))
    return {name: value for name, value in values.items() if not (is_file and name == VAULT)}


def _has_data(data_dir: Path) -> bool:
    """Every one of these is written after the keys, so any of them means an earlier start."""
    return any((data_dir / name).exists() for name in WRITTEN_LATER)


def _text_key() -> str:
    return secrets.token_urlsafe(48)


def _numbered_key() -> str:
    return f"1:{secrets.token_urlsafe(48)}"


def _master_key() -> str:
    return f"1:{base64.b64encode(secrets.token_bytes(32)).decode('ascii')}"


MAKERS: dict[str, Callable[[], str]] = {
    "SECRET_KEY": _text_key,
    "JWT_KEYS": _numbered_key,
    "API_KEY_PEPPERS": _numbered_key,
    VAULT: _master_key,
}
