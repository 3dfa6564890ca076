"""What another process does beside a test: reserve many calls of one customer at once."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

from django.db import connections

from accounts.models import Organization
from billing.services import holds
from billing.types import Reservation
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


def reserve_as_told(
    *,
    database: str,
    organization_id: str,
    amount: str,
    calls: int,
    threads: int,
    subjects: int,
    seed: int,
) -> dict[str, int]:
    """How many calls met which answer: sent in batches of odd sizes, each for any of a few people,
    places and keys, which differ from process to process only in their order."""
    databases._use(database)
    team, chance = Organization.objects.get(pk=UUID(organization_id)), random.Random(seed)
    connections.close_all()
    left = [a_reservation(team, amount, **_subject(chance, subjects)) for _ in range(calls)]
    batches = []
    while left:
        size = chance.randint(1, 6)
        batches.append(left[:size])
        del left[:size]

    def one(batch: Sequence[Reservation]) -> list[str]:
        try:
            return [type(answer).__name__ for answer in holds.reserve_many(batch)]
        finally:
            connections.close_all()

    with ThreadPoolExecutor(threads) as pool:
        return dict(Counter(answer for batch in pool.map(one, batches) for answer in batch))


def _subject(chance: random.Random, subjects: int) -> dict[str, object]:
    """Whom a call is for."""
    if not subjects:
        return {}
    names = {
        name: UUID(int=chance.randint(1, subjects))
        for name in ("workspace_id", "user_id", "api_key_id")
    }
    return names | {"agent_id": f"agent-{chance.randint(1, subjects)}"}
