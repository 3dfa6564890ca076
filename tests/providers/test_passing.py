"""A client's own dialect through the paid door: passed on whole, counted and billed exactly."""

from __future__ import annotations

from decimal import Decimal

import pytest

from ideplatform.kit.db import run_db
from ideplatform.kit.egress import AnswerBroken
from providers.services import gateway
from providers.types import Answered, DialectName, Passed, Text, Usage
from tests.providers.adapters.asking import as_sent, passed
from tests.providers.adapters.recordings import asking, recorded
from tests.providers.builders import a_call, a_provider, events_of, told

ALIKE = [
    ("openai", {}, DialectName.CHAT, "chat"),
    ("openai_compatible", {}, DialectName.CHAT, "chat"),
    ("openai", {"api": "responses"}, DialectName.RESPONSES, "responses"),
    ("anthropic", {}, DialectName.MESSAGES, "anthropic"),
]


@pytest.mark.parametrize(("kind", "config", "dialect", "wire"), ALIKE)
async def test_what_is_passed_on_is_billed_exactly(paid_door, kind, config, dialect, wire):
    await run_db(a_provider, kind, config=config)
    source = as_sent(dialect, asking(wire, "hello there"))
    call = await run_db(a_call, "hello there", source=source)
    answer = await told(gateway.stream(call))
    assert answer.error is None
    (sent,) = paid_door.bodies()
    (row,) = paid_door.ledger()
    assert passed(answer) == recorded(paid_door.url, wire, sent.encode())
    (event,) = await run_db(events_of, call)
    assert event.tokens_input == row["tokens"]["input"]
    assert event.tokens_output == row["tokens"]["output"]
    expected = event.tokens_input * Decimal("0.000001") + event.tokens_output * Decimal("0.000002")
    assert event.estimated_cost == expected
    assert answer.usage.cost_usd == f"{event.estimated_cost:f}"
    assert (event.accuracy, event.outcome, event.status) == ("exact", "ok", 200)


async def test_the_ending_comes_before_the_price_and_the_stop_last(paid_door):
    await run_db(a_provider)
    source = as_sent(DialectName.CHAT, asking("chat", "hello"))
    answer = await told(gateway.stream(await run_db(a_call, source=source)))
    ending, answered, usage, stop = answer.chunks[-4:]
    assert isinstance(ending, Passed)
    assert ending.is_ending
    assert isinstance(answered, Answered)
    assert isinstance(usage, Usage)
    assert stop is answer.chunks[-1]


@pytest.mark.parametrize(("kind", "config", "dialect", "wire"), ALIKE)
async def test_a_cut_answer_is_billed_by_its_size(paid_door, kind, config, dialect, wire):
    await run_db(a_provider, kind, config=config)
    prompt = "[[sim:tokens=40 cut=8]]"
    call = await run_db(a_call, prompt, source=as_sent(dialect, asking(wire, prompt)))
    answer = await told(gateway.stream(call))
    assert isinstance(answer.error, AnswerBroken)
    written = sum(chunk.size for chunk in answer.of(Passed))
    (event,) = await run_db(events_of, call)
    assert (event.accuracy, event.outcome) == ("estimated", "provider_error")
    assert event.tokens_output == round(written * 0.25)


async def test_a_vendor_that_fails_before_content_is_replaced(paid_door):
    await run_db(a_provider, "anthropic", slug="first", priority=5)
    await run_db(a_provider, "openai", slug="second")
    paid_door.script("turn", {"text": "hello", "error_at": 0})
    body = asking("anthropic", "[[sim:turn]] hi")
    source = as_sent(DialectName.MESSAGES, body)
    call = await run_db(a_call, "from another vendor", source=source)
    answer = await told(gateway.stream(call))
    assert answer.error is None
    assert answer.started.provider == "second"
    assert answer.of(Passed) == []
    assert "".join(chunk.text for chunk in answer.of(Text)) == "Echo: from another vendor"


async def test_what_was_dropped_is_told_at_the_start(paid_door):
    await run_db(a_provider, "openai", config={"api": "responses"})
    answer = await told(gateway.stream(await run_db(a_call, stop=("END",))))
    assert answer.started.dropped == ("stop",)
