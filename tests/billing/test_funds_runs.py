"""A thousand runs at once through two web processes and two workers: not a cent is oversold."""

from __future__ import annotations

import asyncio
from collections import Counter
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import Min, Sum

from accounts.models import Organization
from accounts.types import OrganizationRole
from agents.models import Run, RunEvent
from billing.models import Hold, UsageEvent
from billing.services import ledger, verification
from ideplatform.kit.db import run_db
from tests.agents.clients import an_access_token, bearer, dialled
from tests.billing.funds import a_customer, money_of
from tests.factories import a_user, a_workspace, join_organization, join_workspace
from tests.providers.builders import a_provider
from tests.waiting import eventually_async
from tests.walks.processes import a_web, an_agents_worker
from workspaces.types import WorkspaceRole

PEOPLE, RUNS_EACH = 40, 25  # one person may start thirty a minute
RUNS = PEOPLE * RUNS_EACH
PAID = Decimal("0.2")
WITHIN_S = 1_200
WORDS = 20


def _a_team() -> tuple[Organization, str, list[str]]:
    """Forty people of one wallet: their workspace and their tokens."""
    a_provider("openai_compatible")
    team = a_customer(paid=str(PAID))
    people = [a_user() for _ in range(PEOPLE)]
    workspace = a_workspace(people[0], organization=team)
    for person in people:
        join_organization(team, person, OrganizationRole.MEMBER)
    for person in people[1:]:
        join_workspace(workspace, person, WorkspaceRole.EDITOR)
    return team, str(workspace.pk), [an_access_token(person) for person in people]


async def _start(ws_url: str, token: str, workspace_id: str) -> set[str]:
    """One person's runs, all on one socket; their ids."""
    async with dialled(ws_url, **bearer(token)) as client:
        for number in range(RUNS_EACH):
            prompt = f"[[sim:tokens={WORDS} delay=5]] story {number}"
            await client.send(
                type="start", workspace_id=workspace_id, agent_id="universal", prompt=prompt
            )
        return {(await client.next("started"))["run_id"] for _ in range(RUNS_EACH)}


def _open_runs() -> int:
    return Run.objects.filter(state__in=["queued", "running"]).count()


def _ends() -> Counter[str]:
    """How the runs ended: `completed`, or the code of what refused them."""
    last = RunEvent.objects.filter(type__in=["complete", "error"]).values_list("type", "payload")
    return Counter(
        "completed" if kind == "complete" else payload["problem"]["code"] for kind, payload in last
    )


@pytest.mark.scale
@pytest.mark.timeout(1_800)
async def test_a_thousand_runs_spend_no_more_than_there_is(paid_door):
    team, workspace_id, tokens = await run_db(_a_team)
    with a_web() as one, a_web() as other, an_agents_worker(), an_agents_worker():
        started = await asyncio.gather(
            *(
                _start((one, other)[number % 2].ws_url, token, workspace_id)
                for number, token in enumerate(tokens)
            )
        )
        assert len(set().union(*started)) == RUNS

        async def are_over() -> bool:
            return await run_db(_open_runs) == 0

        await eventually_async(are_over, within_s=WITHIN_S)
    await run_db(_check, team, paid_door.ledger())


def _check(team: Organization, served: list[dict[str, Any]]) -> None:
    ends = _ends()
    assert set(ends) <= {"completed", "in_flight_exhausted", "insufficient_credits"}
    assert ends.total() == RUNS
    assert ends["completed"] > 0
    assert ends.total() - ends["completed"] > 0
    posted, promo, held = money_of(team)
    spent = UsageEvent.objects.aggregate(total=Sum("billed_cost"))["total"]
    assert (posted, promo, held) == (PAID - spent, 0, 0)
    assert posted >= 0
    assert Hold.objects.aggregate(least=Min("headroom"))["least"] >= 0
    assert not Hold.objects.filter(overrun__gt=0).exists()
    assert ledger.total_of("revenue_usage") == spent
    assert len(served) == UsageEvent.objects.count()
    assert sorted((row["tokens"]["input"], row["tokens"]["output"]) for row in served) == sorted(
        UsageEvent.objects.values_list("tokens_input", "tokens_output")
    )
    assert verification.breaches() == []
