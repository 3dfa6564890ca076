"""Master keys: they wrap data keys and live outside the database.

`Keyring` is the port: the environment and a file are built in, a key management service fits
behind the same three members.
"""

from __future__ import annotations

import base64
import binascii
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol
from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ideplatform.kit.crypto import envelope
from ideplatform.kit.crypto.envelope import DataKey, SealBroken
from ideplatform.kit.crypto.keysets import WeakKey, check_material, entries


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrapped:
    """A data key as the database keeps it."""

    master_version: int
    blob: bytes


class Keyring(Protocol):
    """Wraps and unwraps data keys; `context` is authenticated with them."""

    @property
    def current(self) -> int:
        """The master version that wraps new keys."""

    def wrap(self, material: bytes, *, context: bytes) -> Wrapped: ...

    def unwrap(self, wrapped: Wrapped, *, context: bytes) -> bytes:
        """Raises SealBroken when the version is unknown or the blob does not open."""


class LocalKeyring:
    """Master keys held by this process; the highest version wraps, all unwrap."""

    __slots__ = ("_ciphers",)

    def __init__(self, masters: dict[int, bytes]) -> None:
        if not masters:
            raise WeakKey("VAULT_MASTER_KEYS names no key")
        self._ciphers = {version: AESGCM(key) for version, key in masters.items()}

    @classmethod
    def parse(cls, text: str) -> LocalKeyring:
        """From `version:base64 of 32 bytes` pairs; raises WeakKey, never quoting a key."""
        masters: dict[int, bytes] = {}
        for version, encoded in entries(text, name="VAULT_MASTER_KEYS"):
            check_material(encoded, name="VAULT_MASTER_KEYS")
            masters[_version(version)] = _key(encoded)
        return cls(masters)

    @property
    def current(self) -> int:
        return max(self._ciphers)

    @property
    def versions(self) -> frozenset[int]:
        """Every version that can still be read."""
        return frozenset(self._ciphers)

    def wrap(self, material: bytes, *, context: bytes) -> Wrapped:
        version = self.current
        data = _bound(context, version)
        blob = envelope.encrypt(material, cipher=self._ciphers[version], data=data)
        return Wrapped(master_version=version, blob=blob)

    def unwrap(self, wrapped: Wrapped, *, context: bytes) -> bytes:
        cipher = self._ciphers.get(wrapped.master_version)
        if cipher is None:
            raise SealBroken(f"master key {wrapped.master_version} is not configured")
        data = _bound(context, wrapped.master_version)
        return envelope.decrypt(wrapped.blob, cipher=cipher, data=data)

    def __repr__(self) -> str:
        return f"LocalKeyring(versions={sorted(self._ciphers)})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a keyring is neither pickled nor copied")


def read_masters(path: Path) -> str:
    """The text of VAULT_MASTER_KEYS_FILE: one `version:key` pair a line.

    Raises WeakKey for a file that cannot be read, or that others may write.
    """
    try:
        mode, text = path.stat().st_mode, path.read_text("ascii")
    except (OSError, UnicodeDecodeError):
        raise WeakKey("VAULT_MASTER_KEYS_FILE names no readable file of keys") from None
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise WeakKey("VAULT_MASTER_KEYS_FILE may be written by others")
    return ",".join(text.split())


def wrap_data_key(key: DataKey, *, organization: UUID, keyring: Keyring) -> Wrapped:
    """A data key, wrapped for one organization and version."""
    return keyring.wrap(key.material(), context=_context(organization, key.version))


def unwrap_data_key(
    wrapped: Wrapped, *, organization: UUID, version: int, keyring: Keyring
) -> DataKey:
    """The data key of that organization and version; raises SealBroken for any other's."""
    material = keyring.unwrap(wrapped, context=_context(organization, version))
    return DataKey(version=version, material=material)


def _context(organization: UUID, version: int) -> bytes:
    return f"{envelope.SCHEME}|data_key|{organization}|{version}".encode()


def _bound(context: bytes, master_version: int) -> bytes:
    return context + f"|{master_version}".encode()


def _version(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= 32_767:
        raise WeakKey("VAULT_MASTER_KEYS versions are whole numbers from 1 to 32767")
    return int(text)


def _key(encoded: str) -> bytes:
    standard = encoded.replace("-", "+").replace("_", "/").rstrip("=")
    try:
        key = base64.b64decode(standard + "=" * (-len(standard) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise WeakKey("VAULT_MASTER_KEYS keys are base64") from None
    if len(key) != envelope.KEY_BYTES:
        raise WeakKey("VAULT_MASTER_KEYS keys are exactly 32 bytes, in base64")
    if len(set(key)) < 8:
        raise WeakKey("VAULT_MASTER_KEYS holds a key that is not random")
    return key
