"""Credentials that are text: API keys with a checksum, one-time tokens.

An API key is `imk_<id 26><secret 52><checksum 6>`: the id finds the row, the secret is 256 random
bits, and the checksum lets a scanner or an editor tell a key from noise without asking us.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import zlib
from dataclasses import dataclass
from uuid import UUID

from ideplatform.kit import ids
from ideplatform.kit.crypto.keysets import Keyset
from ideplatform.kit.crypto.secret import Secret

API_KEY_PREFIX = "imk_"
CHECKSUM_LENGTH = 6
SECRET_LENGTH = 52  # 256 bits at 5 bits a letter
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_BODY_LENGTH = ids.LENGTH + SECRET_LENGTH


class MalformedToken(ValueError):
    """The text is no token of this kind. The caller answers as for any wrong credential."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyText:
    """An API key taken apart."""

    key_id: UUID
    secret: Secret


def new_api_key(key_id: UUID) -> Secret:
    """The full text of a new key, to be shown once."""
    body = ids.base32(key_id) + _letters(secrets.token_bytes(32), SECRET_LENGTH)
    return Secret(API_KEY_PREFIX + body + crc6(API_KEY_PREFIX + body))


def read_api_key(text: str) -> ApiKeyText:
    """The id and secret of a key's text; raises MalformedToken when the checksum is wrong."""
    body, checksum = text[:-CHECKSUM_LENGTH], text[-CHECKSUM_LENGTH:]
    if not text.isascii() or len(body) != len(API_KEY_PREFIX) + _BODY_LENGTH:
        raise MalformedToken("not an API key")
    if not text.startswith(API_KEY_PREFIX) or not same(crc6(body), checksum):
        raise MalformedToken("not an API key")
    encoded = body.removeprefix(API_KEY_PREFIX)
    return ApiKeyText(key_id=_uuid(encoded[: ids.LENGTH]), secret=Secret(encoded[ids.LENGTH :]))


def api_key_mac(key: ApiKeyText, *, peppers: Keyset, version: str) -> bytes:
    """What the database keeps: HMAC-SHA256 of id and secret under a versioned pepper."""
    message = f"api_key|{key.key_id}|{key.secret.reveal()}".encode()
    return peppers.mac(message, kid=version)


def new_token(prefix: str) -> Secret:
    """A one-time credential of 256 random bits, such as a ticket or an invitation."""
    return Secret(f"{prefix}_{_letters(secrets.token_bytes(32), SECRET_LENGTH)}")


def token_hash(text: str) -> bytes:
    """What the database keeps of a one-time credential: its bits are random, so SHA-256 does."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def same(left: str | bytes, right: str | bytes) -> bool:
    """Equality in time that does not depend on where they differ."""
    return hmac.compare_digest(_bytes(left), _bytes(right))


def crc6(text: str) -> str:
    """Six base32 letters: the lower 30 bits of the CRC-32 of the text."""
    return _letters_of(zlib.crc32(text.encode("utf-8", "surrogatepass")), CHECKSUM_LENGTH)


def _letters(data: bytes, length: int) -> str:
    return _letters_of(int.from_bytes(data), length)


def _letters_of(number: int, length: int) -> str:
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(5 * (length - 1), -1, -5))


def _uuid(letters: str) -> UUID:
    try:
        return ids.from_base32(letters)
    except ValueError:
        raise MalformedToken("not a token of this platform") from None


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
