"""The simulated provider and Stripe, on the addresses that the tests' environment opens."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.db import connection, connections

from billing.services import prices
from providers.services import aliases, catalogue, health
from tests import databases
from tests.fakes import stripe as fake_stripe
from tests.fakes.simulator import SimulatorHandle, running_simulator
from tests.fakes.stripe import FakeStripe


@pytest.fixture(scope="session")
def simulator_process() -> Iterator[SimulatorHandle]:
    port = urlsplit(settings.ENV.simulated_provider_url).port
    assert port is not None
    with running_simulator(port=port) as handle:
        yield handle


@pytest.fixture
def simulator(simulator_process: SimulatorHandle) -> SimulatorHandle:
    """Running, and without scripts or a past."""
    simulator_process.reset()
    return simulator_process


@pytest.fixture(scope="session")
def priced_database(django_db_setup: None, django_db_blocker) -> Iterator[str]:
    """A database with prices, catalogue and aliases, to clone: publishing takes a second."""
    plain = str(connections.settings["default"]["NAME"])
    with django_db_blocker.unblock(), databases.clone() as name:
        with connection.cursor() as cursor:  # a busy machine may need more than the usual 5 s
            cursor.execute("SET transaction_timeout = 0")
        prices.ensure_published()
        catalogue.load()
        aliases.ensure_defaults()
        databases._use(plain)
        yield name


@pytest.fixture
def paid_door(
    priced_database: str, django_db_blocker, simulator: SimulatorHandle
) -> Iterator[SimulatorHandle]:
    """An own priced database and a vendor to call; nothing is known of anybody's health."""
    plain = str(connections.settings["default"]["NAME"])
    health.forget()
    with django_db_blocker.unblock():
        databases._use(priced_database)
        with databases.clone():
            yield simulator
        databases._use(plain)
    health.forget()


@pytest.fixture(scope="session")
def stripe_server() -> Iterator[FakeStripe]:
    env = settings.ENV
    assert env.stripe_secret_key is not None
    assert env.stripe_webhook_secrets is not None
    fake = FakeStripe(
        key=env.stripe_secret_key.get_secret_value(),
        secrets=env.stripe_webhook_secrets.get_secret_value().split(","),
    )
    port = urlsplit(env.stripe_api_base).port
    assert port is not None
    with fake_stripe.running(fake, port=port):
        yield fake


@pytest.fixture
def stripe(stripe_server: FakeStripe) -> Iterator[FakeStripe]:
    """A new account; whatever was asked of it had a shape that Stripe accepts."""
    stripe_server.reset()
    yield stripe_server
    assert stripe_server.faults == []
