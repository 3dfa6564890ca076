"""Credentials that are text: API keys with a checksum, refresh tokens, one-time tokens.

An API key is `imk_<id 26><secret 52><checksum 6>`: the id finds the row, the secret is 256 random
bits, and the checksum lets a scanner or an editor tell a key from noise without asking us.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import zlib
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from ideplatform.kit import ids
from ideplatform.kit.crypto.keysets import Keyset
from ideplatform.kit.crypto.secret import Secret

API_KEY_PREFIX = "imk_"
REFRESH_PREFIX = "imr_"
CHECKSUM_LENGTH = 6
SECRET_LENGTH = 52  # 256 bits at 5 bits a letter
_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_BODY_LENGTH = ids.LENGTH + SECRET_LENGTH
_MAC_BYTES = 32
_NUMBER_LENGTH = 12  # 60 bits: a generation, or microseconds since 1970 until far beyond 2100


class MalformedToken(ValueError):
    """The text is no token of this kind. The caller answers as for any wrong credential."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiKeyText:
    """An API key taken apart."""

    key_id: UUID
    secret: Secret


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshText:
    """What a refresh token claims; true only once `verify_refresh` said so."""

    sid: UUID
    generation: int
    rotated_at_us: int


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


def refresh_token(*, sid: UUID, generation: int, rotated_at: datetime, keys: Keyset) -> Secret:
    """The refresh token of a session's generation: the same three values give the same text.

    So a client that lost an answer may be given it again, and nothing secret is stored.
    """
    moment_us = round(rotated_at.timestamp() * 1_000_000)
    body = ids.base32(sid) + _number(generation) + _number(moment_us)
    kid = keys.newest
    return Secret(f"{REFRESH_PREFIX}{body}{_refresh_mac(body, keys=keys, kid=kid)}.{kid}")


def verify_refresh(text: str, *, keys: Keyset) -> RefreshText:
    """What an authentic refresh token says; raises MalformedToken for any other text."""
    token, _, kid = text.partition(".")
    length = ids.LENGTH + 2 * _NUMBER_LENGTH
    body = token.removeprefix(REFRESH_PREFIX)[:length]
    mac = token[len(REFRESH_PREFIX) + length :]
    if not text.isascii() or not token.startswith(REFRESH_PREFIX) or keys.key(kid) is None:
        raise MalformedToken("not a refresh token")
    if not same(mac, _refresh_mac(body, keys=keys, kid=kid)):
        raise MalformedToken("not a refresh token")
    return RefreshText(
        sid=_uuid(body[: ids.LENGTH]),
        generation=_read_number(body[ids.LENGTH : ids.LENGTH + _NUMBER_LENGTH]),
        rotated_at_us=_read_number(body[ids.LENGTH + _NUMBER_LENGTH :]),
    )


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


def _refresh_mac(body: str, *, keys: Keyset, kid: str) -> str:
    return _letters(keys.mac(f"refresh|{body}".encode(), kid=kid)[:_MAC_BYTES], SECRET_LENGTH)


def _letters(data: bytes, length: int) -> str:
    return _letters_of(int.from_bytes(data), length)


def _letters_of(number: int, length: int) -> str:
    return "".join(_ALPHABET[number >> shift & 31] for shift in range(5 * (length - 1), -1, -5))


def _number(value: int) -> str:
    if not 0 <= value < 1 << 5 * _NUMBER_LENGTH:
        raise ValueError("the number does not fit a token")
    return _letters_of(value, _NUMBER_LENGTH)


def _read_number(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number << 5 | _ALPHABET.index(letter)
    return number


def _uuid(letters: str) -> UUID:
    try:
        return ids.from_base32(letters)
    except ValueError:
        raise MalformedToken("not a token of this platform") from None


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass")
