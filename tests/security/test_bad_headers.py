"""Hostile headers at every operation: credentials of every wrong shape, conditions, proxies."""

from __future__ import annotations

import base64
import json

import pytest

from accounts.models import ApiKey
from tests import inprocess, operations, shares
from tests.operations import Documented
from tests.security import attacks
from tests.security.attacks import faults_of_any, faults_of_refusal

pytestmark = pytest.mark.django_db
EVERY = operations.every()
GUARDED = [one for one in EVERY if not one.is_public]
CONDITIONED = [one for one in EVERY if one.parameters("header")]


def _jwt(head: object, claims: object, signature: str = "") -> str:
    parts = (base64.urlsafe_b64encode(json.dumps(p).encode()).rstrip(b"=") for p in (head, claims))
    return ".".join([*(part.decode() for part in parts), signature])


_CLAIMS = {"sub": "x", "sid": "x", "exp": 9_999_999_999, "iat": 0, "type": "access", "jti": "x"}
_DEEP = '{"a":' * 5_000 + "1" + "}" * 5_000
TOKENS = (
    "", "null", "undefined", "a", "a.b", "a.b.c", "a.b.c.d", ".", "..", "a" * 60_000,
    _jwt({"alg": "none"}, _CLAIMS),
    _jwt({"alg": "HS256", "kid": "../../dev/null"}, _CLAIMS, "AAAA"),
    _jwt({"alg": "HS256", "kid": {"a": 1}}, _CLAIMS, "AAAA"),
    _jwt({"alg": ["HS256"], "kid": "new"}, _CLAIMS, "AAAA"),
    _jwt({"alg": "HS256", "crit": ["x"]}, [1, 2], "AAAA"),
    _jwt(7, 7, "AAAA"),
    base64.urlsafe_b64encode(_DEEP.encode()).decode() + ".e30.AAAA",
    "imk_", "imk_" + "0" * 200, "imk_" + "\u00e9" * 40, "imt_" + "0" * 60, "imk_'--", "é", "\x7f",
)  # fmt: skip
SCHEMES = (
    "", "Bearer", "Bearer ", "bearer", "Basic YTpi", "Digest x", "Token x", "Bearer a b",
    "Bearer  ", "Bearer\ta", "Negotiate x", "a" * 5_000,
)  # fmt: skip
COOKIES = (
    "sessionid=x", "sessionid=\udcff\udcfe", "sessionid=' OR 1=1", "sessionid=" + "a" * 5_000,
    "sessionid=\u00e9",
    'sessionid="a\\073b"', "sessionid=" + "." * 40, "=", ";" * 500, "sessionid=../../etc",
)  # fmt: skip


@pytest.mark.parametrize("one", shares.every(3, GUARDED), ids=str)
def test_credentials_of_every_wrong_shape_are_typed_401s(one: Documented):
    base = operations.stage().request(one)
    others = {k: v for k, v in base.headers.items() if k not in {"Authorization", "Cookie"}}
    bad = [{"Authorization": f"Bearer {token}"} for token in TOKENS]
    bad += [{"Authorization": scheme} for scheme in SCHEMES]
    bad += [{"X-Api-Key": token} for token in TOKENS]
    bad += [{"Authorization": "Bearer a.b.c", "X-Api-Key": "imk_x"}, {}]
    with attacks.nothing_changes():
        for headers in bad:
            answer = attacks.attempt(base.with_(headers=others | headers))
            assert (headers, answer.status) == (headers, 401)
            assert faults_of_refusal(answer) == []
        for cookie in COOKIES:  # an unsafe method first lacks its CSRF token
            answer = attacks.attempt(base.with_(headers=others | {"Cookie": cookie}))
            assert (cookie, answer.status in {401, 403}) == (cookie, True)
            assert faults_of_refusal(answer) == []


@pytest.mark.parametrize("one", shares.every(3, GUARDED, first=1), ids=str)
def test_credentials_that_are_no_text_or_come_twice_are_typed_401s(one: Documented):
    base = operations.stage().request(one)
    rest = [(k.encode(), v.encode()) for k, v in base.headers.items() if k == "Content-Type"]
    token = base.headers.get("Authorization", "").encode()
    pairs = (
        [(b"authorization", b"Bearer \xff\xfe")],
        [(b"authorization", b"\xff" * 100)],
        [(b"x-api-key", b"\xff\xfe")],
        [(b"authorization", token), (b"authorization", token[:-1] + b"x")],
        [(b"authorization", b"Bearer a.b.c"), (b"authorization", token)],
        [(b"x_api_key", b"imk_x"), (b"author_ization", token)],
    )
    with attacks.nothing_changes():
        for credentials in pairs:
            answer = inprocess.send(
                base.method, base.target, headers=[*rest, *credentials], body=base.body
            )
            assert (credentials, answer.status) == (credentials, 401)
            assert faults_of_refusal(answer) == []


@pytest.mark.parametrize("one", shares.every(3, GUARDED, first=2), ids=str)
def test_a_credential_in_the_url_is_refused_and_a_key_there_is_revoked(one: Documented):
    stage = operations.stage()
    base = stage.request(one)
    token = stage.headers["Authorization"].removeprefix("Bearer ")
    for name in ("access_token", "token", "x"):
        answer = attacks.attempt(base.with_(query=dict(base.query) | {name: token}))
        assert answer.json()["code"] == "credential_in_url"
    assert ApiKey.objects.filter(revoked_at__isnull=True).count() == 1


@pytest.mark.parametrize("one", CONDITIONED, ids=str)
def test_conditions_and_cursors_in_headers_are_taken_or_refused(one: Documented, stripe):
    base = operations.stage().request(one)
    texts = (
        *attacks.ODD_NUMBERS,
        '"v0"', '"v99999999999"', 'W/"v1"', '"v1", "v2"', "v1", '"r1"', '"v-1"', "*", "a" * 5_000,
        "é",
    )  # fmt: skip
    found = {
        f"{parameter['name']}: {text[:40]}": faults
        for parameter in one.parameters("header")
        for text in texts
        if (
            faults := faults_of_any(
                attacks.attempt(base.with_(headers=dict(base.headers) | {parameter["name"]: text}))
            )
        )
    }
    assert found == {}


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "' OR 1=1"},
        {"X-Forwarded-For": ", ".join(["1.2.3.4"] * 2_000)},
        {"X-Forwarded-For": "\u00e9"},
        {"Forwarded": "for=\x7f"},
        {"User-Agent": "\u00e9" * 4_000},
        {"Accept": "a" * 5_000},
        {"Accept": "application/json;q=abc"},
        {"Accept": ";;;,,,"},
        {"Accept-Language": "x" * 5_000},
        {"Host": "a b"},
        {"Host": "evil.example:99999999"},
        {"Host": "\u00e9"},
        {"Host": ""},
        {"Range": "bytes=0-" + "9" * 400},
        {"X-Request-Id": "\u00e9\u00e9"},
        {"X-Request-Id": "a" * 5_000},
        {"X-HTTP-Method-Override": "DELETE"},
        {"Transfer-Encoding": "chunked, identity"},
        {"Content-Length": "-1"},
        {"Content-Length": "9" * 400},
        {"Content-Length": "abc"},
        {"Expect": "x"},
    ],
    ids=lambda headers: str(headers)[:40],
)
def test_odd_headers_are_no_fault_of_ours(headers: dict[str, str]):
    stage = operations.stage()
    for one in EVERY:
        if one.id in {"read_me", "login", "list_files", "create_workspace", "read_schema"}:
            base = stage.request(one)
            answer = attacks.attempt(base.with_(headers=dict(base.headers) | headers))
            assert faults_of_any(answer) == []
            assert len(answer.headers.get("x-request-id", "")) <= 64


def test_an_absurd_accept_is_answered_with_a_problem_all_the_same():
    stage = operations.stage()
    (one,) = (found for found in EVERY if found.id == "read_me")
    base = stage.request(one)
    answer = base.with_(headers=dict(base.headers) | {"Accept": "image/png"}).send()
    assert answer.status == 406
    assert faults_of_refusal(answer) == []
