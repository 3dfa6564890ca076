"""Who holds a credential: a person, their key, their browser."""

from __future__ import annotations

from django.test import Client

from accounts.models import User
from accounts.services import api_keys
from accounts.types import Actor, Scope
from tests.accounts.rest import PASSWORD, an_ip


def the_actor(pair) -> Actor:
    return Actor(user_id=pair.user_id, session_id=pair.session_id)


def a_key(pair, **options):
    user_id = pair.user_id
    organization = User.objects.get(pk=user_id).personal_organization
    return api_keys.create(
        actor=the_actor(pair),
        organization_id=organization.pk,
        name="ci",
        scopes={Scope.WORKSPACES_READ},
        **options,
    )


def a_browser_of(user) -> Client:
    client = Client(enforce_csrf_checks=True)
    client.login(request=_request(), username=user.email, password=PASSWORD)
    client.get("/admin/")  # the middleware binds the session to a row
    return client


def _request():
    from django.test import RequestFactory

    return RequestFactory(REMOTE_ADDR=an_ip()).get("/")
