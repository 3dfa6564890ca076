"""What a vendor can do wrong, and the one documented way in which each fault ends."""

from __future__ import annotations

import time

import pytest

from billing.models import Hold
from ideplatform.kit.db import run_db
from ideplatform.kit.egress import AnswerBroken, AnswerTimeout, AnswerTooLarge, NotReachable
from providers.errors import (
    AccessDenied,
    BadKey,
    CallRefused,
    ModelMissing,
    NoCredit,
    NoReadyTarget,
    Overloaded,
    RateLimited,
    VendorBroken,
)
from providers.services import gateway
from providers.services.access import Home
from providers.types import ProviderScope
from tests.providers.builders import a_call, a_provider, an_embed_call, events_of, told

KINDS = ["openai", "openai_compatible", "anthropic", "google"]
HASTY = {"timeouts": {"first_byte_s": 0.4, "idle_s": 0.4}}
LONG = " ".join(f"word{n}" for n in range(40))


async def _facts(call):
    events = await run_db(events_of, call)
    states = await run_db(lambda: set(Hold.objects.values_list("state", flat=True)))
    assert states <= {"settled"}
    return [(e.attempt, e.status, str(e.outcome), str(e.accuracy)) for e in events]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, CallRefused),
        (403, AccessDenied),
        (404, ModelMissing),
        (429, RateLimited),
    ],
)
async def test_a_refusal_is_final_free_and_recorded_once(paid_door, kind, status, error):
    await run_db(a_provider, kind)
    call = await run_db(a_call, f"[[sim:status={status}]] hello")
    answer = await told(gateway.stream(call))
    assert type(answer.error) is error
    assert answer.chunks == []
    assert await _facts(call) == [(1, status, "provider_error", "exact")]
    (event,) = await run_db(events_of, call)
    assert (event.quantities, event.estimated_cost, event.billed_cost) == ({}, 0, 0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("key", "error"), [("bad-key-0123456789", BadKey), ("poor-key-0123456789", NoCredit)]
)
async def test_a_key_that_is_refused_is_told_apart(paid_door, kind, key, error):
    await run_db(a_provider, kind, key=key)
    call = await run_db(a_call)
    answer = await told(gateway.stream(call))
    assert type(answer.error) in (error, BadKey, CallRefused, RateLimited, NoCredit)
    again = await told(gateway.stream(await run_db(a_call)))
    assert again.chunks == []


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("status", "error"), [(500, VendorBroken), (503, Overloaded)])
async def test_a_failing_vendor_is_asked_three_times(paid_door, kind, status, error):
    await run_db(a_provider, kind)
    call = await run_db(a_call, f"[[sim:status={status}]] hello")
    answer = await told(gateway.stream(call))
    assert type(answer.error) is error
    assert await _facts(call) == [
        (attempt, status, "provider_error", "exact") for attempt in (1, 2, 3)
    ]
    assert [row["attempt"] for row in paid_door.ledger()] == ["1", "2", "3"]


@pytest.mark.parametrize("kind", KINDS)
async def test_a_second_try_answers(paid_door, kind):
    await run_db(a_provider, kind)
    paid_door.script("flaky", {"status": 500}, {"text": "Back again."}, by="counter")
    call = await run_db(a_call, "[[sim:flaky]]")
    answer = await told(gateway.stream(call))
    assert answer.error is None
    assert answer.text == "Back again."
    assert await _facts(call) == [(1, 500, "provider_error", "exact"), (2, 200, "ok", "exact")]


async def test_a_short_rate_limit_is_waited_for(paid_door):
    await run_db(a_provider)
    paid_door.script("busy", {"status": 429, "retry_after": 0.1}, {"text": "Now."}, by="counter")
    call = await run_db(a_call, "[[sim:busy]]")
    answer = await told(gateway.stream(call))
    assert answer.text == "Now."
    assert await _facts(call) == [(1, 429, "provider_error", "exact"), (2, 200, "ok", "exact")]


async def test_a_long_rate_limit_is_told_and_cools_the_account_down(paid_door):
    await run_db(a_provider)
    call = await run_db(a_call, "[[sim:status=429 retry_after=40]]")
    answer = await told(gateway.stream(call))
    assert type(answer.error) is RateLimited
    assert answer.error.retry_after_s == 40
    refused = await told(gateway.stream(await run_db(a_call)))
    assert isinstance(refused.error, NoReadyTarget)
    assert refused.error.extra["targets"] == [{"model": "sim-echo", "reason": "cooling_down"}]
    assert len(paid_door.ledger()) == 1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("turn", "error"),
    [
        ({"cut_after_tokens": 5}, AnswerBroken),
        ({"malformed_at": 5}, AnswerBroken),
        ({"hang_at": 5}, AnswerTimeout),
        ({"error_at": 5}, (Overloaded, VendorBroken)),
    ],
)
async def test_a_fault_after_the_first_token_is_final(paid_door, kind, turn, error):
    await run_db(a_provider, kind, config=HASTY)
    await run_db(a_provider, kind)
    paid_door.script("broken", {"text": LONG} | turn)
    call = await run_db(a_call, "[[sim:broken]]")
    answer = await told(gateway.stream(call))
    assert isinstance(answer.error, error)
    assert answer.text != ""
    assert LONG.startswith(answer.text)
    outcome = "timeout" if error is AnswerTimeout else "provider_error"
    assert await _facts(call) == [(1, 200, outcome, "estimated")]
    (event,) = await run_db(events_of, call)
    assert event.estimated_cost > 0


@pytest.mark.parametrize("kind", KINDS)
async def test_a_stream_cut_before_its_first_token_falls_back(paid_door, kind):
    await run_db(a_provider, kind)
    paid_door.script("early", {"text": LONG, "cut_after_tokens": 0}, {"text": "ok"}, by="counter")
    call = await run_db(a_call, "[[sim:early]]")
    answer = await told(gateway.stream(call))
    assert answer.error is None
    assert answer.text == "ok"
    facts = await _facts(call)
    assert facts[0][2:] == ("provider_error", "estimated")
    assert facts[1] == (2, 200, "ok", "exact")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_silent_vendor_is_left_after_the_first_byte_deadline(paid_door, kind):
    await run_db(a_provider, kind, config=HASTY)
    call = await run_db(a_call, "[[sim:first=5000]]", deadline_s=3.0)
    started = time.monotonic()
    answer = await told(gateway.stream(call))
    assert type(answer.error) is AnswerTimeout
    assert time.monotonic() - started < 3.5
    facts = await _facts(call)
    assert facts[0] == (1, 0, "timeout", "estimated")


@pytest.mark.parametrize("kind", KINDS)
async def test_a_giant_line_ends_the_answer(paid_door, kind):
    await run_db(a_provider, kind)
    paid_door.script("giant", {"text": "hello", "giant_line": 3 * 2**20})
    call = await run_db(a_call, "[[sim:giant]]")
    answer = await told(gateway.stream(call))
    assert type(answer.error) is AnswerTooLarge


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "turn",
    [
        {"split_utf8": True, "crlf": True, "comments": True},
        {"cumulative_usage": True},
        {"no_done": True},
    ],
)
async def test_odd_but_legal_streams_are_read(paid_door, kind, turn):
    await run_db(a_provider, kind)
    text = "Olá, 世界! 🌍 até já"
    paid_door.script("odd", {"text": text} | turn)
    call = await run_db(a_call, "[[sim:odd]]")
    answer = await told(gateway.stream(call))
    assert answer.error is None
    assert answer.text == text
    (event,) = await run_db(events_of, call)
    (row,) = paid_door.ledger()
    assert event.accuracy == "exact"
    assert event.tokens_output == row["tokens"]["output"]


@pytest.mark.parametrize("kind", KINDS)
async def test_without_usage_the_call_is_estimated_and_marked(paid_door, kind):
    await run_db(a_provider, kind)
    call = await run_db(a_call, "[[sim:tokens=30 no_usage=1]]")
    answer = await told(gateway.stream(call))
    assert answer.error is None
    (event,) = await run_db(events_of, call)
    assert (event.outcome, event.accuracy) == ("ok", "estimated")
    assert answer.usage.is_estimated
    assert event.tokens_output > 0


@pytest.mark.parametrize("kind", KINDS)
async def test_an_explicit_zero_stays_zero(paid_door, kind):
    await run_db(a_provider, kind)
    paid_door.script("free", {"text": "for free", "usage": {}})
    call = await run_db(a_call, "[[sim:free]]")
    answer = await told(gateway.stream(call))
    assert answer.error is None
    (event,) = await run_db(events_of, call)
    assert (event.accuracy, event.tokens_input, event.tokens_output) == ("exact", 0, 0)
    assert answer.usage.cost_usd == "0.000000000000"


async def test_an_alias_falls_back_to_its_next_target_before_the_first_token(paid_door):
    await run_db(a_provider, "anthropic", slug="first", key="sk-first-key:down")
    await run_db(a_provider, "openai", slug="second", key="sk-second-key:up")
    paid_door.script("down", {"status": 529})
    paid_door.script("up", {"text": "From the second."})
    await run_db(_alias, "team/any", ["first/sim-echo", "second/sim-echo"])
    call = await run_db(a_call, model="team/any")
    answer = await told(gateway.stream(call))
    assert answer.error is None
    assert answer.text == "From the second."
    assert answer.started.provider == "second"
    assert await _facts(call) == [
        (1, 529, "provider_error", "exact"),
        (2, 529, "provider_error", "exact"),
        (3, 529, "provider_error", "exact"),
        (4, 200, "ok", "exact"),
    ]


async def test_a_caller_s_mistake_goes_to_no_other_account(paid_door):
    await run_db(a_provider, "anthropic", slug="first")
    await run_db(a_provider, "openai", slug="second")
    await run_db(_alias, "team/any", ["first/sim-echo", "second/sim-echo"])
    call = await run_db(a_call, "[[sim:status=400]]", model="team/any")
    answer = await told(gateway.stream(call))
    assert type(answer.error) is CallRefused
    assert len(paid_door.ledger()) == 1


async def test_a_closed_address_is_not_reachable_and_free(paid_door):
    await run_db(a_provider, config={"base_url": "http://localhost:9/v1"})
    call = await run_db(a_call)
    answer = await told(gateway.stream(call))
    assert type(answer.error) is NotReachable
    assert {fact[1:] for fact in await _facts(call)} == {(0, "provider_error", "exact")}


@pytest.mark.parametrize("kind", ["openai", "google"])
async def test_embeddings_that_fail_are_recorded_too(paid_door, kind):
    await run_db(a_provider, kind)
    call = await run_db(an_embed_call, "[[sim:status=400]]")
    with pytest.raises(CallRefused):
        await gateway.embed(call)
    assert await _facts(call) == [(1, 400, "provider_error", "exact")]


def _alias(name, targets):
    from providers.services import aliases

    content = aliases.Content(targets=targets)
    aliases.write(
        name=name, home=Home(scope=ProviderScope.PLATFORM), content=content, owner_id=None
    )
