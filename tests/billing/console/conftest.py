"""A customer, somebody who asks and somebody who approves."""

from __future__ import annotations

import pytest

from tests.billing.console.people import an_operator
from tests.billing.funds import a_customer


@pytest.fixture
def team():
    return a_customer(paid="10")


@pytest.fixture
def asker():
    return an_operator("billing_support")


@pytest.fixture
def manager():
    return an_operator("billing_manager")
