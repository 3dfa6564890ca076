"""What another process does beside a test: reserve many calls of one customer at once."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from django.db import connections

from accounts.models import Organization
from billing.services import holds
from ideplatform.kit.errors import PlatformError
from tests import databases
from tests.billing.funds import a_reservation


def reserve_all(database: str, organization_id: str, calls: str) -> dict[str, int]:
    """How many of `calls` calls of 1 USD met which answer."""
    databases._use(database)
    team = Organization.objects.get(pk=UUID(organization_id))

    def one(_: int) -> str:
        try:
            return type(holds.reserve(a_reservation(team, "1"))).__name__
        except PlatformError as refused:
            return type(refused).__name__
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        return dict(Counter(pool.map(one, range(int(calls)))))
