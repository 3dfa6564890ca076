"""Every route of accounts, met by every kind of actor."""

from __future__ import annotations

import pytest

from accounts.services import api_keys
from accounts.types import Actor, OrganizationRole, Permission, Scope
from tests import factories
from tests.accounts.rest import signed_in
from tests.house import matrix
from tests.house.matrix import Route

P = Permission
ORGANIZATION = "/api/v1/organizations/{organization_id}"


def _somebodys_session(world):
    return {"session_id": str(signed_in()[1].session_id)}


def _somebodys_key(world):
    user, pair = signed_in()
    key, _ = api_keys.create(
        actor=Actor(user_id=user.pk, session_id=pair.session_id),
        organization_id=user.personal_organization.pk,
        name="theirs",
        scopes={Scope.FILES_READ},
    )
    return {"key_id": str(key.pk)}


def _a_member(world):
    user = factories.a_user()
    factories.join_organization(world.organization, user, OrganizationRole.MEMBER)
    return {"user_id": str(user.pk)}


def _somebody(world):
    return {"email": factories.a_user().email}


ROUTES = [
    Route("GET", "/api/v1/auth/me", P.SELF, at="self"),
    Route("PATCH", "/api/v1/auth/me", P.SELF, at="self", body={"full_name": "New"}),
    Route(
        "DELETE",
        "/api/v1/auth/me",
        P.SELF,
        at="self",
        body={"password": factories.PASSWORD},
        ok={204, 409},
    ),
    Route("GET", "/api/v1/auth/sessions", P.SELF, at="self"),
    Route("DELETE", "/api/v1/auth/sessions", P.SELF, at="self"),
    # The session and the key are somebody else's: whoever may end their own ends none of these.
    Route(
        "DELETE",
        "/api/v1/auth/sessions/{session_id}",
        P.SELF,
        at="self",
        prepare=_somebodys_session,
        ok={404},
    ),
    Route(
        "DELETE",
        "/api/v1/auth/api-keys/{key_id}",
        P.SELF,
        at="self",
        prepare=_somebodys_key,
        ok={404},
    ),
    Route(
        "POST",
        "/api/v1/auth/api-keys/{key_id}/rotate",
        P.SELF,
        at="self",
        prepare=_somebodys_key,
        ok={404},
    ),
    # Nobody exchanges a bearer token for a refresh token; browsers do in tests/security.
    Route("POST", "/api/v1/auth/token", P.SELF, at="self", ok={403}),
    Route("GET", "/api/v1/auth/api-keys", P.SELF, at="self"),
    Route(
        "POST",
        "/api/v1/auth/api-keys",
        P.SELF,
        at="self",
        body={"name": "ci", "scopes": ["files:read"]},
        ok={201},
    ),
    Route("POST", "/api/v1/auth/logout", P.SELF, at="self", ok={204}),
    Route(
        "POST",
        "/api/v1/auth/ws-ticket",
        P.SELF,
        at="self",
        body={"path": "/api/v1/ws/agents"},
        ok={201},
    ),
    Route(
        "POST",
        "/api/v1/auth/reauthenticate",
        P.SELF,
        at="self",
        body={"password": factories.PASSWORD},
        ok={204},
    ),
    Route(
        "POST",
        "/api/v1/auth/password/change",
        P.SELF,
        at="self",
        body={"old_password": factories.PASSWORD, "new_password": "another long phrase"},
        ok={204},
    ),
    Route("GET", "/api/v1/organizations", P.ORGANIZATION_VIEW, at="listing"),
    Route(
        "POST",
        "/api/v1/organizations",
        P.SELF,
        at="self",
        body={"name": "Team", "slug": "a-new-team"},
        ok={201},
    ),
    Route("GET", ORGANIZATION, P.ORGANIZATION_VIEW, at="organization"),
    Route("PATCH", ORGANIZATION, P.ORGANIZATION_MANAGE, at="organization", body={"name": "Other"}),
    Route("DELETE", ORGANIZATION, P.ORGANIZATION_DELETE, at="organization", ok={204, 409}),
    Route(
        "GET", f"{ORGANIZATION}/members", P.ORGANIZATION_VIEW, at="organization", session_only=True
    ),
    Route(
        "POST",
        f"{ORGANIZATION}/members",
        P.ORGANIZATION_MANAGE,
        at="organization",
        body={"email": "{email}", "role": "member"},
        prepare=_somebody,
        ok={201},
    ),
    Route(
        "PUT",
        f"{ORGANIZATION}/members/{{user_id}}",
        P.ORGANIZATION_MANAGE,
        at="organization",
        body={"role": "billing"},
    ),
    Route(
        "DELETE",
        f"{ORGANIZATION}/members/{{user_id}}",
        P.ORGANIZATION_MANAGE,
        at="organization",
        prepare=_a_member,
        ok={204},
    ),
    Route("GET", f"{ORGANIZATION}/audit", P.AUDIT_VIEW, at="organization"),
]


@pytest.fixture
def _quick_hashing(settings):
    """Nothing here depends on the hash, and Argon2 is slow on purpose."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
    factories._hash.clear()
    yield
    factories._hash.clear()


@pytest.mark.django_db
@pytest.mark.usefixtures("_quick_hashing")
@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_actor_meets_the_answer_of_the_matrix(route):
    matrix.check(route)
