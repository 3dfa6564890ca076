"""Signing up, in and out over REST."""

from __future__ import annotations

import pytest

from accounts.models import AuditEvent, Organization, RefreshSession, User
from tests import factories
from tests.accounts.rest import PASSWORD, an_ip, bearer, call, signed_in

pytestmark = pytest.mark.django_db
FORM = {"email": "Ana@example.test", "password": "a long enough phrase", "full_name": "Ana"}


def test_whoever_registers_is_signed_in_and_owns_a_personal_organization():
    answer = call("POST", "auth/register", FORM, ip=an_ip())
    assert answer.status_code == 201
    pair = answer.json()
    assert set(pair) == {"user", "access", "refresh", "access_expires_at", "session_id"}
    me = call("GET", "auth/me", **bearer(pair["access"])).json()
    assert me["email"] == "Ana@example.test"
    assert [(o["kind"], o["role"]) for o in me["organizations"]] == [("personal", "owner")]
    assert User.objects.get().password.startswith("argon2")


def test_an_address_is_taken_whatever_its_case():
    factories.a_user(email="ana@example.test")
    answer = call("POST", "auth/register", FORM, ip=an_ip())
    assert (answer.status_code, answer.json()["code"]) == (409, "email_taken")
    assert (User.objects.count(), Organization.objects.count()) == (1, 1)


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"password": "short"}, "/password"),
        ({"password": "1234567890123"}, "/password"),
        ({"password": "Ana@example.test"}, "/password"),
        ({"email": "no address"}, "/email"),
        ({"email": "a" * 250 + "@example.test"}, "/email"),
        ({"full_name": "x" * 256}, "/full_name"),
        ({"is_superuser": True}, "/is_superuser"),
    ],
)
def test_bad_input_is_pointed_at_and_changes_nothing(changes, pointer):
    answer = call("POST", "auth/register", FORM | changes, ip=an_ip())
    assert answer.status_code == 422
    assert pointer in {error["pointer"] for error in answer.json()["errors"]}
    assert User.objects.count() == 0


@pytest.mark.parametrize("body", [b"", b"[1]", b'"x"', b"{", b'{"email": "\\u0000"}', b"[" * 99])
def test_a_malformed_body_is_a_typed_4xx(body):
    answer = call("POST", "auth/register", body, ip=an_ip())
    assert answer.status_code in {400, 422}
    assert answer["Content-Type"] == "application/problem+json"


def test_the_sixth_registration_of_a_minute_from_one_address_waits():
    ip = an_ip()
    codes = [call("POST", "auth/register", {}, ip=ip).status_code for _ in range(2)]
    for number in range(6):
        form = FORM | {"email": f"n{number}@example.test", "password": "weak"}
        codes.append(call("POST", "auth/register", form, ip=ip).status_code)
    assert codes == [422] * 7 + [429]


def test_right_credentials_open_a_session():
    user = factories.a_user()
    form = {"email": user.email.upper(), "password": PASSWORD}
    answer = call("POST", "auth/login", form, ip=an_ip(), User_Agent="Editor 1")
    assert answer.status_code == 200
    session = RefreshSession.objects.get(pk=answer.json()["session_id"])
    assert (session.user_id, session.user_agent) == (user.pk, "Editor 1")


def test_unknown_wrong_and_inactive_get_one_answer():
    active, inactive = factories.a_user(), factories.a_user(is_active=False)
    forms = [
        {"email": "nobody@example.test", "password": PASSWORD},
        {"email": active.email, "password": "wrong password"},
        {"email": inactive.email, "password": PASSWORD},
    ]
    answers = [
        call("POST", "auth/login", form, ip=an_ip(), X_Request_Id="the-same-id") for form in forms
    ]
    assert {answer.status_code for answer in answers} == {401}
    assert len({answer.content for answer in answers}) == 1
    assert RefreshSession.objects.count() == 0
    assert AuditEvent.objects.filter(action="session.refused").count() == 3


@pytest.mark.parametrize("email", ["nobody@example.test", "known@example.test"])
def test_the_sixth_wrong_password_waits_for_a_known_and_an_unknown_account(email):
    factories.a_user(email="known@example.test")
    ip = an_ip()
    form = {"email": email, "password": "wrong password"}
    answers = [call("POST", "auth/login", form, ip=ip) for _ in range(6)]
    assert [a.status_code for a in answers] == [401] * 5 + [429]
    assert answers[-1].json()["retry_after_s"] > 600
    right = {"email": email, "password": PASSWORD}
    assert call("POST", "auth/login", right, ip=ip).status_code == 429
    assert RefreshSession.objects.count() == 0


def test_right_passwords_use_up_no_tries():
    user, ip = factories.a_user(), an_ip()
    form = {"email": user.email, "password": PASSWORD}
    assert {call("POST", "auth/login", form, ip=ip).status_code for _ in range(7)} == {200}


def test_logout_ends_tokens_and_refresh_of_the_session():
    _, pair = signed_in()
    assert call("POST", "auth/logout", **bearer(pair.access)).status_code == 204
    assert call("GET", "auth/me", **bearer(pair.access)).json()["code"] == "session_revoked"
    answer = call("POST", "auth/refresh", {"refresh": pair.refresh})
    assert (answer.status_code, answer.json()["code"]) == (401, "session_revoked")


def test_refresh_answers_a_working_successor():
    _, pair = signed_in()
    answer = call("POST", "auth/refresh", {"refresh": pair.refresh})
    assert answer.status_code == 200
    assert answer.json()["refresh"] != pair.refresh
    assert call("GET", "auth/me", **bearer(answer.json()["access"])).status_code == 200


def test_a_profile_is_changed_within_its_fields():
    user, pair = signed_in()
    changes = {"full_name": "New Name", "locale": "pt-br"}
    assert call("PATCH", "auth/me", changes, **bearer(pair.access)).status_code == 200
    user.refresh_from_db()
    assert (user.full_name, user.locale) == ("New Name", "pt-br")
    for wrong in ({"email": "other@example.test"}, {"locale": "xx"}, {"is_staff": True}):
        assert call("PATCH", "auth/me", wrong, **bearer(pair.access)).status_code == 422
    user.refresh_from_db()
    assert not user.is_staff


def test_a_password_change_ends_the_other_sessions_and_keeps_this_one():
    user, mine = signed_in()
    _, other = signed_in(user)
    form = {"old_password": PASSWORD, "new_password": "quite another phrase"}
    answer = call("POST", "auth/password/change", form, ip=an_ip(), **bearer(mine.access))
    assert answer.status_code == 204
    assert call("GET", "auth/me", **bearer(mine.access)).status_code == 200
    assert call("GET", "auth/me", **bearer(other.access)).status_code == 401
    login = {"email": user.email, "password": "quite another phrase"}
    assert call("POST", "auth/login", login, ip=an_ip()).status_code == 200


def test_a_password_change_needs_the_old_one_and_a_strong_new_one():
    user, pair = signed_in()
    for old, new, status in ((PASSWORD, "weak", 422), ("wrong", "quite another phrase", 401)):
        form = {"old_password": old, "new_password": new}
        answer = call("POST", "auth/password/change", form, ip=an_ip(), **bearer(pair.access))
        assert answer.status_code == status
    user.refresh_from_db()
    assert user.check_password(PASSWORD)


def test_sessions_are_listed_and_ended_one_by_one_or_all_but_this():
    user, mine = signed_in()
    _, other = signed_in(user)
    _, third = signed_in(user)
    listed = call("GET", "auth/sessions", **bearer(mine.access)).json()["items"]
    assert [s["is_current"] for s in listed] == [False, False, True]
    path = f"auth/sessions/{other.session_id}"
    assert call("DELETE", path, **bearer(mine.access)).status_code == 204
    assert call("DELETE", path, **bearer(mine.access)).status_code == 404
    assert call("GET", "auth/me", **bearer(other.access)).status_code == 401
    assert call("DELETE", "auth/sessions", **bearer(mine.access)).status_code == 204
    assert call("GET", "auth/me", **bearer(third.access)).status_code == 401
    assert call("GET", "auth/me", **bearer(mine.access)).status_code == 200


def test_a_foreign_session_is_not_there():
    _, mine = signed_in()
    _, foreign = signed_in()
    path = f"auth/sessions/{foreign.session_id}"
    assert call("DELETE", path, **bearer(mine.access)).status_code == 404
    assert call("GET", "auth/me", **bearer(foreign.access)).status_code == 200


def test_a_deleted_account_is_empty_and_closed():
    user, pair = signed_in()
    body = {"password": PASSWORD}
    assert call("DELETE", "auth/me", body, ip=an_ip(), **bearer(pair.access)).status_code == 204
    email = user.email
    user.refresh_from_db()
    assert (user.full_name, user.is_active) == ("", False)
    assert user.email == f"deleted-{user.pk}@deleted.invalid"
    assert call("GET", "auth/me", **bearer(pair.access)).status_code == 401
    login = {"email": email, "password": PASSWORD}
    assert call("POST", "auth/login", login, ip=an_ip()).status_code == 401


def test_the_only_owner_of_a_team_cannot_delete_the_account():
    user, pair = signed_in()
    factories.an_organization(user)
    body = {"password": PASSWORD}
    answer = call("DELETE", "auth/me", body, ip=an_ip(), **bearer(pair.access))
    assert (answer.status_code, answer.json()["code"]) == (409, "last_owner")
    user.refresh_from_db()
    assert user.is_active


def test_sensitive_changes_need_a_proof_of_the_last_quarter_of_an_hour():
    user, pair = signed_in()
    RefreshSession.objects.update(auth_at="2026-01-01T00:00:00Z")
    form = {"name": "ci", "scopes": ["files:read"]}
    answer = call("POST", "auth/api-keys", form, **bearer(pair.access))
    assert (answer.status_code, answer.json()["code"]) == (403, "reauthentication_required")
    assert user.api_keys.count() == 0
    proof = {"password": PASSWORD}
    call("POST", "auth/reauthenticate", proof, ip=an_ip(), **bearer(pair.access))
    assert call("POST", "auth/api-keys", form, **bearer(pair.access)).status_code == 201
