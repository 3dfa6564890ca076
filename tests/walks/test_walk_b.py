"""Walk (b): a provider answer becomes money; through real processes, to the vendor's own report."""

from __future__ import annotations

import asyncio
import json
import urllib.request
from collections import Counter
from datetime import timedelta
from decimal import Decimal
from typing import Any

from billing import selectors
from billing.models import Hold, LedgerEntry, LedgerTxn, ReconRun, UsageEvent
from billing.selectors.statements import first_of
from billing.services import prices, reconcile, verification
from billing.services.reconcile import Asking, compared
from ideplatform.kit.crypto import Secret
from ideplatform.kit.db import run_db
from ideplatform.outbox.models import Fact
from providers.services import reports
from tests.agents.builders import a_desk
from tests.agents.clients import an_access_token, bearer, dialled
from tests.billing.folding import folded
from tests.billing.funds import money_of
from tests.providers.builders import a_provider
from tests.waiting import eventually
from tests.walks.processes import a_web, an_agents_worker

PROMPT = "@coder please say hello"
WITHIN_S = 40
WELCOME = Decimal(5)
PRICES = json.loads((prices.DATA / "simulator_prices.json").read_text())["models"]
PER_TOKEN = {"input": "input_cost_per_token", "output": "output_cost_per_token"}


def _a_project():
    account = a_provider("openai", report_key=Secret("sk-admin-simulated-0001"))
    desk = a_desk()
    return account, desk, an_access_token(desk.user)


async def _asked(ws_url, desk, token):
    """What the client is told of a run, from its start to its end."""
    async with dialled(ws_url, **bearer(token)) as client:
        await client.send(type="start", workspace_id=str(desk.workspace.pk), prompt=PROMPT)
        started = await client.next("started")
        frames = await asyncio.wait_for(client.until("complete", "error"), WITHIN_S)
        return started["run_id"], frames[-1]["metadata"]


def _get(url: str, token: str) -> dict[str, Any]:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {token}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def _charged(row: dict[str, Any]) -> Decimal:
    """What the vendor's ledger says of one call, by the shipped list."""
    listed = PRICES[f"openai/{row['model']}"]
    used = {name: count for name, count in row["tokens"].items() if count}
    return sum(
        (count * Decimal(listed[PER_TOKEN[name]]) for name, count in used.items()), WELCOME * 0
    )


def _points(shown: dict[str, Any]) -> list[tuple[str, int, Decimal]]:
    return [(one["key"], one["requests"], Decimal(one["billed_cost"])) for one in shown["series"]]


def _settled(run_id, organization, ledger):
    """Hold, event, entries and fact of each call, against the vendor's ledger."""
    events = list(UsageEvent.objects.filter(run_id=run_id).order_by("occurred_at"))
    facts = ("tokens_input", "tokens_output", "estimated_cost", "billed_cost")
    booked = Counter(tuple(getattr(event, name) for name in facts) for event in events)
    assert booked == Counter(
        (row["tokens"]["input"], row["tokens"]["output"], _charged(row), _charged(row))
        for row in ledger
    )
    cost = sum((_charged(row) for row in ledger), Decimal(0))
    assert set(Hold.objects.values_list("state", flat=True)) == {"settled"}
    txns = LedgerTxn.objects.filter(pk__in=[event.txn_id for event in events])
    assert txns.count() == len(ledger)
    legs: dict[str, Decimal] = {}
    for kind, amount in LedgerEntry.objects.filter(txn__in=txns).values_list(
        "account__kind", "amount"
    ):
        legs[kind] = legs.get(kind, Decimal(0)) + amount
    assert legs == {
        "wallet_promo": -cost,
        "revenue_usage": cost,
        "provider_cogs": -cost,
        "provider_payable:openai": cost,
    }
    assert money_of(organization) == (0, WELCOME - cost, 0)
    eventually(lambda: not Fact.objects.filter(topic="usage.settled").exists())  # handed on
    return events, cost


def _statement(desk, organization, cost, ledger):
    """The open month: welcome credit in, the calls out, the rest left."""
    month = first_of(UsageEvent.objects.latest("occurred_at").occurred_at)
    shown = selectors.statement(desk.actor, month, organization.pk).figures
    assert (shown.opening, shown.closing) == (Decimal(0), WELCOME - cost)
    used = [line for line in shown.lines if line.kind == "usage"]
    assert sum(line.amount for line in used) == -cost
    assert sum(line.count for line in used) == len(ledger)
    assert {line.model for line in used} == {row["model"] for row in ledger}


def _compared(account, events):
    """The vendor's own report of these days, fetched, kept and laid beside ours."""
    days = sorted(event.occurred_at.date() for event in events)
    asking = Asking(provider_id=account.pk, starts_on=days[0], ends_on=days[-1] + timedelta(days=1))
    (asked,) = reconcile.request(asking=asking, actor=None)
    assert reports.fetch(asked.run.pk)
    run = ReconRun.objects.get(pk=asked.run.pk)
    assert (run.state, run.error) == ("done", "")
    lines = list(run.lines.all())
    assert {line.line_class for line in lines} <= {"match", "rounding"}
    assert not [line for line in lines if line.status == "open"]
    ours = sum(line.ours_quantity or 0 for line in lines)
    theirs = sum(line.theirs_quantity or 0 for line in lines)
    assert ours == theirs == sum(event.tokens_input + event.tokens_output for event in events)
    findings = reconcile.compare(days[0], compared.report_of(run))
    assert findings
    assert {one.quantity_off for one in findings} == {0}


async def test_an_answer_becomes_an_event_an_entry_a_sum_a_statement_and_a_vendor_s_line(paid_door):
    account, desk, token = await run_db(_a_project)
    organization = desk.workspace.organization
    with a_web() as web, an_agents_worker() as worker:
        run_id, complete = await _asked(web.ws_url, desk, token)
        assert complete["outcome"] == "completed"
        ledger = paid_door.ledger()
        assert [row["outcome"] for row in ledger] == ["complete"] * len(ledger)
        assert ledger
        events, cost = await run_db(_settled, run_id, organization, ledger)
        assert cost > 0
        assert Decimal(complete["cost"]) == cost
        assert Decimal(complete["balance_after"]) == WELCOME - cost

        month = f"{events[0].occurred_at:%Y-%m}"
        address = f"{web.url}/api/v1/billing/summary?period=month:{month}"
        address += f"&organization_id={organization.pk}&group_by=model"
        unfolded = await asyncio.to_thread(_get, address, token)
        assert await run_db(folded) >= len(events)
        summed = await asyncio.to_thread(_get, address, token)
        assert worker.terminate() == 0
    for shown in (unfolded, summed):
        totals = shown["totals"]
        assert (totals["requests"], Decimal(totals["billed_cost"])) == (len(ledger), cost)
        assert totals["tokens_input"] == sum(row["tokens"]["input"] for row in ledger)
        assert totals["tokens_output"] == sum(row["tokens"]["output"] for row in ledger)
        assert sum(Decimal(one["billed_cost"]) for one in shown["groups"]) == cost
        assert Decimal(shown["balance"]["available"]) == WELCOME - cost
    assert _points(unfolded) == _points(summed)

    await run_db(_statement, desk, organization, cost, ledger)
    await run_db(_compared, account, events)
    assert await run_db(verification.breaches) == []
