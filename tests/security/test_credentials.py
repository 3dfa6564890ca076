"""Attacks on tokens, keys, tickets and cookies."""

from __future__ import annotations

import base64
import json

import jwt
import pytest
from django.conf import settings
from django.test import Client

from accounts.models import ApiKey, AuditEvent, RefreshSession, User
from accounts.services import authentication, keys, tokens
from ideplatform.kit import clock
from tests import factories
from tests.accounts.rest import PASSWORD, an_ip, bearer, call, signed_in
from tests.security.holders import a_browser_of, a_key

pytestmark = pytest.mark.django_db


def _claims(pair, **changes):
    claims = jwt.decode(pair.access, options={"verify_signature": False})
    return {name: value for name, value in (claims | changes).items() if value is not None}


def _key(kid: str) -> bytes:
    return keys.signing().key(kid) or b""


def _signed(claims, *, kid="new", key=None, algorithm="HS256"):
    key = key if key is not None else _key("new")
    return jwt.encode(claims, key, algorithm, headers={"kid": kid})


def _status(token: str) -> tuple[int, str]:
    answer = call("GET", "auth/me", **bearer(token))
    return answer.status_code, answer.json().get("code", "")


def test_a_token_of_our_own_making_passes_this_harness():
    _, pair = signed_in()
    assert _status(_signed(_claims(pair)))[0] == 200
    old = keys.signing().key("old")
    assert _status(_signed(_claims(pair), kid="old", key=old))[0] == 200


@pytest.mark.parametrize(
    "forge",
    [
        lambda claims: jwt.encode(claims, "", "none", headers={"kid": "new"}),
        lambda claims: _signed(claims, algorithm="HS512"),
        lambda claims: _signed(claims, algorithm="HS384"),
        lambda claims: _signed(claims, key=b"k" * 40),
        lambda claims: _signed(claims, key=keys.peppers().key("2")),
        lambda claims: _signed(claims, key=settings.SECRET_KEY),
        lambda claims: _signed(claims, kid="unknown"),
        lambda claims: _signed(claims, kid="../../dev/null"),
        lambda claims: _signed(claims, kid="old"),
        lambda claims: jwt.encode(claims, _key("new"), "HS256"),
        lambda claims: _signed(claims)[:-2] + "AA",
        lambda claims: _signed(claims) + "A",
        lambda claims: ".".join(["e30"] * 3),
        lambda claims: "é" * 9,
        lambda claims: "a.b.c",
        lambda claims: "A" * 60_000,
        lambda claims: _with_kid({"kid": ["new"]}, claims),
        lambda claims: _with_kid({"kid": None}, claims),
        lambda claims: _with_kid({"kid": "new", "crit": ["b64"], "b64": False}, claims),
    ],
)
@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
def test_a_forged_signature_is_refused(forge):
    _, pair = signed_in()
    assert _status(forge(_claims(pair)).encode("utf-8").decode("latin-1"))[0] == 401


def _with_kid(header, claims) -> str:
    def part(value) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    body = f"{part({'alg': 'HS256', 'typ': 'JWT'} | header)}.{part(claims)}"
    mac = keys.signing().mac(body.encode(), kid="new")
    return f"{body}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


@pytest.mark.parametrize("claim", ["iss", "aud", "exp", "iat", "jti", "sid", "type", "sub"])
def test_every_claim_is_required(claim):
    _, pair = signed_in()
    assert _status(_signed(_claims(pair, **{claim: None})))[0] == 401


@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://elsewhere.test"},
        {"aud": "another"},
        {"type": "refresh"},
        {"type": ["access"]},
        {"sub": "00000000-0000-0000-0000-000000000000"},
        {"sub": "not an id"},
        {"sid": "00000000-0000-0000-0000-000000000000"},
        {"sid": 7},
        {"exp": "soon"},
        {"iat": 9_999_999_999},
    ],
)
def test_a_wrong_claim_is_refused(changes):
    _, pair = signed_in()
    assert _status(_signed(_claims(pair, **changes)))[0] == 401


def test_an_access_token_ends_to_the_second():
    _, pair = signed_in()
    now = int(clock.now().timestamp())
    assert _status(_signed(_claims(pair, exp=now - 1))) == (401, "token_expired")
    assert _status(_signed(_claims(pair, exp=now + 60)))[0] == 200


def test_a_token_of_another_user_with_my_session_is_refused():
    _, pair = signed_in()
    other = factories.a_user()
    assert _status(_signed(_claims(pair, sub=str(other.pk))))[0] == 401


def test_a_refresh_token_opens_nothing_and_an_access_token_refreshes_nothing():
    _, pair = signed_in()
    assert _status(pair.refresh)[0] == 401
    assert call("POST", "auth/refresh", {"refresh": pair.access}).status_code == 401
    assert RefreshSession.objects.get().generation == 0


def test_an_inactive_user_is_out_whatever_the_token_says():
    user, pair = signed_in()
    User.objects.filter(pk=user.pk).update(is_active=False)
    assert _status(pair.access) == (401, "session_revoked")


@pytest.mark.parametrize(
    "header", ["Bearer", "Bearer ", "Basic YTpi", "Bearer a b", "Token x", ","]
)
def test_hostile_authorization_headers_are_4xx(header):
    assert call("GET", "auth/me", Authorization=header).status_code == 401


@pytest.mark.parametrize("send", [bearer, lambda text: {"x_api_key": text}])
def test_a_key_means_the_same_in_either_header(send):
    _, pair = signed_in()
    _, secret = a_key(pair)
    assert call("GET", "organizations", **send(secret.reveal())).status_code == 200
    refused = call("GET", "auth/me", **send(secret.reveal()))
    assert (refused.status_code, refused.json()["code"]) == (403, "session_required")


def test_the_same_key_in_both_headers_is_one_credential_and_two_are_refused():
    _, pair = signed_in()
    _, secret = a_key(pair)
    _, second = a_key(pair)
    both = bearer(secret.reveal()) | {"x_api_key": secret.reveal()}
    assert call("GET", "organizations", **both).status_code == 200
    for mixed in (
        bearer(pair.access) | {"x_api_key": secret.reveal()},
        bearer(second.reveal()) | {"x_api_key": secret.reveal()},
    ):
        answer = call("GET", "organizations", **mixed)
        assert (answer.status_code, answer.json()["code"]) == (401, "credential_conflict")


@pytest.mark.parametrize(
    "change",
    [
        {"expires_at": "2026-01-01T00:00:00Z"},
        {"revoked_at": "2026-01-01T00:00:00Z"},
        {"secret_hmac": b"\0" * 32},
        {"pepper_version": 99},
        {"pepper_version": 1},
    ],
)
def test_a_key_out_of_force_is_refused(change):
    _, pair = signed_in()
    _, secret = a_key(pair)
    ApiKey.objects.update(**change)
    assert call("GET", "organizations", x_api_key=secret.reveal()).status_code == 401


def test_neither_the_secret_nor_its_checksum_can_be_guessed_at():
    _, pair = signed_in()
    key, secret = a_key(pair)
    _, other = a_key(pair)
    swapped = secret.reveal()[:30] + other.reveal()[30:]
    for text in (swapped, secret.reveal()[:-1], secret.reveal().upper(), "imk_" + "0" * 84):
        assert call("GET", "organizations", x_api_key=text).status_code == 401
    stored = ApiKey.objects.values_list("secret_hmac", flat=True).get(pk=key.pk)
    assert secret.reveal().encode() not in bytes(stored)


def test_a_rotated_key_ends_its_former_text():
    _, pair = signed_in()
    key, before = a_key(pair)
    answer = call("POST", f"auth/api-keys/{key.pk}/rotate", **bearer(pair.access))
    assert answer.status_code == 200
    assert call("GET", "organizations", x_api_key=before.reveal()).status_code == 401
    assert call("GET", "organizations", x_api_key=answer.json()["key"]).status_code == 200


def test_a_key_in_a_url_is_refused_audited_and_revoked():
    _, pair = signed_in()
    key, secret = a_key(pair)
    answer = call("GET", f"organizations?api_key={secret.reveal()}", **bearer(pair.access))
    assert (answer.status_code, answer.json()["code"]) == (401, "credential_in_url")
    key.refresh_from_db()
    assert key.revoked_at is not None
    assert AuditEvent.objects.get(action="api_key.leaked").target == str(key.pk)
    assert secret.reveal() not in answer.content.decode()


@pytest.mark.parametrize("path", ["organizations", "auth/login", "auth/me"])
def test_a_token_in_a_url_is_refused_on_public_and_private_routes(path):
    _, pair = signed_in()
    for text in (pair.access, pair.refresh):
        answer = call("POST", f"{path}?x={text}", {}, ip=an_ip(), **bearer(pair.access))
        assert (answer.status_code, answer.json()["code"]) == (401, "credential_in_url")
    assert AuditEvent.objects.filter(action="credential.in_url").count() == 2


def test_a_strangers_jwt_in_a_search_is_only_text():
    _, pair = signed_in()
    foreign = jwt.encode({"a": 1}, "k" * 32, "HS256")
    assert call("GET", f"organizations?q={foreign}", **bearer(pair.access)).status_code == 200


def test_a_browser_session_reads_and_needs_the_csrf_token_to_write():
    user = factories.a_user()
    client = a_browser_of(user)
    assert call("GET", "auth/me", client=client).status_code == 200
    answer = call("PATCH", "auth/me", {"full_name": "X"}, client=client)
    assert (answer.status_code, answer.json()["code"]) == (403, "csrf_failed")
    client.cookies["csrftoken"] = token = "a" * 32
    assert (
        call("PATCH", "auth/me", {"full_name": "X"}, client=client, X_CSRFToken=token).status_code
        == 200
    )


def test_a_browser_session_becomes_tokens_of_the_same_session_and_ends_with_them():
    user = factories.a_user()
    client = a_browser_of(user)
    client.cookies["csrftoken"] = token = "a" * 32
    answer = call("POST", "auth/token", client=client, X_CSRFToken=token)
    session = RefreshSession.objects.get(user=user)
    assert (answer.status_code, answer.json()["session_id"]) == (200, str(session.pk))
    assert session.kind == "browser"
    access = answer.json()["access"]
    assert call("GET", "auth/me", client=client, **bearer(access)).status_code == 200
    assert call("POST", "auth/logout", **bearer(access)).status_code == 204
    assert call("GET", "auth/me", client=client).status_code == 401
    assert client.get("/admin/").status_code == 302
    assert "_auth_user_id" not in client.session


def test_a_bearer_token_is_not_exchanged_for_a_refresh_token():
    _, pair = signed_in()
    assert call("POST", "auth/token", **bearer(pair.access)).status_code == 403


def test_a_cookie_beside_the_token_of_another_session_is_refused():
    client = a_browser_of(factories.a_user())
    _, pair = signed_in()
    answer = call("GET", "auth/me", client=client, **bearer(pair.access))
    assert (answer.status_code, answer.json()["code"]) == (401, "credential_conflict")


def test_the_admins_own_form_has_the_same_limits():
    user, ip = factories.a_user(is_staff=True), an_ip()
    form = {"username": user.email, "password": "wrong password"}
    for _ in range(5):
        Client().post("/admin/login/", form, REMOTE_ADDR=ip)
    right = {"username": user.email, "password": PASSWORD}
    assert Client().post("/admin/login/", right, REMOTE_ADDR=ip).status_code == 200
    assert (
        call("POST", "auth/login", {"email": user.email, "password": PASSWORD}, ip=ip).status_code
        == 429
    )
    assert Client().post("/admin/login/", right, REMOTE_ADDR=an_ip()).status_code == 302


def test_a_rolled_back_clock_of_the_web_process_accepts_its_own_tokens():
    _, pair = signed_in()
    ahead = int(clock.now().timestamp()) + 5
    assert tokens.read_access(_signed(_claims(pair, iat=ahead))).user_id == pair.user_id


def test_a_remembered_credential_is_never_the_others():
    _, pair = signed_in()
    first = authentication.verify(authentication.of_text(pair.access), ip="192.0.2.1")
    second = authentication.verify(authentication.of_text(pair.access), ip="192.0.2.2")
    assert (first.ip, second.ip) == ("192.0.2.1", "192.0.2.2")
    assert authentication.recall({}, ip="") is None
