"""Who opens a WebSocket: every place where a browser, a program or the founding client puts it.

`Authorization` or `x-api-key`; the sub-protocols `bearer.<access>` and `ticket.<t>`; `?ticket=` or
`?token=` with an `imt_` ticket; the browser session's cookie from a listed Origin; or nothing yet,
and a first message. A token or key in the URL is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qs

from django.conf import settings

from accounts.errors import CredentialConflict, OriginRefused
from accounts.services import authentication, tickets
from accounts.services.authentication import Credential, Source
from accounts.types import Actor
from ideplatform.kit.errors import Unauthenticated

_TICKET = tickets.PREFIX + "_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Handshake:
    """Who opens the socket (None: nobody yet) and the sub-protocol to echo ("" for none)."""

    actor: Actor | None
    subprotocol: str = ""


def authenticate(
    *, headers: Mapping[str, str], subprotocols: Sequence[str], query: str, path: str, ip: str
) -> Handshake:
    """Judge a handshake; header names are lower case, `query` is raw, `path` has no query.

    Raises Unauthenticated and its kinds, OriginRefused.
    """
    authentication.refuse_in_url(query, ip=ip)
    protocol = next((p for p in subprotocols if p.startswith(("bearer.", "ticket."))), "")
    given = {text for text in (protocol.partition(".")[2], _ticket_in(query)) if text}
    header = authentication.credential_of(headers)
    if header is not None and header.source != Source.COOKIE:
        given.add(header.text)
    if len(given) > 1:
        raise CredentialConflict
    if given:
        actor = authenticate_text(given.pop(), path=path, ip=ip)
        return Handshake(actor=actor, subprotocol=protocol)
    if header is not None:
        return Handshake(actor=_by_cookie(header, headers.get("origin", ""), ip=ip))
    return Handshake(actor=None)


def authenticate_text(text: str, *, path: str, ip: str) -> Actor:
    """Who sends this ticket, token or key (also as a first message); raises Unauthenticated."""
    if text.startswith(_TICKET):
        user_id, session_id = tickets.redeem(text, path=path)
        return authentication.of_session(user_id=user_id, session_id=session_id, ip=ip)
    return authentication.verify(authentication.of_text(text), ip=ip)


def _ticket_in(query: str) -> str:
    """The ticket of `?ticket=` or `?token=`; raises Unauthenticated for anything else there."""
    fields = parse_qs(query)
    given = {text for name in ("ticket", "token") for text in fields.get(name, [])}
    if len(given) > 1:
        raise CredentialConflict
    text = given.pop() if given else ""
    if text and not text.startswith(_TICKET):
        raise Unauthenticated("a URL carries a ticket of POST /api/v1/auth/ws-ticket, nothing else")
    return text


def _by_cookie(credential: Credential, origin: str, *, ip: str) -> Actor:
    """A browser sends cookies for any page that dials us, so the page's origin must be listed."""
    if origin not in settings.ENV.trusted_origins:
        raise OriginRefused
    return authentication.verify(credential, ip=ip)
