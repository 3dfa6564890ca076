"""Which pages may write by a browser's session: our own, and those of listed origins."""

from __future__ import annotations

import pytest
from django.conf import settings
from django.test import Client, RequestFactory

from tests import factories
from tests.accounts.rest import PASSWORD, an_ip, call

pytestmark = pytest.mark.django_db


def _rename(user, *, origin: str) -> int:
    """The answer to a form of a page of `origin`, sent with the session and its CSRF token."""
    client = Client(enforce_csrf_checks=True)
    signing_in = RequestFactory(REMOTE_ADDR=an_ip()).get("/")
    assert client.login(request=signing_in, username=user.email, password=PASSWORD)
    client.get("/admin/")  # the middleware binds the session to a row
    client.cookies["csrftoken"] = token = "a" * 32
    answer = call(
        "PATCH", "auth/me", {"full_name": "X"}, client=client, X_CSRFToken=token, Origin=origin
    )
    status: int = answer.status_code
    return status


def test_our_own_page_may_write_behind_a_proxy_that_ends_tls():
    """Django sees the host `testserver` and plain HTTP, as it would behind such a proxy."""
    user = factories.a_user()
    assert _rename(user, origin=settings.ENV.public_url) == 200
    user.refresh_from_db()
    assert user.full_name == "X"


@pytest.mark.parametrize("origin", ["https://evil.test", "null"])
def test_a_page_of_another_origin_may_not(origin):
    user = factories.a_user()
    assert _rename(user, origin=origin) == 403
    user.refresh_from_db()
    assert user.full_name != "X"
