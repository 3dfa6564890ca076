"""The throttle of sign-in: it slows a guesser and locks nobody out."""

from __future__ import annotations

import pytest
from django.contrib.auth import hashers
from django.db import connection

from accounts.errors import BadCredentials
from accounts.models import RefreshSession, User
from accounts.services import login, sessions
from ideplatform.kit.crypto import Secret
from ideplatform.kit.errors import TooManyRequests
from tests import factories
from tests.accounts.rest import PASSWORD, an_ip

pytestmark = pytest.mark.django_db


@pytest.fixture
def quick_hashing(settings):
    """Fifty tries with Argon2 would take half a minute; the limit does not depend on the hash."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


def _quick(user) -> None:
    type(user).objects.filter(pk=user.pk).update(password=hashers.make_password(PASSWORD))


def _try(email: str, password: str, ip: str):
    return login.sign_in(email=email, password=Secret(password), ip=ip, user_agent="")


def _guess(email: str, ip: str) -> str:
    with pytest.raises((BadCredentials, TooManyRequests)) as refused:
        _try(email, "wrong", ip)
    return refused.value.code


@pytest.mark.parametrize("known", [True, False])
def test_one_address_guesses_thirty_times_in_ten_minutes_over_all_accounts(quick_hashing, known):
    emails = [f"guessed{number}@example.test" for number in range(8)]
    for email in emails if known else []:
        _quick(factories.a_user(email=email))
    ip = an_ip()
    codes = [_guess(email, ip) for email in emails for _ in range(4)]
    assert codes == ["bad_credentials"] * 30 + ["too_many_requests"] * 2


def test_after_fifty_wrong_tries_only_known_addresses_go_on(quick_hashing):
    user = factories.a_user()
    _quick(user)
    home = an_ip()
    sessions.sign_in(user=user, ip=home, user_agent="")
    codes = [_guess(user.email, an_ip()) for _ in range(51)]
    assert codes == ["bad_credentials"] * 50 + ["too_many_requests"]
    with pytest.raises(TooManyRequests):
        _try(user.email, PASSWORD, an_ip())
    assert RefreshSession.objects.count() == 1
    assert _try(user.email, PASSWORD, home).user == user


def test_an_old_hash_is_renewed_when_its_owner_signs_in(settings):
    user = factories.a_user()
    settings.PASSWORD_HASHERS = [
        "django.contrib.auth.hashers.Argon2PasswordHasher",
        "django.contrib.auth.hashers.PBKDF2PasswordHasher",
    ]
    type(user).objects.update(password=hashers.make_password(PASSWORD, hasher="pbkdf2_sha256"))
    _try(user.email, PASSWORD, an_ip())
    user.refresh_from_db()
    assert user.password.startswith("argon2")


def test_signing_in_finds_the_address_by_its_index():
    query = User.objects.by_email("Ana@Example.test")
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL enable_seqscan = off")
    assert "users_email_unique" in query.explain()
