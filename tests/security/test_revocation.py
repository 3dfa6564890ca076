"""What was revoked in one process is refused by another within a second, over real HTTP."""

from __future__ import annotations

import http.client
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import transaction
from django.db.models.functions import Now

from accounts.models import AccessChange, ApiKey, OrganizationMembership, RefreshSession
from accounts.services import api_keys, feed
from accounts.types import Actor, OrganizationRole, Scope
from ideplatform.kit import redis
from tests import factories
from tests.accounts.rest import bearer, signed_in
from tests.waiting import eventually

ROUNDS = 12


def _status(url: str, path: str, headers: dict[str, Any]) -> int:
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
    connection.request("GET", f"/api/v1/{path}", headers=headers)
    status = connection.getresponse().status
    connection.close()
    return status


class Victim:
    """Somebody with a session, a key and a role in a team, and what takes each away elsewhere."""

    def __init__(self) -> None:
        self.user, self.pair = signed_in()
        self.team = factories.an_organization()
        factories.join_organization(self.team, self.user, OrganizationRole.ADMIN)
        actor = Actor(user_id=self.user.pk, session_id=self.pair.session_id)
        self.key, secret = api_keys.create(
            actor=actor, organization_id=self.team.pk, name="ci", scopes={Scope.WORKSPACES_READ}
        )
        self.by_key = {"x-api-key": secret.reveal()}
        self.by_token = bearer(self.pair.access)

    def ways(self) -> dict[str, tuple[str, dict[str, Any], Callable[[], Any], dict[str, Any]]]:
        team, mine = f"organizations/{self.team.pk}", OrganizationMembership.objects
        here = mine.filter(user=self.user, organization=self.team)
        both = {"user_id": self.user.pk, "organization_id": self.team.pk}
        sessions = RefreshSession.objects.filter(pk=self.pair.session_id)
        keys = ApiKey.objects.filter(pk=self.key.pk)
        return {
            "key": (
                team,
                self.by_key,
                lambda: keys.update(revoked_at=Now()),
                {"api_key_id": self.key.pk},
            ),
            "demotion": (
                f"{team}/audit",
                self.by_token,
                lambda: here.update(role="member"),
                both,
            ),
            "removal": (team, self.by_token, lambda: here.delete(), both),
            "logout": (
                "auth/me",
                self.by_token,
                lambda: sessions.update(revoked_at=Now()),
                {"session_id": self.pair.session_id},
            ),
        }


@pytest.mark.parametrize("with_bell", [True, False])
@pytest.mark.parametrize("way", ["key", "demotion", "removal", "logout"])
def test_a_revocation_of_another_process_is_felt_within_a_second(live_web, way, with_bell):
    eventually(feed.is_fresh)
    latencies = []
    for _ in range(ROUNDS):
        path, headers, revoke, change = Victim().ways()[way]
        assert _status(live_web.url, path, headers) == 200
        assert _status(live_web.url, path, headers) == 200
        with transaction.atomic():
            revoke()
            AccessChange.objects.create(**change)
        began = time.monotonic()
        if with_bell:
            redis.ring(feed.CHANNEL)
        eventually(lambda p=path, h=headers: _status(live_web.url, p, h) in {401, 403, 404})  # type: ignore[misc]
        latencies.append(time.monotonic() - began)
    assert max(latencies) < 1.0


def test_ones_own_logout_is_felt_by_the_next_request(live_web):
    _, pair = signed_in()
    url, headers = live_web.url, bearer(pair.access)
    assert _status(url, "auth/me", headers) == 200
    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=5)
    connection.request("POST", "/api/v1/auth/logout", headers=headers)
    assert connection.getresponse().status == 204
    connection.close()
    assert _status(url, "auth/me", headers) == 401
