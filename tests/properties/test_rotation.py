"""Whatever tokens of a family are shown, at whatever age, the answer is the one of the page."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta

import pytest
from django.db import transaction
from django.db.models import F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from accounts.errors import SessionRevoked
from accounts.models import RefreshSession
from accounts.services import sessions
from tests import factories

SHOWN = st.tuples(st.integers(0, 6), st.sampled_from([0, 4, 9, 11]))
"""Which token of the family (0 is the newest, 1 its predecessor, ...), after how many seconds."""


@dataclass
class Family:
    """The model: the strings of each generation, how old the newest is, whether it lives."""

    tokens: list[str] = field(default_factory=list)
    age_s: int = 0
    is_alive: bool = True

    def expects(self, back: int) -> str:
        if not self.is_alive:
            return "refused"
        if back == 0:
            return "new"
        if back == 1 and self.age_s <= 10:
            return "same"
        self.is_alive = False
        return "refused"


@pytest.mark.django_db
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(shows=st.lists(SHOWN, min_size=1, max_size=12))
def test_a_family_answers_by_the_rules_and_never_revives(shows):
    with transaction.atomic():
        _play(shows)
        transaction.set_rollback(True)


def _play(shows) -> None:
    user = factories.a_user()
    family = Family(tokens=[sessions.sign_in(user=user, ip="", user_agent="").refresh])
    for back, waited_s in shows:
        index = max(len(family.tokens) - 1 - back, 0)
        _wait(family, waited_s)
        expected = family.expects(len(family.tokens) - 1 - index)
        answer = _shown(family.tokens[index])
        match expected:
            case "new":
                assert answer not in {None, *family.tokens}
                family.tokens.append(str(answer))
                family.age_s = 0
            case "same":
                assert answer == family.tokens[-1]
            case _:
                assert answer is None
        assert (RefreshSession.objects.get(user=user).revoked_at is None) == family.is_alive


def _wait(family: Family, seconds: int) -> None:
    """Let time pass for the rotation's age; a token's own text depends on its true moment."""
    if seconds and len(family.tokens) > 1:
        family.age_s += seconds
        before = RefreshSession.objects.order_by("-created_at")[:1].values("pk")
        RefreshSession.objects.filter(pk__in=before).update(
            rotated_at=F("rotated_at") - timedelta(seconds=seconds)
        )
        family.tokens[-1] = _reissued()


def _reissued() -> str:
    session = RefreshSession.objects.order_by("-created_at")[0]
    return sessions.issue(session, now=session.rotated_at).refresh


def _shown(refresh: str) -> str | None:
    try:
        return sessions.rotate(refresh=refresh).refresh
    except SessionRevoked:
        return None
