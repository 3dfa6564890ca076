"""A person's own way of seeing money."""

from __future__ import annotations

import pytest

from billing.models import ViewPreference
from billing.types import Precision
from tests.billing.web.stage import HOME, Team, reader

pytestmark = pytest.mark.django_db

PATH = "/billing/settings"


@pytest.fixture
def team() -> Team:
    return Team()


def test_a_choice_is_kept_and_used(team):
    team.call()
    client = reader(team.owner)
    sent = {"tz": "America/Sao_Paulo", "precision": "exact"}
    answer = client.post(PATH, sent | {"organization": str(team.organization.pk)})
    assert answer["Location"] == f"{PATH}{team.query}&done=saved"
    row = ViewPreference.objects.get(user=team.owner)
    assert (row.tz, row.precision, row.gets_alerts) == (
        "America/Sao_Paulo",
        Precision.EXACT,
        False,
    )
    page = client.get(answer["Location"]).content.decode()
    assert 'value="America/Sao_Paulo" maxlength' in page
    assert '<input type="radio" name="precision" value="exact" checked>' in page
    overview = client.get(HOME + team.query).content.decode()
    assert "$99.9986<" in overview
    assert "(America/Sao_Paulo)" in overview


@pytest.mark.parametrize(
    ("wrong", "said"), [({"tz": "Mars/Olympus"}, b"IANA"), ({"precision": "vague"}, b"One of")]
)
def test_what_nobody_knows_is_refused(team, wrong, said):
    answer = reader(team.owner).post(PATH, {"tz": "UTC", "precision": "cents"} | wrong)
    assert answer.status_code == 422
    assert said in answer.content
    assert not ViewPreference.objects.exists()


def test_colleagues_have_their_own(team):
    reader(team.owner).post(PATH, {"tz": "Asia/Tokyo", "precision": "cents"})
    page = reader(team.people["admin"]).get(PATH + team.query).content.decode()
    assert 'value="UTC" maxlength' in page
    assert 'name="gets_alerts" checked' in page
