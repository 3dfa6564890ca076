"""Every kind of actor at every route of the gateway."""

from __future__ import annotations

import pytest

from accounts.types import Permission
from providers.gateway.routes import MODEL_PATH, TABLE, find, methods
from providers.services import access
from tests.house import matrix


@pytest.mark.django_db
@pytest.mark.parametrize("route", TABLE, ids=lambda route: route.entry)
def test_every_actor_meets_the_answer_of_the_matrix(route):
    matrix.check_call(
        route.entry,
        Permission.PROVIDER_USE,
        lambda actor, world: access.payer(actor, workspace_id=world.workspace.pk),
    )


@pytest.mark.parametrize("route", TABLE, ids=lambda route: route.entry)
def test_each_route_is_found_by_its_own_path(route):
    head, opening, rest = route.path.partition("{")
    path = head + ("a/b" if route.path == MODEL_PATH else "a" if opening else "")
    path += rest.partition("}")[2]
    matched = find(route.method, path)
    assert matched is not None
    found, value = matched
    assert found is route
    assert value == (
        "" if not opening else path[len(head) : len(path) - len(rest.partition("}")[2])]
    )
    assert route.method in methods(path)
