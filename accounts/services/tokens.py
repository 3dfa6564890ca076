"""Access and refresh tokens: JWT, HS256 alone, issued by simplejwt's backend and nobody else.

An access token lives 10 minutes and names its session. A refresh token is a deterministic function
of (session, generation, rotated_at): a client that lost an answer may be given the same one again,
and nothing secret is stored. Source: RFC 7519; RFC 8725 sections 3.1, 3.8, 3.11.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, cast
from uuid import UUID

import jwt
from django.conf import settings
from rest_framework_simplejwt.backends import TokenBackend
from rest_framework_simplejwt.exceptions import TokenBackendError, TokenBackendExpiredToken

from accounts.errors import SessionExpired, TokenExpired
from accounts.services import keys
from ideplatform.kit import clock, ids
from ideplatform.kit.errors import Unauthenticated

TokenType = Literal["access", "refresh"]
AUDIENCE = "ide-mundial"
MAX_LENGTH = 2_048
_REQUIRED = {"iss", "aud", "exp", "iat", "jti", "sid", "type", "sub"}
# The database stamps `iat`; a web process whose clock is behind must still accept its own token.
_CLOCK_SKEW_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessClaims:
    """What an authentic access token says. `expires_at` is in seconds since 1970."""

    user_id: UUID
    session_id: UUID
    expires_at: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RefreshClaims:
    """What an authentic refresh token says; `token_id` is derived from generation and time."""

    user_id: UUID
    session_id: UUID
    generation: int
    token_id: UUID


def access(*, user_id: UUID, session_id: UUID, now: datetime) -> tuple[str, datetime]:
    """A fresh access token and the moment it ends."""
    expires_at = now + timedelta(seconds=settings.ENV.access_token_s)
    claims = _claims("access", user_id, session_id, issued_at=now, expires_at=expires_at)
    return _backend().encode(claims | {"jti": str(ids.new())}), expires_at


def refresh(
    *, user_id: UUID, session_id: UUID, generation: int, rotated_at: datetime, expires_at: datetime
) -> str:
    """The refresh token of a session's generation: the same values give the same string."""
    claims = _claims("refresh", user_id, session_id, issued_at=rotated_at, expires_at=expires_at)
    token_id = refresh_id(session_id=session_id, generation=generation, rotated_at=rotated_at)
    return _backend().encode(claims | {"jti": str(token_id), "gen": generation})


def refresh_id(*, session_id: UUID, generation: int, rotated_at: datetime) -> UUID:
    """The `jti` of a refresh token."""
    return ids.derived(session_id, "refresh", generation, clock.rfc3339(rotated_at))


def read_access(text: str) -> AccessClaims:
    """The claims of an access token; raises TokenExpired or Unauthenticated."""
    claims = _decode(text, "access")
    if claims["exp"] <= clock.now().timestamp():
        raise TokenExpired
    return AccessClaims(
        user_id=_uuid(claims["sub"]), session_id=_uuid(claims["sid"]), expires_at=claims["exp"]
    )


def read_refresh(text: str) -> RefreshClaims:
    """The claims of a refresh token, its age not judged (the database's clock does that)."""
    claims = _decode(text, "refresh")
    generation = claims.get("gen")
    if not isinstance(generation, int):
        raise Unauthenticated
    return RefreshClaims(
        user_id=_uuid(claims["sub"]),
        session_id=_uuid(claims["sid"]),
        generation=generation,
        token_id=_uuid(claims["jti"]),
    )


def is_ours(text: str) -> bool:
    """Whether this is a token that we signed, of any kind and age."""
    try:
        _backend().read(text)
    except TokenBackendExpiredToken:
        return True
    except (TokenBackendError, UnicodeError):
        return False
    return True


def _claims(
    kind: TokenType, user_id: UUID, session_id: UUID, *, issued_at: datetime, expires_at: datetime
) -> dict[str, Any]:
    return {
        "iss": settings.ENV.public_url,
        "aud": AUDIENCE,
        "iat": int(issued_at.timestamp()),
        "exp": int(expires_at.timestamp()),
        "sub": str(user_id),
        "sid": str(session_id),
        "type": kind,
    }


def _decode(text: str, kind: TokenType) -> dict[str, Any]:
    try:
        claims = _backend().read(text)
    except TokenBackendExpiredToken:
        raise (TokenExpired() if kind == "access" else SessionExpired()) from None
    except (TokenBackendError, UnicodeError):
        raise Unauthenticated from None
    if not claims.keys() >= _REQUIRED or claims["type"] != kind:
        raise Unauthenticated
    return claims


class _Backend(TokenBackend):
    """simplejwt's backend with a `kid`: the newest key signs, the named one verifies."""

    def encode(self, payload: dict[str, Any]) -> str:
        kid = keys.signing().newest
        key = keys.signing().key(kid) or b""
        return jwt.encode(payload, key, "HS256", headers={"kid": kid})

    def read(self, text: str) -> dict[str, Any]:
        """`decode` of a text; simplejwt calls its argument a Token."""
        claims: dict[str, Any] = self.decode(cast("Any", text if len(text) <= MAX_LENGTH else ""))
        return claims

    def get_verifying_key(self, token: Any) -> bytes:
        kid = jwt.get_unverified_header(token).get("kid")
        key = keys.signing().key(kid) if isinstance(kid, str) else None
        if key is None:
            raise jwt.InvalidTokenError
        return key


@functools.cache
def _backend() -> _Backend:
    return _Backend(
        "HS256", audience=AUDIENCE, issuer=settings.ENV.public_url, leeway=_CLOCK_SKEW_S
    )


def _uuid(text: object) -> UUID:
    try:
        return UUID(str(text))
    except ValueError:
        raise Unauthenticated from None
