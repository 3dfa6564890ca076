"""The one function that tells who is calling, for REST, sockets and the gateway alike.

It reads `Authorization: Bearer`, `x-api-key`, `api-key` and the browser session's cookie. Several
different credentials are refused, and so is any credential in a URL: URLs are logged and shared.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from importlib import import_module
from urllib.parse import parse_qsl
from uuid import UUID

from django.conf import settings
from django.http import parse_cookie

from accounts.errors import CredentialConflict, CredentialInUrl
from accounts.services import api_keys, audit, feed, principals, sessions, tokens
from accounts.services.principals import Principal
from accounts.types import Actor, Scope
from ideplatform.kit import clock, crypto
from ideplatform.kit.crypto.tokens import API_KEY_PREFIX
from ideplatform.kit.errors import Unauthenticated

SESSION_ID = "sid"
"""Where a Django session keeps the id of its `refresh_sessions` row."""

_BEARER = re.compile(r"bearer[ ]+(\S+)", re.IGNORECASE)
_MAX_LENGTH = 4_096


class Source(StrEnum):
    TOKEN = "token"  # noqa: S105 - the name of a place, not a secret
    API_KEY = "api_key"
    COOKIE = "cookie"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """What a caller presented, not yet verified; its repr does not show it."""

    source: Source
    text: str = field(repr=False)

    def digest(self) -> bytes:
        """What this process remembers it by."""
        return hashlib.sha256(f"{self.source}:{self.text}".encode(errors="replace")).digest()


def authenticate(headers: Mapping[str, str], *, ip: str, query: str = "") -> Actor:
    """Who sends these headers (lower-case names, or a mapping that ignores case).

    `query` is the raw query string. Raises Unauthenticated and its kinds.
    """
    refuse_in_url(query, ip=ip)
    credential = credential_of(headers)
    if credential is None:
        raise Unauthenticated
    return verify(credential, ip=ip)


def credential_of(headers: Mapping[str, str]) -> Credential | None:
    """The one credential presented, None if there is none; raises CredentialConflict for several.

    A cookie beside a token is no second credential if it names the same session: browsers send
    cookies unasked.
    """
    presented = (
        _bearer(headers.get("authorization", "")),
        _api_key(headers.get("x-api-key", "")),
        _api_key(headers.get("api-key", "")),
    )
    explicit = {credential for credential in presented if credential is not None}
    if len(explicit) > 1:
        raise CredentialConflict
    cookie = _cookie(headers.get("cookie", ""))
    if not explicit:
        return cookie
    credential = explicit.pop()
    if cookie is not None and not _same_session(credential, cookie):
        raise CredentialConflict
    return credential


def verify(credential: Credential, *, ip: str) -> Actor:
    """The actor that a credential proves; raises Unauthenticated and its kinds."""
    digest = credential.digest()
    actor = principals.recall(digest)
    if actor is None:
        principal = _principal(credential)
        principals.remember(digest, principal)
        actor = principal.actor
    return principals.at_address(actor, ip)


def recall(headers: Mapping[str, str], *, ip: str) -> Actor | None:
    """`authenticate` as far as memory serves: no store is asked, so a coroutine may call it.

    None means "ask `authenticate`", not "refused".
    """
    if "cookie" in headers:
        return None
    credential = credential_of(headers)
    actor = principals.recall(credential.digest()) if credential is not None else None
    return principals.at_address(actor, ip) if actor is not None else None


def of_text(text: str) -> Credential:
    """A bare credential, as a socket's first message or sub-protocol carries it."""
    source = Source.API_KEY if text.startswith(API_KEY_PREFIX) else Source.TOKEN
    return Credential(source=source, text=text[:_MAX_LENGTH])


def of_session(*, user_id: UUID, session_id: UUID, ip: str) -> Actor:
    """The actor of a session known by other proof (a ticket, a browser session)."""
    return principals.at_address(_read_session(user_id, session_id).actor, ip)


def of_browser(session_key: str, *, ip: str) -> Actor:
    """The actor of a Django session (admin, workbench); raises Unauthenticated."""
    return verify(Credential(source=Source.COOKIE, text=session_key), ip=ip)


def refuse_in_url(query: str, *, ip: str) -> None:
    """Refuse a credential of ours in a query string; a key found there is revoked, all is audited.

    Raises CredentialInUrl.
    """
    for name, value in parse_qsl(query, keep_blank_values=True):
        for text in (name, value):
            if _is_credential(text):
                _report_leak(text, ip=ip)
                raise CredentialInUrl


def _bearer(header: str) -> Credential | None:
    if not header:
        return None
    match = _BEARER.fullmatch(header)
    if match is None:
        raise Unauthenticated("the Authorization header is `Bearer <token>`")
    return of_text(match[1])


def _api_key(header: str) -> Credential | None:
    return of_text(header) if header else None


def _cookie(header: str) -> Credential | None:
    key = parse_cookie(header).get(settings.SESSION_COOKIE_NAME, "") if header else ""
    return Credential(source=Source.COOKIE, text=key) if key else None


def _browser_session(key: str) -> dict[str, str]:
    """The stored Django session of a cookie; empty for an unknown or expired one."""
    store = import_module(settings.SESSION_ENGINE).SessionStore
    stored: dict[str, str] = store(key).load()
    return stored


def _same_session(credential: Credential, cookie: Credential) -> bool:
    """Whether a cookie adds nothing to a credential: it is nobody's, or of the same session."""
    session_id = _browser_session(cookie.text).get(SESSION_ID)
    if session_id is None or credential.source != Source.TOKEN:
        return session_id is None
    return str(tokens.read_access(credential.text).session_id) == session_id


def _principal(credential: Credential) -> Principal:
    if credential.source == Source.API_KEY:
        return _of_key(credential.text)
    if credential.source == Source.COOKIE:
        return _of_cookie(credential.text)
    claims = tokens.read_access(credential.text)
    owner = {"user_id": claims.user_id, "session_id": claims.session_id}
    known = principals.shared(**owner, expires_at=claims.expires_at)
    if known is not None:
        return known
    principal = _read_session(claims.user_id, claims.session_id, expires_at=claims.expires_at)
    principals.share(principal)
    return principal


def _of_cookie(key: str) -> Principal:
    stored = _browser_session(key)
    try:
        user_id, session_id = UUID(stored["_auth_user_id"]), UUID(stored[SESSION_ID])
    except (KeyError, ValueError):
        raise Unauthenticated from None
    return _read_session(user_id, session_id)


def _read_session(
    user_id: UUID, session_id: UUID, *, expires_at: float = float("inf")
) -> Principal:
    mark, read_at = feed.watermark(), clock.now().timestamp()
    session = sessions.live(user_id=user_id, session_id=session_id)
    sessions.seen(session)
    actor = Actor(
        user_id=user_id,
        session_id=session_id,
        is_staff=session.user.is_staff,
        is_superuser=session.user.is_superuser,
    )
    ends_at = min(expires_at, session.expires_at.timestamp())
    return Principal(actor=actor, expires_at=ends_at, read_at=read_at, mark=mark)


def _of_key(text: str) -> Principal:
    mark, read_at = feed.watermark(), clock.now().timestamp()
    key = api_keys.verified(text)
    api_keys.seen(key)
    actor = Actor(
        user_id=key.user_id,
        api_key_id=key.pk,
        scopes=frozenset(Scope(scope) for scope in key.scopes),
        key_organization_id=key.organization_id,
        key_workspace_id=key.workspace_id,
    )
    ends_at = key.expires_at.timestamp() if key.expires_at else float("inf")
    return Principal(actor=actor, expires_at=ends_at, read_at=read_at, mark=mark)


def _is_credential(text: str) -> bool:
    if text.startswith(API_KEY_PREFIX):
        try:
            crypto.read_api_key(text)
        except crypto.MalformedToken:
            return False
        return True
    return text.count(".") == 2 and tokens.is_ours(text)


def _report_leak(text: str, *, ip: str) -> None:
    if text.startswith(API_KEY_PREFIX):
        try:
            api_keys.revoke_leaked(key_id=api_keys.verified(text).pk, ip=ip)
        except Unauthenticated:
            audit.record(action="credential.in_url", outcome=audit.DENIED, ip=ip)
    else:
        audit.record(action="credential.in_url", outcome=audit.DENIED, ip=ip)
