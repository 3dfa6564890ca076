"""Rotation: one successor per generation, the same for a client that lost the answer."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from django.db import connections
from django.db.models import F

from accounts.errors import SessionExpired, SessionRevoked
from accounts.models import AccessChange, AuditEvent, RefreshSession
from accounts.services import sessions, tokens
from ideplatform.kit.errors import NotFound
from tests import factories
from tests.accounts.rest import signed_in


def _age(session_id, **by) -> None:
    """Let the last rotation lie further back."""
    RefreshSession.objects.filter(pk=session_id).update(
        rotated_at=F("rotated_at") - timedelta(**by)
    )


@pytest.mark.django_db
def test_a_refresh_token_is_a_function_of_session_generation_and_time():
    _, pair = signed_in()
    session = RefreshSession.objects.get(pk=pair.session_id)
    again = sessions.issue(session, now=session.rotated_at)
    assert again.refresh == pair.refresh
    assert again.access != pair.access


@pytest.mark.django_db
def test_within_ten_seconds_the_predecessor_gets_the_same_string():
    _, pair = signed_in()
    first = sessions.rotate(refresh=pair.refresh)
    before = RefreshSession.objects.values().get()
    again = sessions.rotate(refresh=pair.refresh)
    assert again.refresh == first.refresh
    assert RefreshSession.objects.values().get() == before


@pytest.mark.django_db
def test_after_ten_seconds_a_replay_ends_the_family():
    _, pair = signed_in()
    first = sessions.rotate(refresh=pair.refresh)
    _age(pair.session_id, seconds=11)
    with pytest.raises(SessionRevoked):
        sessions.rotate(refresh=pair.refresh)
    with pytest.raises(SessionRevoked):
        sessions.rotate(refresh=first.refresh)
    assert RefreshSession.objects.get().reason == "reuse"
    assert AccessChange.objects.get().session_id == pair.session_id
    assert AuditEvent.objects.get(action="session.reuse_detected").outcome == "denied"


@pytest.mark.django_db
def test_two_generations_back_is_reuse_however_fast():
    _, pair = signed_in()
    second = sessions.rotate(refresh=pair.refresh)
    sessions.rotate(refresh=second.refresh)
    with pytest.raises(SessionRevoked):
        sessions.rotate(refresh=pair.refresh)
    assert RefreshSession.objects.get().revoked_at is not None


@pytest.mark.django_db
@pytest.mark.parametrize("behind", [{"generation": 0}, {"generation": 1}])
def test_a_token_from_before_a_restored_backup_ends_the_family(behind):
    _, pair = signed_in()
    newer = sessions.rotate(refresh=sessions.rotate(refresh=pair.refresh).refresh)
    RefreshSession.objects.update(**behind)
    with pytest.raises(SessionRevoked):
        sessions.rotate(refresh=newer.refresh)
    assert RefreshSession.objects.get().reason == "reuse"


@pytest.mark.django_db
def test_the_same_generation_of_another_moment_ends_the_family():
    _, pair = signed_in()
    _age(pair.session_id, milliseconds=1)
    with pytest.raises(SessionRevoked):
        sessions.rotate(refresh=pair.refresh)


@pytest.mark.django_db
def test_an_expired_session_is_told_so():
    _, pair = signed_in()
    RefreshSession.objects.update(expires_at=F("created_at"))
    with pytest.raises(SessionExpired):
        sessions.rotate(refresh=pair.refresh)


@pytest.mark.django_db
def test_a_session_slides_but_not_beyond_ninety_days():
    _, pair = signed_in()
    created = RefreshSession.objects.get().created_at
    RefreshSession.objects.update(created_at=created - timedelta(days=89))
    sessions.rotate(refresh=pair.refresh)
    session = RefreshSession.objects.get()
    assert session.expires_at == session.created_at + timedelta(days=90)


@pytest.mark.django_db
def test_nobody_ends_a_foreign_session():
    user, _ = signed_in()
    _, foreign = signed_in()
    with pytest.raises(NotFound):
        sessions.revoke(user_id=user.pk, session_id=foreign.session_id, reason="user")
    assert RefreshSession.objects.filter(revoked_at=None).count() == 2


@pytest.mark.django_db
def test_sessions_long_over_are_forgotten_and_others_kept():
    user, pair = signed_in()
    signed_in(user)
    RefreshSession.objects.filter(pk=pair.session_id).update(
        expires_at=F("expires_at") - timedelta(days=121)
    )
    assert sessions.prune() == 1
    assert not RefreshSession.objects.filter(pk=pair.session_id).exists()


def _together(refresh: str, clients: int) -> list[str]:
    """The successors that clients get who refresh at one moment."""
    gate = threading.Barrier(clients)

    def one(_: int) -> str:
        gate.wait()
        try:
            return sessions.rotate(refresh=refresh).refresh
        finally:
            connections.close_all()

    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(one, range(clients)))


def _rounds(count: int) -> None:
    user = factories.a_user()
    _, pair = signed_in(user)
    refresh = pair.refresh
    for generation in range(1, count + 1):
        successors = set(_together(refresh, 8))
        assert len(successors) == 1
        refresh = successors.pop()
        assert tokens.read_refresh(refresh).generation == generation
    assert RefreshSession.objects.get().generation == count


@pytest.mark.usefixtures("committed_db")
def test_eight_parallel_refreshes_have_one_successor():
    _rounds(12)


@pytest.mark.scale
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("committed_db")
def test_a_thousand_times_eight_parallel_refreshes_have_one_successor_each():
    _rounds(1_000)
