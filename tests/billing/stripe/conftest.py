from __future__ import annotations

import pytest

from tests.billing.stripe.stage import Team


@pytest.fixture
def team(db, stripe) -> Team:
    return Team(stripe)
