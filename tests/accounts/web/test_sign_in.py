"""Signing in and out with a browser: forms without a script, one session row, one way back."""

from __future__ import annotations

import pytest
from django.conf import settings

from accounts.models import AuditEvent, RefreshSession
from accounts.services import sessions
from accounts.types import Permission
from accounts.web import addresses
from tests import factories
from tests.accounts.rest import PASSWORD
from tests.accounts.web.browsers import Browser
from tests.house import matrix
from tests.house.matrix import Route

pytestmark = pytest.mark.django_db

LOGIN, LOGOUT, HOME = "/account/login", "/account/logout", "/billing/"


@pytest.fixture
def user():
    return factories.a_user()


@pytest.fixture
def visitor() -> Browser:
    return Browser()


def test_a_right_password_opens_one_browser_session(visitor, user):
    answer = visitor.sign_in(user.email.upper(), next="/billing/explorer")
    assert (answer.status_code, answer["Location"]) == (303, "/billing/explorer")
    row = RefreshSession.objects.get(user=user)
    assert (row.kind, row.revoked_at, row.ip) == ("browser", None, visitor.defaults["REMOTE_ADDR"])
    assert visitor.get("/api/v1/auth/me").json()["email"] == user.email
    assert RefreshSession.objects.filter(user=user).count() == 1
    opened = AuditEvent.objects.get(action="session.opened")
    assert (opened.actor_id, opened.target) == (user.pk, str(row.pk))


def test_cookies_are_out_of_reach_of_scripts_and_of_other_sites(visitor, user):
    visitor.sign_in(user.email)
    for name in (settings.SESSION_COOKIE_NAME, settings.CSRF_COOKIE_NAME):
        cookie = visitor.cookies[name]
        assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")


@pytest.mark.parametrize("email", ["known", "nobody@example.test"])
def test_a_wrong_password_and_an_unknown_address_are_answered_alike(visitor, user, email):
    address = user.email if email == "known" else email
    answer = visitor.sign_in(address, "not the password")
    assert answer.status_code == 401
    assert b"The e-mail address or password is wrong." in answer.content
    assert address.encode() in answer.content
    assert b"not the password" not in answer.content
    assert settings.SESSION_COOKIE_NAME not in visitor.cookies
    assert not RefreshSession.objects.exists()


def test_the_sixth_try_waits_even_with_the_right_password(visitor, user):
    for _ in range(5):
        assert visitor.sign_in(user.email, "wrong").status_code == 401
    answer = visitor.sign_in(user.email)
    assert answer.status_code == 429
    assert 0 < int(answer["Retry-After"]) <= 900
    assert not RefreshSession.objects.exists()


def test_a_form_of_another_site_is_refused(visitor, user):
    answer = visitor.post(LOGIN, {"email": user.email, "password": PASSWORD})
    assert answer.status_code == 403
    assert b"csrf_failed" in answer.content
    assert not RefreshSession.objects.exists()


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.test/",
        "//evil.test/x",
        "/\\evil.test",
        "\\\\evil.test",
        "///evil.test",
        "javascript:alert(1)",
        "billing/",
        "/%0d%0a//evil.test\r\nSet-Cookie: a=b",
        "",
    ],
)
def test_the_way_back_never_leaves_our_origin(visitor, user, target):
    answer = visitor.sign_in(user.email, next=target)
    location = answer["Location"]
    assert location == HOME or location.startswith("/%0d%0a")
    assert "\n" not in location
    assert addresses.safe("/billing/explorer?period=month%3A2026-11") == (
        "/billing/explorer?period=month%3A2026-11"
    )


def test_who_is_signed_in_goes_on_at_once(visitor, user):
    visitor.sign_in(user.email)
    answer = visitor.get(f"{LOGIN}?next=/billing/payment")
    assert (answer.status_code, answer["Location"]) == (303, "/billing/payment")


def test_signing_in_again_ends_the_session_before(visitor, user):
    other = factories.a_user()
    visitor.sign_in(user.email)
    token = visitor.cookies[settings.SESSION_COOKIE_NAME].value
    visitor.cookies[settings.SESSION_COOKIE_NAME] = token
    answer = visitor.post(
        LOGIN,
        {
            "email": other.email,
            "password": PASSWORD,
            "csrfmiddlewaretoken": visitor.cookies[settings.CSRF_COOKIE_NAME].value,
        },
    )
    assert answer.status_code == 303
    assert visitor.cookies[settings.SESSION_COOKIE_NAME].value != token
    before = RefreshSession.objects.get(user=user)
    assert (before.revoked_at is not None, before.reason) == (True, "signed_in_anew")
    assert visitor.get("/api/v1/auth/me").json()["email"] == other.email


def test_a_page_sends_strangers_to_sign_in_and_back(visitor):
    answer = visitor.get("/billing/explorer?period=month:2026-11")
    assert answer.status_code == 303
    assert answer["Location"] == (
        "/account/login?next=%2Fbilling%2Fexplorer%3Fperiod%3Dmonth%3A2026-11"
    )


def test_a_session_ended_elsewhere_is_over_here(visitor, user):
    visitor.sign_in(user.email)
    assert visitor.get(HOME).status_code == 200
    row = RefreshSession.objects.get(user=user)
    sessions.revoke(user_id=user.pk, session_id=row.pk, reason="test")
    assert visitor.get(HOME).status_code == 303
    partial = visitor.get(HOME, headers={"HX-Request-Type": "partial"})
    assert partial.status_code == 401
    assert b"Sign in again" in partial.content
    assert b"<html" not in partial.content


def test_signing_out_ends_cookie_and_row(visitor, user):
    visitor.sign_in(user.email)
    stolen = visitor.cookies[settings.SESSION_COOKIE_NAME].value
    answer = visitor.submit(HOME, LOGOUT)
    assert (answer.status_code, answer["Location"]) == (303, LOGIN)
    row = RefreshSession.objects.get(user=user)
    assert (row.reason, row.revoked_at is not None) == ("logout", True)
    visitor.cookies[settings.SESSION_COOKIE_NAME] = stolen
    assert visitor.get(HOME).status_code == 303


def test_a_key_signs_nobody_out():
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    route = Route(
        "POST", LOGOUT, Permission.SELF, at="self", body=b"", headers=form, ok={303}, nobody={303}
    )
    matrix.check(route)


def test_a_language_is_kept_by_the_browser_and_the_account(visitor, user):
    visitor.sign_in(user.email)
    answer = visitor.submit(HOME, "/account/appearance", language="pt-br", next="/billing/")
    assert (answer.status_code, answer["Location"]) == (303, "/billing/")
    user.refresh_from_db()
    assert user.locale == "pt-br"
    assert b'<html lang="pt-br"' in visitor.get(HOME).content
    elsewhere = Browser()
    elsewhere.sign_in(user.email)
    assert b'<html lang="pt-br"' in elsewhere.get(HOME).content


def test_a_browsers_own_language_counts_until_one_is_chosen(visitor):
    page = visitor.get(LOGIN, headers={"Accept-Language": "pt-BR,pt;q=0.9"}).content.decode()
    assert '<html lang="pt-br"' in page
    assert "Entrar" in page


def test_a_theme_is_rendered_by_the_server(visitor):
    assert b"data-theme" not in visitor.get(LOGIN).content
    visitor.submit(LOGIN, "/account/appearance", theme="dark", next=LOGIN)
    assert b'data-theme="dark"' in visitor.get(LOGIN).content
    visitor.submit(LOGIN, "/account/appearance", theme="system", next=LOGIN)
    assert b"data-theme" not in visitor.get(LOGIN).content


@pytest.mark.parametrize("field", ["language", "theme"])
def test_what_is_no_language_or_theme_is_not_kept(visitor, field):
    visitor.submit(LOGIN, "/account/appearance", **{field: '"><script>'}, next=LOGIN)
    page = visitor.get(LOGIN).content
    assert b'<html lang="en">' in page
