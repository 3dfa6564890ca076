"""What the demo team did before anybody met it: three weeks of calls, the same every time.

So that its billing pages show something from the first minute. The calls are priced and paid like
any other, by the credit that the team is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from billing.types import (
    Accuracy,
    BillingMode,
    Operation,
    Outcome,
    ProviderCallRecord,
    TokenCount,
    UnitClass,
)
from ideplatform.kit import ids

DAYS: Final = 21
_MODELS: Final = ("sim-coder", "sim-echo", "sim-coder")
_AGENTS: Final = ("coder", "universal", "coder")
_TOOK: Final = timedelta(seconds=4)


@dataclass(frozen=True, slots=True, kw_only=True)
class Team:
    """Who called, and by which account."""

    organization_id: UUID
    workspace_id: UUID
    people: tuple[UUID, ...]
    provider_id: UUID


def calls(team: Team, until: datetime) -> Iterator[ProviderCallRecord]:
    """Some calls of each of the days before `until`, fewer at weekends."""
    for back in range(DAYS, 0, -1):
        day = until - timedelta(days=back)
        for number in range(1 if day.weekday() >= 5 else 3):
            yield _call(team, day - timedelta(minutes=47 * number), back * 3 + number)


def _call(team: Team, moment: datetime, number: int) -> ProviderCallRecord:
    tokens = {
        UnitClass.INPUT: 40_000 + 9_000 * (number % 7),
        UnitClass.CACHE_READ: 15_000 * (number % 4),
        UnitClass.OUTPUT: 6_000 + 1_500 * (number % 5),
    }
    model = _MODELS[number % len(_MODELS)]
    return ProviderCallRecord(
        request_id=ids.new(),
        attempt=1,
        organization_id=team.organization_id,
        workspace_id=team.workspace_id,
        user_id=team.people[number % len(team.people)],
        api_key_id=None,
        agent_id=_AGENTS[number % len(_AGENTS)],
        conversation_id=None,
        run_id=None,
        provider_id=team.provider_id,
        provider_type="openai_compatible",
        billing_mode=BillingMode.PLATFORM,
        operation=Operation.CHAT,
        requested_model=model,
        served_model=model,
        tokens=TokenCount(tokens),
        status=200,
        accuracy=Accuracy.EXACT,
        outcome=Outcome.OK,
        occurred_at=moment,
        completed_at=moment + _TOOK,
    )
