"""What operators see and may do."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Permission as DjangoPermission
from django.test import Client, RequestFactory

from accounts.models import AuditEvent, User
from accounts.services import audit, vault
from ideplatform.kit.crypto import Secret
from tests import factories
from tests.accounts.rest import PASSWORD, an_ip, bearer, call, signed_in

pytestmark = pytest.mark.django_db
PAGES = ("user", "organization", "organizationmembership", "refreshsession", "apikey", "auditevent")


def _operator(**columns) -> Client:
    user = factories.a_user(is_staff=True, **columns)
    user.user_permissions.set(DjangoPermission.objects.filter(codename__startswith="view_"))
    client = Client()
    request = RequestFactory(REMOTE_ADDR=an_ip()).get("/")
    client.login(request=request, username=user.email, password=PASSWORD)
    return client


def _deactivate(client: Client, user: User):
    form = {"action": "deactivate", "_selected_action": [str(user.pk)]}
    return client.post("/admin/accounts/user/", form, follow=True)


def test_a_superuser_ends_all_access_of_a_person():
    user, pair = signed_in()
    _deactivate(_operator(is_superuser=True), user)
    user.refresh_from_db()
    assert not user.is_active
    assert call("GET", "auth/me", **bearer(pair.access)).status_code == 401
    assert AuditEvent.objects.get(action="user.deactivated").target == str(user.pk)


def test_staff_may_look_and_not_act():
    user, pair = signed_in()
    answer = _deactivate(_operator(), user)
    assert "Only a superuser may do this." in answer.content.decode()
    user.refresh_from_db()
    assert user.is_active
    assert call("GET", "auth/me", **bearer(pair.access)).status_code == 200


@pytest.mark.parametrize("page", PAGES)
def test_every_page_is_read_only(page):
    _, pair = signed_in()
    audit.record(action="thing.done")
    form = {"name": "ci", "scopes": ["files:read"]}
    call("POST", "auth/api-keys", form, **bearer(pair.access))
    client = _operator(is_superuser=True)
    listed = client.get(f"/admin/accounts/{page}/")
    assert listed.status_code == 200
    assert client.get(f"/admin/accounts/{page}/add/").status_code == 403
    row = str(listed.context["cl"].queryset.first().pk)
    detail = client.get(f"/admin/accounts/{page}/{row}/change/")
    assert detail.status_code == 200
    assert client.post(f"/admin/accounts/{page}/{row}/delete/", {"post": "yes"}).status_code == 403
    assert client.post(f"/admin/accounts/{page}/{row}/change/", {}).status_code == 403


def test_neither_secrets_nor_hashes_have_a_page():
    user, pair = signed_in()
    key = call(
        "POST", "auth/api-keys", {"name": "ci", "scopes": ["files:read"]}, **bearer(pair.access)
    ).json()
    vault.seal(
        organization_id=user.personal_organization.pk,
        provider="openai",
        value=Secret("sk-planted-0123456789"),
    )
    client = _operator(is_superuser=True)
    pages = [client.get("/admin/").content.decode()]
    for page in PAGES:
        listed = client.get(f"/admin/accounts/{page}/")
        rows = [str(row.pk) for row in listed.context["cl"].queryset]
        pages += [listed.content.decode()]
        pages += [
            client.get(f"/admin/accounts/{page}/{row}/change/").content.decode() for row in rows
        ]
    text = "".join(pages)
    for planted in ("sk-planted", key["key"][30:60], "argon2$", pair.access, pair.refresh):
        assert planted not in text
    assert client.get("/admin/accounts/secretrecord/").status_code == 404
    assert client.get("/admin/accounts/datakey/").status_code == 404
