"""Every actor at every route of providers: the matrix of the design."""

import pytest

from accounts.types import Permission as P
from providers.services import aliases
from providers.services.access import Home
from providers.types import ProviderScope
from tests.house import matrix
from tests.house.matrix import Route
from tests.providers.builders import a_provider, base_url


def _home(world):
    return Home(
        scope=ProviderScope.WORKSPACE,
        organization_id=world.organization.pk,
        workspace_id=world.workspace.pk,
    )


def _a_provider(world):
    row = a_provider(home=_home(world), owner=world.users["ws_owner"])
    return {"provider_id": str(row.pk)}


def _an_organization_provider(world):
    home = Home(scope=ProviderScope.ORGANIZATION, organization_id=world.organization.pk)
    return {"provider_id": str(a_provider(home=home, owner=world.users["org_owner"]).pk)}


def _an_alias(world):
    content = aliases.Content(targets=["sim-echo"])
    aliases.write(name="team/code", home=_home(world), content=content, owner_id=None)
    return {}


R = "/api/v1/providers"
ONE = R + "/{provider_id}"
NEW = {
    "name": "Ours",
    "type": "openai_compatible",
    "config": {"base_url": base_url("openai_compatible")},
    "api_key": "sk-simulated-key-4242",
}
HERE = {"scope": "workspace", "workspace_id": "{workspace_id}"}
THERE = {"scope": "organization", "organization_id": "{organization_id}"}
ROUTES = [
    Route("GET", R, P.PROVIDER_USE, at="listing"),
    Route("POST", R, P.PROVIDER_MANAGE, body=NEW | HERE),
    Route("POST", R, P.PROVIDER_MANAGE, at="organization", body=NEW | THERE),
    Route("POST", R + "/test", P.PROVIDER_MANAGE, body=NEW | HERE),
    Route("GET", R + "/models", P.PROVIDER_USE, at="listing"),
    Route("GET", R + "/aliases", P.PROVIDER_USE, at="listing"),
    Route("GET", R + "/aliases?workspace_id={workspace_id}", P.PROVIDER_USE),
    Route("PUT", R + "/aliases/team/new", P.PROVIDER_MANAGE, body=HERE | {"targets": ["sim-echo"]}),
    Route(
        "DELETE",
        R + "/aliases/team/code?scope=workspace&workspace_id={workspace_id}",
        P.PROVIDER_MANAGE,
        prepare=_an_alias,
    ),
    Route("GET", R + "/capture/{organization_id}", P.ORGANIZATION_VIEW, at="organization"),
    Route(
        "PUT",
        R + "/capture/{organization_id}",
        P.ORGANIZATION_MANAGE,
        at="organization",
        body={"capture": "off"},
        session_only=True,
    ),
    Route("GET", ONE, P.PROVIDER_USE, prepare=_a_provider),
    Route("GET", ONE, P.PROVIDER_USE, at="organization", prepare=_an_organization_provider),
    Route("PUT", ONE, P.PROVIDER_MANAGE, body={"name": "Renamed"}, prepare=_a_provider),
    Route(
        "PUT",
        ONE,
        P.PROVIDER_MANAGE,
        at="organization",
        body={"name": "Renamed"},
        prepare=_an_organization_provider,
    ),
    Route("DELETE", ONE, P.PROVIDER_MANAGE, prepare=_a_provider),
    Route("POST", ONE + "/test", P.PROVIDER_MANAGE, body={}, prepare=_a_provider),
    Route("GET", ONE + "/models", P.PROVIDER_USE, prepare=_a_provider),
    Route("POST", ONE + "/models/refresh", P.PROVIDER_MANAGE, body={}, prepare=_a_provider),
]


@pytest.mark.django_db
@pytest.mark.parametrize("route", ROUTES, ids=str)
def test_every_actor_meets_the_answer_of_the_matrix(simulator, route):
    matrix.check(route)
