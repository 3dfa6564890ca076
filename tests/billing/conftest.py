"""A priced database in which money adds up when its test is over."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from billing.services import verification
from tests.billing.calls import SIMULATOR, publish
from tests.billing.reporting import House


@pytest.fixture
def database(committed_db: str) -> Iterator[str]:
    publish(SIMULATOR)
    yield committed_db
    assert verification.breaches() == []


@pytest.fixture
def house(db):
    publish(SIMULATOR)
    return House()
