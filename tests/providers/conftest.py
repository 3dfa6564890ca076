"""One committing database for the tests of a module: each begins without anybody's accounts."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db.models.functions import Now

from billing.models import Hold
from billing.services import prices
from providers.models import ModelAlias, Provider, TokenRatio
from providers.services import aliases, catalogue, health
from tests import databases
from tests.fakes.simulator import SimulatorHandle


@pytest.fixture(scope="module")
def priced_database(django_db_setup: None, django_db_blocker) -> Iterator[str]:
    """A database with prices, catalogue and aliases."""
    with django_db_blocker.unblock(), databases.clone() as name:
        prices.ensure_published()
        catalogue.load()
        aliases.ensure_defaults()
        yield name


@pytest.fixture
def paid_door(
    priced_database: str, django_db_blocker, simulator: SimulatorHandle
) -> Iterator[SimulatorHandle]:
    """A vendor to call; accounts, aliases, calls and health of earlier tests are gone."""
    health.forget()
    with django_db_blocker.unblock():
        Provider.objects.update(deleted_at=Now())
        ModelAlias.objects.exclude(name__in=aliases.DEFAULTS).delete()
        Hold.objects.all().delete()
        TokenRatio.objects.all().delete()
        yield simulator
    health.forget()
