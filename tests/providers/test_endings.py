"""However a call ends, at whatever vendor, its price is the documented one, to the last decimal.

What a vendor told is what it would charge, by its own ledger; what it did not tell is estimated by
the ratios that the call's hold keeps. Here both are priced once more, with rational numbers and the
price list as it is shipped.
"""

from __future__ import annotations

import json
from contextlib import aclosing
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from billing.models import Hold, UsageEvent
from billing.services import prices, verification
from ideplatform.kit.db import run_db
from providers.services import gateway, settling
from providers.types import Call, Text
from tests.providers.builders import a_call, a_provider, events_of, told

DIALECTS = {
    "openai": ("openai", {}),
    "responses": ("openai", {"api": "responses"}),
    "compatible": ("openai_compatible", {}),
    "anthropic": ("anthropic", {}),
    "google": ("google", {}),
}
TELLS_INPUT_FIRST = ("anthropic", "google")
"""Vendors that say at the start of a stream what they have read; the others say it at the end."""
PRICES = json.loads((prices.DATA / "simulator_prices.json").read_text())["models"]
CLASSES = {
    "input": "input_cost_per_token",
    "cache_read": "cache_read_input_token_cost",
    "cache_write_5m": "cache_creation_input_token_cost",
    "output": "output_cost_per_token",
    "output_reasoning": "output_cost_per_reasoning_token",
}
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


def _price(kind: str, unit_class: str) -> Fraction:
    """USD a token, by the shipped list."""
    vendor = "gemini" if kind == "google" else kind
    return Fraction(PRICES[f"{vendor}/sim-echo"][CLASSES[unit_class]])


def _usd(cost: Fraction) -> Decimal:
    return Decimal(cost.numerator) / Decimal(cost.denominator)


def _charged(kind: str, row: dict[str, Any]) -> Decimal:
    """What the vendor's own ledger comes to."""
    used = {name: count for name, count in row["tokens"].items() if count}
    return _usd(sum((count * _price(kind, name) for name, count in used.items()), Fraction(0)))


def _incoming(hold: Hold) -> int:
    return max(1, round(hold.input_bytes * Fraction(hold.input_ratio)))


def _estimate(kind: str, call: Call, text: str, told_input: int | None) -> Decimal:
    """The prompt, as told or by its bytes, and an answer of so much text, in USD."""
    hold = Hold.objects.get(request_id=call.request_id)
    incoming = told_input or _incoming(hold)
    outgoing = round(len(text.encode()) * Fraction(hold.output_ratio))
    return _usd(incoming * _price(kind, "input") + outgoing * _price(kind, "output"))


def _told_input(kind: str, row: dict[str, Any]) -> int | None:
    return int(row["tokens"]["input"]) if kind in TELLS_INPUT_FIRST else None


@pytest.fixture(params=list(DIALECTS.values()), ids=list(DIALECTS))
def dialect(request) -> tuple[str, dict[str, Any]]:
    """A type of provider, and how its account is set up."""
    found: tuple[str, dict[str, Any]] = request.param
    return found


async def test_a_whole_answer_costs_what_the_vendor_would_charge(door, dialect):
    kind, config = dialect
    await run_db(a_provider, kind, config=config)
    call = await run_db(a_call, "[[sim:tokens=37]] hello")
    answer = await told(gateway.stream(call))
    event = await _the_event(call)
    (row,) = door.ledger()
    assert _ended(event) == ("ok", 200, "exact")
    assert row["tokens"]["output"] == 37
    assert (event.billed_cost, event.estimated_cost) == (_charged(kind, row),) * 2
    assert answer.usage.cost_usd == f"{event.billed_cost:.12f}"


async def test_every_class_that_a_vendor_tells_costs_its_own_price(door, dialect):
    kind, config = dialect
    await run_db(a_provider, kind, config=config)
    usage = {"input": 1_003, "cache_read": 411, "output": 57}
    usage |= {"cache_write_5m": 129} if kind == "anthropic" else {"output_reasoning": 23}
    door.script("rich", {"text": WORD * 5, "usage": usage})
    call = await run_db(a_call, "[[sim:rich]]")
    await told(gateway.stream(call))
    event = await _the_event(call)
    (row,) = door.ledger()
    assert _ended(event) == ("ok", 200, "exact")
    assert event.billed_cost == _charged(kind, row)
    wanted = sum((count * _price(kind, name) for name, count in usage.items()), Fraction(0))
    assert event.billed_cost == _usd(wanted)


@pytest.mark.parametrize("words", [0, 1, 2, 9, 39])
async def test_a_client_that_goes_pays_for_what_was_written(door, dialect, words):
    kind, config = dialect
    await run_db(a_provider, kind, config=config)
    door.script("long", {"text": WORD * 40, "token_delay_ms": 1})
    call = await run_db(a_call, "[[sim:long]]")
    seen = ""
    async with aclosing(gateway.stream(call)) as chunks:
        async for chunk in chunks:
            seen += chunk.text if isinstance(chunk, Text) else ""
            if seen.count(WORD) >= words:
                break
    event = await _the_event(call)
    (row,) = door.ledger()
    assert _ended(event) == ("client_cancelled", 499, "estimated")
    # Nothing is given out before the first word has come: who goes at once has caused it.
    wanted = await run_db(_estimate, kind, call, seen or WORD, _told_input(kind, row))
    assert event.billed_cost == wanted


async def test_an_answer_without_usage_costs_what_it_probably_used(door, dialect):
    kind, config = dialect
    await run_db(a_provider, kind, config=config)
    call = await run_db(a_call, "[[sim:tokens=30 no_usage=1]]")
    answer = await told(gateway.stream(call))
    event = await _the_event(call)
    assert _ended(event) == ("ok", 200, "estimated")
    cost = await run_db(_estimate, kind, call, answer.text, None)
    assert (event.billed_cost, answer.usage.cost_usd) == (cost, f"{cost:.12f}")


async def test_an_answer_that_the_vendor_cut_costs_what_came(door, dialect):
    kind, config = dialect
    await run_db(a_provider, kind, config=config)
    door.script("cut", {"text": WORD * 40, "cut_after_tokens": 10})
    call = await run_db(a_call, "[[sim:cut]]")
    answer = await told(gateway.stream(call))
    event = await _the_event(call)
    (row,) = door.ledger()
    assert _ended(event) == ("provider_error", 200, "estimated")
    assert len(answer.text) > 0
    wanted = await run_db(_estimate, kind, call, answer.text, _told_input(kind, row))
    assert event.billed_cost == wanted


@pytest.mark.parametrize("status", [400, 401, 429, 500, 503])
async def test_a_refusal_costs_nothing_at_all(door, dialect, status):
    kind, config = dialect
    await run_db(a_provider, kind, config=config)
    call = await run_db(a_call, f"[[sim:status={status}]] hello")
    assert (await told(gateway.stream(call))).error is not None
    assert await settling.finished(within_s=5)
    events = await run_db(events_of, call)
    assert {(e.status, e.outcome, e.accuracy) for e in events} == {
        (status, "provider_error", "exact")
    }
    assert {(e.estimated_cost, e.billed_cost, e.txn_id) for e in events} == {(0, 0, None)}
    assert [e.attempt for e in events] == list(range(1, len(events) + 1))
    assert {(row["outcome"], _charged(kind, row)) for row in door.ledger()} == {
        ("refused", Decimal(0))
    }
    assert len(door.ledger()) == len(events)


async def test_a_vendor_that_never_answered_is_paid_by_us(door, dialect):
    kind, config = dialect
    await run_db(a_provider, kind, config=config | HASTY)
    call = await run_db(a_call, "[[sim:first=5000]]", deadline_s=0.6)
    await told(gateway.stream(call))
    assert await settling.finished(within_s=5)
    events = await run_db(events_of, call)
    assert events
    for event in events:
        assert _ended(event) == ("timeout", 0, "estimated")
        hold = await run_db(Hold.objects.get, pk=event.hold_id)
        ours = _incoming(hold) * _price(kind, "input")
        assert (Fraction(event.estimated_cost), event.billed_cost) == (ours, 0)
