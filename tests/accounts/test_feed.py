"""Within a second every process knows whose rights shrank, with or without the bell."""

from __future__ import annotations

import functools
import threading
import time
import uuid
from typing import Any

import pytest
from django.db import connection, connections, transaction

from accounts.models import AccessChange, RefreshSession
from accounts.services import authentication, feed, principals, sessions
from accounts.types import Actor
from ideplatform.kit import redis
from ideplatform.kit.errors import Unauthenticated, Unavailable
from ideplatform.observability import health
from tests import factories
from tests.accounts.rest import signed_in
from tests.waiting import eventually

pytestmark = pytest.mark.usefixtures("committed_db")


def _by_another_process(**ids) -> None:
    """A committed change of which this process has no note and hears no bell."""
    AccessChange.objects.create(**ids)


def _revoked_elsewhere(session_id) -> None:
    RefreshSession.objects.filter(pk=session_id).update(revoked_at="2026-01-01T00:00:00Z")
    _by_another_process(session_id=session_id)


def test_a_subscriber_hears_each_committed_change_once():
    heard: list[feed.Change] = []
    end = feed.subscribe(heard.append)
    eventually(feed.is_fresh)
    user_id, workspace_id = uuid.uuid4(), uuid.uuid4()
    with transaction.atomic():
        feed.announce(user_id=user_id, workspace_id=workspace_id)
    eventually(lambda: heard)
    feed.require_fresh()
    end()
    assert [(c.user_id, c.workspace_id, c.session_id) for c in heard] == [
        (user_id, workspace_id, None)
    ]


def test_without_a_bell_the_change_arrives_within_a_second():
    arrived = threading.Event()
    feed.subscribe(lambda change: arrived.set())
    eventually(feed.is_fresh)
    _by_another_process(user_id=uuid.uuid4())
    assert arrived.wait(1.0)


def _has(found: list[float], count: int) -> bool:
    return len(found) == count


def test_the_bell_wakes_other_processes_before_their_next_poll():
    moments: list[float] = []
    feed.subscribe(lambda change: moments.append(time.monotonic()))
    eventually(feed.is_fresh)
    eventually(lambda: redis.client("bus").pubsub_numsub(feed.CHANNEL)[0][1])
    delays = []
    for number in range(1, 6):
        began = time.monotonic()
        _by_another_process(user_id=uuid.uuid4())
        redis.ring(feed.CHANNEL)
        eventually(functools.partial(_has, moments, number))
        delays.append(moments[-1] - began)
    assert min(delays) < feed.POLL_S / 2


@pytest.fixture
def no_redis(settings):
    """The platform with a Redis that refuses every connection."""
    former = settings.ENV
    settings.ENV = former.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"})
    redis.client.cache_clear()
    yield
    settings.ENV = former
    redis.client.cache_clear()


@pytest.mark.usefixtures("no_redis")
def test_without_redis_a_revocation_is_felt_within_a_second():
    _, pair = signed_in()
    credential = authentication.of_text(pair.access)
    eventually(feed.is_fresh)
    authentication.verify(credential, ip="")
    assert principals.recall(credential.digest()) is not None
    began = time.monotonic()
    _revoked_elsewhere(pair.session_id)
    eventually(functools.partial(_is_refused, credential))
    assert time.monotonic() - began < 1.0


def _is_refused(credential) -> bool:
    try:
        authentication.verify(credential, ip="")
    except Unauthenticated:
        return True
    return False


def test_a_rolled_back_change_is_never_told():
    heard: list[feed.Change] = []
    feed.subscribe(heard.append)
    eventually(feed.is_fresh)
    with transaction.atomic():
        feed.announce(user_id=uuid.uuid4())
        transaction.set_rollback(True)
    feed.announce(user_id=(told := uuid.uuid4()))
    eventually(lambda: heard)
    assert [change.user_id for change in heard] == [told]


def test_a_change_that_commits_after_a_younger_one_is_not_missed():
    """Ids are given before commits: reading `id > last` alone would lose the elder."""
    heard: list[int] = []
    feed.subscribe(lambda change: heard.append(change.id))
    eventually(feed.is_fresh)
    written, told = threading.Event(), threading.Event()

    def elder() -> None:
        with transaction.atomic():
            _by_another_process(user_id=uuid.uuid4())
            written.set()
            told.wait(4)
        connections.close_all()

    thread = threading.Thread(target=elder)
    thread.start()
    assert written.wait(4)
    _by_another_process(user_id=uuid.uuid4())
    eventually(lambda: len(heard) == 1)
    told.set()
    thread.join()
    eventually(lambda: len(heard) == 2)
    assert heard[1] < heard[0]


def test_a_remembered_principal_falls_within_a_second():
    _, pair = signed_in()
    credential = authentication.of_text(pair.access)
    eventually(feed.is_fresh)
    authentication.verify(credential, ip="")
    assert principals.recall(credential.digest()) is not None
    began = time.monotonic()
    _revoked_elsewhere(pair.session_id)
    eventually(functools.partial(_is_refused, credential))
    assert time.monotonic() - began < 1.0


def test_ones_own_revocation_is_felt_at_once():
    _, pair = signed_in()
    credential = authentication.of_text(pair.access)
    eventually(feed.is_fresh)
    authentication.verify(credential, ip="")
    sessions.revoke(user_id=pair.user_id, session_id=pair.session_id, reason="user")
    with pytest.raises(Unauthenticated):
        authentication.verify(credential, ip="")


def test_a_principal_is_believed_from_memory_only_while_the_feed_is_fresh():
    _, pair = signed_in()
    credential = authentication.of_text(pair.access)
    eventually(feed.is_fresh)
    authentication.verify(credential, ip="")
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE access_changes RENAME TO access_changes_gone")
    eventually(lambda: not feed.is_fresh(), within_s=3)
    assert principals.recall(credential.digest()) is None
    assert authentication.verify(credential, ip="").user_id == pair.user_id
    with pytest.raises(Unavailable):
        feed.require_fresh()
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE access_changes_gone RENAME TO access_changes")
    eventually(feed.is_fresh)
    assert principals.recall(credential.digest()) is not None


def _shared(pair) -> Any:
    return principals.shared(
        user_id=pair.user_id, session_id=pair.session_id, expires_at=float("inf")
    )


def test_a_principal_is_shared_through_redis_until_a_newer_change_is_known():
    user, pair = signed_in()
    eventually(feed.is_fresh)
    authentication.verify(authentication.of_text(pair.access), ip="")
    key = redis.session_key(user.pk, pair.session_id)
    assert key == f"session:{user.pk}:{pair.session_id}"
    assert 0 < redis.client("cache").ttl(key) <= 60
    assert _shared(pair).actor == Actor(user_id=user.pk, session_id=pair.session_id)
    _by_another_process(user_id=user.pk)
    eventually(lambda: _shared(pair) is None)


def test_redis_is_no_authority_on_who_somebody_is():
    user, pair = signed_in()
    eventually(feed.is_fresh)
    authentication.verify(authentication.of_text(pair.access), ip="")
    client, key = redis.client("cache"), redis.session_key(user.pk, pair.session_id)
    honest: Any = client.get(key)
    for forged in (honest[:-1] + b"\x01", b"", b"x" * 200, honest[:40] + b"\xff" + honest[41:]):
        client.set(key, forged)
        assert _shared(pair) is None
    _, other = signed_in()
    client.set(redis.session_key(other.user_id, other.session_id), honest)
    assert _shared(other) is None


def test_readiness_asks_the_feed():
    assert "access_feed" in health._required
    feed.require_fresh()
    assert feed.is_fresh()


def test_changes_are_kept_for_a_day():
    factories.a_user()
    _by_another_process(user_id=uuid.uuid4())
    _by_another_process(user_id=uuid.uuid4())
    with connection.cursor() as cursor:
        cursor.execute(
            "UPDATE access_changes SET at = now() - interval '25 hours'"
            " WHERE id = (SELECT min(id) FROM access_changes)"
        )
    assert feed.prune() == 1
    assert AccessChange.objects.count() == 1
