"""Every route of accounts, met by every kind of actor."""

from __future__ import annotations

import pytest

from accounts.types import Permission as P
from tests import factories
from tests.house import matrix
from tests.house.matrix import Route

ORGANIZATION = "/api/v1/organizations/{organization_id}"


def _a_session(world):
    from accounts.services import sessions

    return {"session_id": str(sessions.begin(user=world.users["org_owner"]).pk)}


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
    Route("GET", f"{ORGANIZATION}/audit", P.AUDIT_VIEW, at="organization"),
]


@pytest.mark.django_db
@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_actor_meets_the_answer_of_the_matrix(route):
    matrix.check(route)
