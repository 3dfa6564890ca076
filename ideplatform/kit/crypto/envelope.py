"""Envelope encryption bound to the record: a ciphertext moved to another row does not open.

AES-256-GCM (NIST SP 800-38D) with random 96-bit nonces. The associated data is
`imv1|organization|table|row|field|row_version|key_version`, so each of these is authenticated.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import NoReturn
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from ideplatform.kit.crypto.secret import Secret

KEY_BYTES = 32
NONCE_BYTES = 12
TAG_BYTES = 16
SCHEME = "imv1"
# SP 800-38D section 8.3 allows 2^32 messages with random nonces per key; this stays far below.
DATA_KEY_MAX_USES = 1_000_000
_FORM = b"\x01"


class SealBroken(Exception):
    """A ciphertext does not open: moved, altered, or sealed under another key.

    Not a PlatformError: no client can cause or mend it, so it is answered as `internal`.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """The record and column that a ciphertext belongs to."""

    organization: UUID
    table: str
    row: UUID
    field: str
    row_version: int

    def associated_data(self, key_version: int) -> bytes:
        """The authenticated text; raises ValueError if a part could forge a neighbour."""
        for name in (self.table, self.field):
            if not name.isascii() or not name.replace("_", "").isalnum():
                raise ValueError("a binding names plain columns")
        return "|".join(
            str(part)
            for part in (
                SCHEME,
                self.organization,
                self.table,
                self.row,
                self.field,
                self.row_version,
                key_version,
            )
        ).encode()


class DataKey:
    """The AES key of one organization and version, in the clear, in memory only."""

    __slots__ = ("_material", "cipher", "version")

    def __init__(self, *, version: int, material: bytes) -> None:
        if len(material) != KEY_BYTES or version < 1:
            raise ValueError("a data key is 32 bytes with a version from 1")
        self.version = version
        self._material = material
        self.cipher = AESGCM(material)

    @classmethod
    def fresh(cls, *, version: int) -> DataKey:
        """A key of random bytes."""
        return cls(version=version, material=os.urandom(KEY_BYTES))

    def material(self) -> bytes:
        """The key's bytes, for a keyring to wrap."""
        return self._material

    def __repr__(self) -> str:
        return f"DataKey(version={self.version})"

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a DataKey is neither pickled nor copied")


def seal(value: Secret, *, key: DataKey, binding: Binding) -> bytes:
    """Encrypt a secret for one place: form byte, nonce, ciphertext, tag."""
    data = binding.associated_data(key.version)
    return encrypt(value.reveal().encode(), cipher=key.cipher, data=data)


def open_sealed(sealed: bytes, *, key: DataKey, binding: Binding) -> Secret:
    """Decrypt what `seal` made for the same place and key; raises SealBroken otherwise."""
    data = binding.associated_data(key.version)
    return Secret(decrypt(sealed, cipher=key.cipher, data=data).decode())


def encrypt(plain: bytes, *, cipher: AESGCM, data: bytes) -> bytes:
    """The envelope's form around one AES-GCM message with a fresh random nonce."""
    nonce = os.urandom(NONCE_BYTES)
    return _FORM + nonce + cipher.encrypt(nonce, plain, data)


def decrypt(sealed: bytes, *, cipher: AESGCM, data: bytes) -> bytes:
    """The plain bytes of `encrypt`; raises SealBroken."""
    body = bytes(sealed)
    if len(body) < 1 + NONCE_BYTES + TAG_BYTES or not body.startswith(_FORM):
        raise SealBroken("not a sealed value of this form")
    nonce, rest = body[1 : 1 + NONCE_BYTES], body[1 + NONCE_BYTES :]
    try:
        return cipher.decrypt(nonce, rest, data)
    except InvalidTag:
        raise SealBroken("the value does not belong here or was altered") from None
