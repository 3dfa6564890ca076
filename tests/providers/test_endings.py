"""However a call ends, its price is the documented one, to the last decimal.

What a vendor did not count is estimated by the ratios that the call's hold keeps; here the same is
done once more with rational numbers.
"""

from __future__ import annotations

from contextlib import aclosing
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from billing.models import Hold, UsageEvent
from billing.services import verification
from ideplatform.kit.db import run_db
from providers.services import gateway, settling
from providers.types import Call, Text
from tests.providers.builders import a_call, a_provider, events_of, told

INPUT, OUTPUT = Fraction("0.000001"), Fraction("0.000002")
WORD = "word "
HASTY = {"timeouts": {"first_byte_s": 0.4, "idle_s": 0.4, "reasoning_first_byte_s": 0.4}}


@pytest.fixture
async def door(paid_door):
    """The paid door; when a test is over no money is unaccounted for."""
    yield paid_door
    assert await settling.finished(within_s=10)
    assert await run_db(verification.breaches) == []


async def _the_event(call: Call) -> UsageEvent:
    assert await settling.finished(within_s=5)
    (event,) = await run_db(events_of, call)
    return event


def _ended(event: UsageEvent) -> tuple[Any, ...]:
    return event.outcome, event.status, event.accuracy


def _estimate(call: Call, text: str) -> Decimal:
    """The prompt and an answer of so much text by the ratios of the call's hold, in USD."""
    hold = Hold.objects.get(request_id=call.request_id)
    incoming = max(1, round(hold.input_bytes * Fraction(hold.input_ratio)))
    outgoing = round(len(text.encode()) * Fraction(hold.output_ratio))
    cost = incoming * INPUT + outgoing * OUTPUT
    return Decimal(cost.numerator) / Decimal(cost.denominator)


@pytest.mark.parametrize("words", [0, 1, 2, 9, 39])
async def test_a_client_that_goes_pays_for_what_was_written(door, words):
    await run_db(a_provider)
    door.script("long", {"text": WORD * 40, "token_delay_ms": 1})
    call = await run_db(a_call, "[[sim:long]]")
    seen = ""
    async with aclosing(gateway.stream(call)) as chunks:
        async for chunk in chunks:
            seen += chunk.text if isinstance(chunk, Text) else ""
            if seen.count(WORD) >= words:
                break
    event = await _the_event(call)
    assert _ended(event) == ("client_cancelled", 499, "estimated")
    # Nothing is given out before the first word has come: who goes at once has caused it.
    assert event.billed_cost == await run_db(_estimate, call, seen or WORD)


async def test_an_answer_without_usage_costs_what_it_probably_used(door):
    await run_db(a_provider)
    call = await run_db(a_call, "[[sim:tokens=30 no_usage=1]]")
    answer = await told(gateway.stream(call))
    event = await _the_event(call)
    assert _ended(event) == ("ok", 200, "estimated")
    cost = await run_db(_estimate, call, answer.text)
    assert (event.billed_cost, answer.usage.cost_usd) == (cost, f"{cost:.12f}")


async def test_an_answer_that_the_vendor_cut_costs_what_came(door):
    await run_db(a_provider)
    door.script("cut", {"text": WORD * 40, "cut_after_tokens": 10})
    call = await run_db(a_call, "[[sim:cut]]")
    answer = await told(gateway.stream(call))
    event = await _the_event(call)
    assert _ended(event) == ("provider_error", 200, "estimated")
    assert len(answer.text) > 0
    assert event.billed_cost == await run_db(_estimate, call, answer.text)


@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
async def test_a_refusal_costs_nothing_at_all(door, status):
    await run_db(a_provider)
    call = await run_db(a_call, f"[[sim:status={status}]] hello")
    assert (await told(gateway.stream(call))).error is not None
    assert await settling.finished(within_s=5)
    events = await run_db(events_of, call)
    assert {(e.status, e.outcome, e.accuracy) for e in events} == {
        (status, "provider_error", "exact")
    }
    assert {(e.estimated_cost, e.billed_cost, e.txn_id) for e in events} == {(0, 0, None)}
    assert [e.attempt for e in events] == list(range(1, len(events) + 1))


async def test_a_vendor_that_never_answered_is_paid_by_us(door):
    await run_db(a_provider, config=HASTY)
    call = await run_db(a_call, "[[sim:first=5000]]", deadline_s=0.6)
    await told(gateway.stream(call))
    assert await settling.finished(within_s=5)
    for event in await run_db(events_of, call):
        assert _ended(event) == ("timeout", 0, "estimated")
        hold = await run_db(Hold.objects.get, pk=event.hold_id)
        incoming = max(1, round(hold.input_bytes * Fraction(hold.input_ratio)))
        assert (Fraction(event.estimated_cost), event.billed_cost) == (incoming * INPUT, 0)
