"""Attacks on the handshakes of sockets: tokens, keys, tickets and cookies."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.conf import settings

from accounts.errors import CredentialConflict, OriginRefused
from accounts.models import WsTicket
from accounts.services import sockets, tickets
from ideplatform.kit import clock
from ideplatform.kit.errors import Unauthenticated
from tests import factories
from tests.accounts.rest import bearer, call, signed_in
from tests.security.holders import a_browser_of, a_key, the_actor

pytestmark = pytest.mark.django_db


SOCKET = "/api/v1/ws/agents"


def _handshake(**values):
    given = {"headers": {}, "subprotocols": [], "query": "", "path": SOCKET, "ip": "192.0.2.1"}
    return sockets.authenticate(**given | values)


def _ticket(pair, path=SOCKET, **options) -> str:
    return tickets.create(actor=the_actor(pair), path=path, **options)[0].reveal()


def test_a_socket_takes_each_documented_credential():
    _, pair = signed_in()
    _, key = a_key(pair)
    ways: list[dict[str, Any]] = [
        {"headers": {"authorization": f"Bearer {pair.access}"}},
        {"headers": {"authorization": f"Bearer {key.reveal()}"}},
        {"headers": {"x-api-key": key.reveal()}},
        {"subprotocols": ["mundial.v1", f"bearer.{pair.access}"]},
        {"subprotocols": [f"ticket.{_ticket(pair)}"]},
        {"query": f"ticket={_ticket(pair)}"},
        {"query": f"token={_ticket(pair)}"},
    ]
    shakes = [_handshake(**way) for way in ways]
    assert [shake.actor.user_id for shake in shakes] == [pair.user_id] * len(ways)
    assert [shake.subprotocol.partition(".")[0] for shake in shakes] == [
        "", "", "", "bearer", "ticket", "", "",
    ]  # fmt: skip


def test_a_first_message_may_carry_a_token_a_key_or_a_ticket():
    _, pair = signed_in()
    _, key = a_key(pair)
    assert _handshake().actor is None
    for text in (pair.access, key.reveal(), _ticket(pair)):
        assert sockets.authenticate_text(text, path=SOCKET, ip="").user_id == pair.user_id


@pytest.mark.parametrize("name", ["token", "ticket", "access_token"])
def test_a_token_or_key_in_a_sockets_url_is_refused(name):
    _, pair = signed_in()
    key, secret = a_key(pair)
    for text in (pair.access, secret.reveal()):
        with pytest.raises(Unauthenticated):
            _handshake(query=f"{name}={text}")
    key.refresh_from_db()
    assert key.revoked_at is not None


def test_a_ticket_opens_once():
    _, pair = signed_in()
    ticket = _ticket(pair)
    assert _handshake(query=f"ticket={ticket}").actor.session_id == pair.session_id
    with pytest.raises(Unauthenticated):
        _handshake(query=f"ticket={ticket}")


def test_a_ticket_at_another_path_is_refused_and_spent():
    _, pair = signed_in()
    ticket = _ticket(pair)
    for path in ("/api/v1/ws/collaboration/x", SOCKET):
        with pytest.raises(Unauthenticated):
            _handshake(query=f"ticket={ticket}", path=path)
    assert WsTicket.objects.count() == 0


def test_a_ticket_ends_after_thirty_seconds_and_with_its_session():
    _, pair = signed_in()
    late, orphan = _ticket(pair), _ticket(pair)
    life = WsTicket.objects.all()[0].expires_at - clock.now()
    assert timedelta(seconds=25) < life < timedelta(seconds=31)
    WsTicket.objects.update(expires_at="2026-01-01T00:00:00Z")
    with pytest.raises(Unauthenticated):
        _handshake(query=f"ticket={late}")
    orphan = _ticket(pair)
    assert call("POST", "auth/logout", **bearer(pair.access)).status_code == 204
    with pytest.raises(Unauthenticated):
        _handshake(query=f"ticket={orphan}")


def test_a_reusable_ticket_is_for_collaboration_alone_and_dies_with_the_session():
    _, pair = signed_in()
    path = "/api/v1/ws/collaboration/room"
    ticket = _ticket(pair, path, is_reusable=True)
    for _ in range(2):
        assert _handshake(query=f"token={ticket}", path=path).actor.user_id == pair.user_id
    body = {"path": SOCKET, "reusable": True}
    refused = call("POST", "auth/ws-ticket", body, **bearer(pair.access))
    assert refused.json()["errors"][0]["pointer"] == "/reusable"
    call("POST", "auth/logout", **bearer(pair.access))
    with pytest.raises(Unauthenticated):
        _handshake(query=f"token={ticket}", path=path)


def test_a_ticket_is_for_sockets_only():
    _, pair = signed_in()
    body = {"path": "/api/v1/auth/me"}
    assert call("POST", "auth/ws-ticket", body, **bearer(pair.access)).status_code == 422
    assert WsTicket.objects.count() == 0


def test_two_credentials_in_one_handshake_are_refused():
    _, pair = signed_in()
    _, other = signed_in()
    header = {"authorization": f"Bearer {pair.access}"}
    for way in (
        {"headers": header, "query": f"ticket={_ticket(pair)}"},
        {"headers": header, "subprotocols": [f"bearer.{other.access}"]},
        {"query": f"ticket={_ticket(pair)}&token={_ticket(pair)}"},
    ):
        with pytest.raises(CredentialConflict):
            _handshake(**way)


def test_a_cookie_opens_a_socket_only_from_a_listed_origin():
    user = factories.a_user()
    client = a_browser_of(user)
    cookie = f"sessionid={client.cookies['sessionid'].value}"
    own = {"cookie": cookie, "origin": settings.ENV.public_url}
    assert _handshake(headers=own).actor.user_id == user.pk
    for origin in ("https://evil.test", "null", "", settings.ENV.public_url + ".evil.test"):
        with pytest.raises(OriginRefused):
            _handshake(headers={"cookie": cookie, "origin": origin})
