"""The paid door against a real vendor on the wire: what a consumer is told, what is recorded."""

from __future__ import annotations

import asyncio
import base64
from contextlib import aclosing
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
import structlog
from django.db.models.functions import Now

from billing.errors import ModelUnpriced
from billing.models import Hold
from billing.services import holds
from billing.types import Accuracy, Outcome
from ideplatform.kit import egress, failpoints
from ideplatform.kit.db import run_db
from ideplatform.kit.failpoints import FailpointRaised
from providers.errors import CallRepeated, ModelNotFound
from providers.services import gateway
from providers.types import (
    ImagePart,
    Message,
    Reasoning,
    Text,
    TextPart,
    ThinkingPart,
    ThinkingSignature,
    ToolCall,
    ToolResultPart,
    ToolUsePart,
)
from tests.providers.builders import (
    WEATHER,
    Told,
    a_call,
    a_provider,
    an_embed_call,
    events_of,
    told,
)
from tests.waiting import eventually_async

KINDS = ["openai", "openai_compatible", "anthropic", "google"]
DIALECTS = [*[(kind, {}) for kind in KINDS], ("openai", {"api": "responses"})]
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


@pytest.mark.parametrize(("kind", "config"), DIALECTS)
async def test_an_answer_streams_and_becomes_one_exactly_priced_event(paid_door, kind, config):
    await run_db(a_provider, kind, config=config)
    call = await run_db(a_call, "hello there")
    answer = await told(gateway.stream(call))
    assert answer.error is None
    assert answer.text == "Echo: hello there"
    assert answer.started.model == "sim-echo"
    assert answer.stop == "end"
    (event,) = await run_db(events_of, call)
    (row,) = paid_door.ledger()
    assert event.tokens_input == row["tokens"]["input"]
    assert event.tokens_output == row["tokens"]["output"]
    expected = event.tokens_input * Decimal("0.000001") + event.tokens_output * Decimal("0.000002")
    assert event.estimated_cost == expected
    assert answer.usage.cost_usd == f"{event.estimated_cost:f}"
    assert answer.usage.usage_event_id == event.pk
    assert (event.accuracy, event.outcome, event.status) == ("exact", "ok", 200)
    assert (row["request_id"], row["attempt"]) == (str(call.request_id), "1")
    assert await run_db(lambda: Hold.objects.get().state) == "settled"


@pytest.mark.parametrize(("kind", "config"), DIALECTS)
async def test_parallel_tool_calls_keep_their_names_and_arguments(paid_door, kind, config):
    await run_db(a_provider, kind, config=config)
    paid_door.script(
        "two",
        {
            "tool_calls": [
                {"name": "get_weather", "arguments": {"city": "São Paulo"}},
                {"name": "get_weather", "arguments": {"city": "Ōsaka"}},
            ]
        },
        {"text": "Warm in both."},
    )
    call = await run_db(a_call, "[[sim:two]] weather?", tools=(WEATHER,))
    asked = await told(gateway.stream(call))
    assert asked.error is None
    assert [(name, msgspec.json.decode(text)) for _, name, text in asked.calls] == [
        ("get_weather", {"city": "São Paulo"}),
        ("get_weather", {"city": "Ōsaka"}),
    ]
    assert asked.stop == "tool_calls"
    uses = tuple(
        ToolUsePart(id=one, name=name, arguments=text, signature=_signature(asked, one))
        for one, name, text in asked.calls
    )
    results = tuple(ToolResultPart(tool_use_id=one, text="21 °C") for one, _, _ in asked.calls)
    history = (
        *call.messages,
        Message(role="assistant", parts=uses),
        Message(role="tool", parts=results),
    )
    second = await run_db(a_call, context=call.context, messages=history, tools=(WEATHER,))
    answer = await told(gateway.stream(second))
    assert answer.error is None
    assert answer.text == "Warm in both."


@pytest.mark.parametrize(
    ("kind", "config"), [("anthropic", {}), ("google", {}), ("openai", {"api": "responses"})]
)
async def test_signed_thinking_goes_back_with_the_tool_result(paid_door, kind, config):
    await run_db(a_provider, kind, config=config)
    paid_door.script(
        "think",
        {
            "thinking": "Rain is likely.",
            "tool_calls": [{"name": "get_weather", "arguments": {"city": "Recife"}}],
        },
        {"text": "Take an umbrella."},
    )
    thinks: dict[str, Any] = {
        "reasoning": Reasoning(level="low"),
        "max_output_tokens": 8_000,
        "tools": (WEATHER,),
    }
    call = await run_db(a_call, "[[sim:think]] weather?", **thinks)
    asked = await told(gateway.stream(call))
    assert asked.error is None
    assert asked.thinking == "Rain is likely."
    signature = "".join(chunk.signature for chunk in asked.of(ThinkingSignature))
    ((call_id, name, arguments),) = asked.calls
    use = ToolUsePart(
        id=call_id, name=name, arguments=arguments, signature=_signature(asked, call_id)
    )
    history = (
        *call.messages,
        Message(
            role="assistant", parts=(ThinkingPart(text=asked.thinking, signature=signature), use)
        ),
        Message(role="tool", parts=(ToolResultPart(tool_use_id=call_id, text="rain"),)),
    )
    second = await run_db(a_call, context=call.context, messages=history, **thinks)
    answer = await told(gateway.stream(second))
    assert answer.error is None
    assert answer.text == "Take an umbrella."
    sent = msgspec.json.encode(paid_door.requests()[-1]["body"]).decode()
    assert (signature.partition("#")[2] or signature or use.signature) in sent


async def test_anthropic_thinks_not_when_the_signed_thought_is_lost(paid_door):
    await run_db(a_provider, "anthropic")
    use = ToolUsePart(id="toolu_1", name="get_weather", arguments='{"city":"Recife"}')
    history = (
        Message(role="user", parts=(TextPart(text="weather?"),)),
        Message(role="assistant", parts=(use,)),
        Message(role="tool", parts=(ToolResultPart(tool_use_id="toolu_1", text="rain"),)),
    )
    call = await run_db(
        a_call,
        messages=history,
        tools=(WEATHER,),
        reasoning=Reasoning(level="high"),
        max_output_tokens=40_000,
    )
    answer = await told(gateway.stream(call))
    assert answer.error is None
    assert "thinking" not in paid_door.requests()[-1]["body"]


@pytest.mark.parametrize(("kind", "config"), DIALECTS)
async def test_system_words_images_and_sampling_reach_the_vendor(paid_door, kind, config):
    await run_db(a_provider, kind, config=config)
    parts = (TextPart(text="what is this?"), ImagePart(media_type="image/png", data=PNG))
    call = await run_db(
        a_call,
        messages=(Message(role="user", parts=parts),),
        system="Answer briefly.",
        temperature=0.5,
        max_output_tokens=50,
    )
    answer = await told(gateway.stream(call))
    assert answer.error is None
    sent = msgspec.json.encode(paid_door.requests()[-1]["body"]).decode()
    assert "Answer briefly." in sent
    assert PNG in sent
    assert "0.5" in sent
    assert "50" in sent


@pytest.mark.parametrize("kind", ["openai", "openai_compatible", "google"])
async def test_embeddings_come_in_order_and_are_metered(paid_door, kind):
    await run_db(a_provider, kind)
    call = await run_db(an_embed_call, "one two", "three", "one two", dimensions=64)
    answer = await gateway.embed(call)
    first, second, third = answer.vectors
    assert len(first) == 64
    assert first == third
    assert first != second
    (event,) = await run_db(events_of, call)
    assert (event.operation, event.outcome) == ("embed", "ok")
    assert answer.cost_usd == f"{event.estimated_cost:f}"
    assert event.tokens_output == 0


async def test_a_consumer_that_goes_away_ends_the_vendor_and_is_billed_as_estimated(paid_door):
    await run_db(a_provider)
    call = await run_db(a_call, "[[sim:tokens=5000 delay=2]]")
    async with aclosing(gateway.stream(call)) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, Text):
                break
    (event,) = await run_db(events_of, call)
    assert (event.accuracy, event.outcome, event.status) == ("estimated", "client_cancelled", 499)
    assert 0 < event.tokens_output < 500
    assert event.estimated_cost > 0

    async def _vendor_stopped():
        return paid_door.ledger()[0]["outcome"] == "client_gone"

    await eventually_async(_vendor_stopped)


async def test_a_cancelled_task_is_settled_all_the_same(paid_door):
    await run_db(a_provider)
    call = await run_db(a_call, "[[sim:tokens=5000 delay=2]]")
    begun = asyncio.Event()

    async def _consume():
        async for _ in gateway.stream(call):
            begun.set()

    task = asyncio.create_task(_consume())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    async def _settled():
        return await run_db(events_of, call)

    (event,) = await eventually_async(_settled)
    assert event.outcome == Outcome.CLIENT_CANCELLED
    assert event.accuracy == Accuracy.ESTIMATED
    assert await run_db(lambda: Hold.objects.get().state) == "settled"


async def test_the_same_request_never_leaves_twice(paid_door):
    await run_db(a_provider)
    call = await run_db(a_call)
    await told(gateway.stream(call))
    again = await told(gateway.stream(call))
    assert isinstance(again.error, CallRepeated)
    assert again.chunks == []
    assert len(paid_door.ledger()) == 1
    assert len(await run_db(events_of, call)) == 1


async def test_an_unpriced_model_of_the_platform_is_refused_before_dispatch(paid_door):
    await run_db(a_provider, models=("gpt-unheard-of",))
    call = await run_db(a_call, model="gpt-unheard-of")
    answer = await told(gateway.stream(call))
    assert isinstance(answer.error, ModelUnpriced)
    assert paid_door.requests() == []
    assert await run_db(events_of, call) == []
    assert await run_db(Hold.objects.count) == 0


async def test_an_unknown_model_is_not_found(paid_door):
    await run_db(a_provider)
    answer = await told(gateway.stream(await run_db(a_call, model="no-such-model")))
    assert isinstance(answer.error, ModelNotFound)


async def test_many_streams_at_once_each_have_their_event(paid_door):
    await run_db(a_provider)
    calls = [await run_db(a_call, f"[[sim:tokens=20 delay=1]] {n}") for n in range(40)]
    answers = await asyncio.gather(*(told(gateway.stream(call)) for call in calls))
    assert [answer.error for answer in answers] == [None] * 40
    for call in calls:
        (event,) = await run_db(events_of, call)
        assert event.outcome == Outcome.OK
    await egress.aclose_all()


async def test_an_unexpected_fault_of_ours_is_settled_too(paid_door):
    await run_db(a_provider)
    call = await run_db(a_call, "[[sim:tokens=50]]")
    with failpoints.armed("mid_stream:raise@3"), pytest.raises(FailpointRaised):
        await told(gateway.stream(call))
    (event,) = await run_db(events_of, call)
    assert (event.outcome, event.accuracy, event.status) == ("provider_error", "estimated", 200)
    assert event.tokens_output > 0


async def test_a_fault_before_the_settlement_is_left_to_the_sweep(paid_door):
    await run_db(a_provider)
    call = await run_db(a_call)
    with failpoints.armed("before_settle:raise"), pytest.raises(FailpointRaised):
        await told(gateway.stream(call))
    assert await run_db(events_of, call) == []
    past = Now() - timedelta(seconds=1)
    await run_db(lambda: Hold.objects.update(expires_at=past))
    assert await run_db(holds.sweep) == 1
    (event,) = await run_db(events_of, call)
    assert event.outcome == Outcome.CRASH_RECOVERED


async def test_no_key_and_no_prompt_is_ever_logged(paid_door, capfd):
    await run_db(a_provider, key="sk-key-for-logs-7777")
    prompt = "a very private question"
    with structlog.testing.capture_logs() as logs:
        await told(gateway.stream(await run_db(a_call, prompt)))
        await told(gateway.stream(await run_db(a_call, f"[[sim:status=500]] {prompt}")))
    written = repr(logs) + "".join(capfd.readouterr())
    assert "sk-key-for-logs-7777" not in written
    assert prompt not in written


async def test_an_account_at_its_limit_of_calls_is_passed_by(paid_door):
    await run_db(a_provider, slug="narrow", priority=5, config={"max_concurrency": 1})
    await run_db(a_provider, slug="wide")
    first, second = [await run_db(a_call, "[[sim:tokens=200 delay=2]]") for _ in range(2)]
    answers = await asyncio.gather(told(gateway.stream(first)), told(gateway.stream(second)))
    assert sorted(answer.started.provider for answer in answers) == ["narrow", "wide"]


def _signature(asked: Told, call_id: str) -> str:
    return next(chunk.signature for chunk in asked.of(ToolCall) if chunk.id == call_id)
