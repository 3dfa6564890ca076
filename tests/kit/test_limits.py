"""REST counts the requests of each signed-in person."""

import pytest

from ideplatform.kit import redis, throttle
from tests.factories import a_user, a_workspace
from tests.workspaces.rest import Caller
from workspaces.models import Workspace

pytestmark = pytest.mark.django_db


def _spend(limit, user, *, left):
    for _ in range(limit.count - left):
        throttle.take(throttle.of_user(limit, user.pk))


def test_one_write_too_many_is_refused_and_changes_nothing():
    user = a_user()
    caller = Caller(user)
    _spend(throttle.WRITE, user, left=1)
    assert caller.send("POST", "", {"name": "last"}).status_code == 201
    answer = caller.send("POST", "", {"name": "too many"})
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_requests")
    assert 1 <= answer.json()["retry_after_s"] <= 60
    assert answer["Retry-After"] == str(answer.json()["retry_after_s"])
    assert Workspace.objects.count() == 1
    assert caller.send("GET").status_code == 200


def test_a_search_counts_as_a_read_and_as_a_search():
    user = a_user()
    caller = Caller(user, a_workspace(user))
    _spend(throttle.SEARCH, user, left=1)
    assert caller.send("GET", "/files/search?q=x").status_code == 200
    assert caller.send("GET", "/files/search?q=x").status_code == 429
    assert caller.send("GET", "/files/tree").status_code == 200
    # The refused search counted nowhere: the one that passed and the tree are two reads.
    assert redis.client("cache").zcard(redis.user_limit_key(user.pk, "read")) == 2
