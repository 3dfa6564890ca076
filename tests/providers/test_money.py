"""What calls reserve, what cuts them off, and what each ending costs, to the last decimal."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from decimal import Decimal

import msgspec
import pytest

from accounts.models import Organization
from billing.errors import (
    BudgetExceeded,
    ExceedsLimit,
    InsufficientCredits,
    ModelUnpriced,
)
from billing.models import Budget, BudgetAlert, Hold, LedgerTxn
from billing.services import customers, holds, verification
from ideplatform.kit import failpoints, ids
from ideplatform.kit.db import run_db
from ideplatform.kit.failpoints import FailpointRaised
from providers.models import ProviderHealth
from providers.services import gateway, health, settling
from providers.types import Call, EmbedCall, StopReason, Text
from tests.billing.funds import Amount, a_budget, money_of, take
from tests.providers.builders import (
    a_call,
    a_context,
    a_provider,
    an_embed_call,
    events_of,
    told,
)
from tests.waiting import eventually_async

INPUT, OUTPUT = Decimal("0.000001"), Decimal("0.000002")
HASTY = {"timeouts": {"first_byte_s": 0.4, "idle_s": 0.4, "reasoning_first_byte_s": 0.4}}


@pytest.fixture
async def door(paid_door):
    """The paid door; when a test is over no money is unaccounted for."""
    yield paid_door
    assert await settling.finished(within_s=10)
    assert await run_db(verification.breaches) == []


def _payer(call: Call | EmbedCall) -> Organization:
    return Organization.objects.get(pk=call.context.organization_id)


def _limit_wallet(call: Call | EmbedCall, amount: str) -> None:
    """Leave the payer exactly `amount`, of the welcome credit of 5 USD."""
    organization = _payer(call)
    customers.ensure([organization.pk])
    take(organization, 5 - Decimal(amount))


async def _purse(call: Call | EmbedCall) -> tuple[Amount, Amount]:
    """What is posted in all, and held."""
    paid, promo, held = await run_db(lambda: money_of(_payer(call)))
    return paid + promo, held


async def test_a_call_is_held_while_it_runs_and_charged_when_it_ends(door):
    await run_db(a_provider)
    call = await run_db(a_call, "[[sim:tokens=40 delay=20]]", max_output_tokens=1_000)
    async with aclosing(gateway.stream(call)) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, Text):
                _, held = await _purse(call)
                break
    hold = await run_db(Hold.objects.get)
    assert held == hold.amount
    # The input as expected plus ten percent, since the wallet is rich beside this call.
    assert hold.amount < Decimal("0.003")
    assert hold.amount > 1_000 * OUTPUT
    assert await settling.finished(within_s=5)
    (event,) = await run_db(events_of, call)
    assert await _purse(call) == (5 - event.billed_cost, 0)


async def test_the_exact_cost_moves_between_the_exact_accounts(door):
    await run_db(a_provider)
    call = await run_db(a_call, "hello there")
    answer = await told(gateway.stream(call))
    (event,) = await run_db(events_of, call)
    cost = event.tokens_input * INPUT + event.tokens_output * OUTPUT
    assert (event.billed_cost, answer.usage.cost_usd) == (cost, f"{cost:.12f}")
    txn_id = event.txn_id
    assert txn_id is not None
    txn = await run_db(lambda: LedgerTxn.objects.get(pk=txn_id))
    legs = await run_db(lambda: dict(txn.entries.values_list("account__kind", "amount")))
    assert legs == {
        "wallet_promo": -cost,
        "revenue_usage": cost,
        "provider_cogs": -cost,
        "provider_payable:openai_compatible": cost,
    }
    assert txn.idempotency_key == f"settle:{event.hold_id}"
    assert await _purse(call) == (5 - cost, 0)


async def test_without_money_nothing_leaves(door):
    await run_db(a_provider)
    call = await run_db(a_call, max_output_tokens=10)
    await run_db(_limit_wallet, call, "0.00001")
    answer = await told(gateway.stream(call))
    assert type(answer.error) is InsufficientCredits
    assert answer.chunks == []
    assert door.ledger() == []
    assert await run_db(events_of, call) == []
    assert await _purse(call) == (Decimal("0.00001"), 0)


async def test_embeddings_reserve_and_pay_too(door):
    await run_db(a_provider)
    call = await run_db(an_embed_call, "one", "two")
    answer = await gateway.embed(call)
    (event,) = await run_db(events_of, call)
    assert answer.cost_usd == f"{event.billed_cost:f}"
    assert await _purse(call) == (5 - event.billed_cost, 0)
    poor = await run_db(an_embed_call, "one")
    await run_db(_limit_wallet, poor, "0")
    with pytest.raises(InsufficientCredits):
        await gateway.embed(poor)


async def test_a_model_without_a_price_is_refused_before_anything_is_held(door):
    await run_db(a_provider, models=("mystery",))
    call = await run_db(a_call, model="mystery")
    assert type((await told(gateway.stream(call))).error) is ModelUnpriced
    assert not await run_db(Hold.objects.exists)


async def test_an_answer_that_outruns_its_wallet_is_cut_off_mid_stream(door):
    await run_db(a_provider)
    door.script("long", {"text": "word " * 8_000})
    call = await run_db(a_call, "[[sim:long]]")
    await run_db(_limit_wallet, call, "0.0095")
    answer = await told(gateway.stream(call))
    assert type(answer.error) is InsufficientCredits
    assert answer.error.extra["limit_source"] == "wallet"
    assert answer.stop == StopReason.BUDGET
    assert answer.usage.is_estimated
    assert 0 < len(answer.text) < 40_000
    (event,) = await run_db(events_of, call)
    assert (event.outcome, event.accuracy, event.status) == (
        "client_cancelled",
        "estimated",
        200,
    )
    assert answer.usage.usage_event_id == event.pk
    left, held = await _purse(call)
    assert (left, held) == (Decimal("0.0095") - event.billed_cost, 0)
    assert left > 0


async def test_an_answer_with_money_behind_it_asks_for_more_and_ends_well(door):
    await run_db(a_provider)
    text = "word " * 8_000
    door.script("long", {"text": text})
    call = await run_db(a_call, "[[sim:long]]")
    answer = await told(gateway.stream(call))
    assert (answer.error, answer.text, answer.stop) == (None, text, "end")
    hold = await run_db(Hold.objects.get)
    assert hold.amount > 8_192 * OUTPUT
    assert hold.overrun == 0


async def test_a_ceiling_cuts_the_answer_where_it_would_be_passed(door):
    await run_db(a_provider)
    door.script("long", {"text": "word " * 8_000})
    call = await run_db(a_call, "[[sim:long]]", ceiling_usd="0.001")
    answer = await told(gateway.stream(call))
    assert type(answer.error) is BudgetExceeded
    assert answer.error.extra["limit_source"] == "run"
    assert answer.stop == StopReason.BUDGET
    (event,) = await run_db(events_of, call)
    assert Decimal("0.0009") < event.billed_cost < Decimal("0.00105")


async def test_a_ceiling_that_pays_for_no_token_lets_nothing_leave(door):
    await run_db(a_provider)
    call = await run_db(a_call, ceiling_usd="0")
    assert type((await told(gateway.stream(call))).error) is BudgetExceeded
    assert door.ledger() == []


async def test_a_run_s_budget_stops_it_and_another_run_goes_on(door):
    await run_db(a_provider)
    door.script("long", {"text": "word " * 8_000})
    context = await run_db(a_context, run_id=ids.new())
    call = await run_db(a_call, "[[sim:long]]", context=context)
    await run_db(_ensured, call)
    budget = await run_db(
        lambda: a_budget(_payer(call), "0.01", scope="run", scope_id="*", alert_steps=[50])
    )
    answer = await told(gateway.stream(call))
    assert type(answer.error) is BudgetExceeded
    assert answer.error.extra["limit_id"] == str(budget.pk)
    assert answer.stop == StopReason.BUDGET
    (event,) = await run_db(events_of, call)
    assert Decimal("0.005") < event.billed_cost < Decimal("0.01")
    told_of = BudgetAlert.objects.filter(period__budget=budget)
    assert await run_db(lambda: told_of.get().step) == 50
    other = msgspec.structs.replace(context, run_id=ids.new())
    again = await told(gateway.stream(await run_db(a_call, context=other)))
    assert (again.error, again.stop) == (None, "end")


async def test_a_full_budget_refuses_and_a_degrading_one_goes_on_with_its_model(door):
    await run_db(a_provider)
    call = await run_db(a_call, max_output_tokens=100)
    await run_db(_ensured, call)
    budget = await run_db(
        lambda: a_budget(_payer(call), "0.00001", scope="model_glob", scope_id="*echo")
    )
    assert type((await told(gateway.stream(call))).error) is ExceedsLimit
    assert door.ledger() == []
    await run_db(
        lambda: Budget.objects.filter(pk=budget.pk).update(
            on_hard="degrade", degrade_to="sim-coder"
        )
    )
    answer = await told(gateway.stream(call))
    assert answer.error is None
    assert answer.started.model == "sim-coder"


def _ensured(call: Call) -> None:
    customers.ensure([call.context.organization_id])


async def test_a_refusal_costs_nothing_and_holds_nothing(door):
    await run_db(a_provider)
    for status in (400, 401, 429, 500):
        call = await run_db(a_call, f"[[sim:status={status}]] hello")
        assert (await told(gateway.stream(call))).error is not None
        assert await settling.finished(within_s=5)
        assert {event.billed_cost for event in await run_db(events_of, call)} <= {Decimal(0)}
        assert await _purse(call) == (5, 0)
        await run_db(_well_again)


def _well_again() -> None:
    ProviderHealth.objects.all().delete()
    health.forget()


async def test_a_call_that_never_answered_is_our_loss(door):
    await run_db(a_provider, config=HASTY)
    call = await run_db(a_call, "[[sim:first=5000]]", deadline_s=0.6)
    await told(gateway.stream(call))
    assert await settling.finished(within_s=5)
    for event in await run_db(events_of, call):
        assert (event.status, event.outcome, event.billed_cost) == (0, "timeout", 0)
        assert event.estimated_cost == event.tokens_input * INPUT
    assert await _purse(call) == (5, 0)


async def test_an_answer_cut_by_the_vendor_is_charged_as_estimated(door):
    await run_db(a_provider)
    door.script("cut", {"text": "word " * 40, "cut_after_tokens": 10})
    call = await run_db(a_call, "[[sim:cut]]")
    await told(gateway.stream(call))
    (event,) = await run_db(events_of, call)
    assert (event.outcome, event.accuracy) == ("provider_error", "estimated")
    expected = event.tokens_input * INPUT + event.tokens_output * OUTPUT
    assert event.billed_cost == expected > 0
    assert await _purse(call) == (5 - expected, 0)


@pytest.mark.parametrize("after", [1, 5, 20])
async def test_a_client_that_goes_at_any_chunk_is_charged_for_what_was_written(door, after):
    await run_db(a_provider)
    call = await run_db(a_call, "[[sim:tokens=60 delay=2]]")
    seen = 0
    async with aclosing(gateway.stream(call)) as chunks:
        async for chunk in chunks:
            seen += isinstance(chunk, Text)
            if seen == after:
                break
    assert await settling.finished(within_s=5)
    (event,) = await run_db(events_of, call)
    assert (event.outcome, event.status, event.accuracy) == ("client_cancelled", 499, "estimated")
    assert await _purse(call) == (5 - event.billed_cost, 0)


async def test_a_runner_that_leaves_while_it_is_admitted_gets_its_money_back(door):
    await run_db(a_provider)
    call = await run_db(a_call)
    reading = asyncio.create_task(told(gateway.stream(call)))
    await eventually_async(lambda: run_db(Hold.objects.exists))
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert await settling.finished(within_s=5)
    states = await run_db(lambda: set(Hold.objects.values_list("state", flat=True)))
    assert states <= {"voided", "settled"}
    assert (await _purse(call))[1] == 0


async def test_an_unforeseen_fault_before_the_call_leaves_gives_its_money_back(door):
    await run_db(a_provider)
    call = await run_db(a_call)
    with failpoints.armed("reserved:raise"), pytest.raises(FailpointRaised):
        await told(gateway.stream(call))
    assert await settling.finished(within_s=5)
    hold = await run_db(Hold.objects.get, request_id=call.request_id)
    assert (hold.state, await _purse(call)) == ("voided", (5, 0))
    assert (door.ledger(), await run_db(events_of, call)) == ([], [])


async def test_a_fault_before_the_settlement_is_charged_by_the_sweep_alone(door):
    await run_db(a_provider)
    call = await run_db(a_call)
    with failpoints.armed("before_settle:raise"), pytest.raises(FailpointRaised):
        await told(gateway.stream(call))
    assert (await _purse(call))[1] > 0
    await run_db(lambda: Hold.objects.update(expires_at="2020-01-01T00:00Z"))
    assert await run_db(holds.sweep) == 1
    (event,) = await run_db(events_of, call)
    assert event.outcome == "crash_recovered"
    assert await _purse(call) == (5 - event.billed_cost, 0)
