"""Unmodified clients through the gateway: what they read, and what they are billed."""

from __future__ import annotations

import pytest

from tests.providers.builders import a_provider
from tests.providers.gateway.clients import Door, a_chat, a_message, price_of

KINDS = ["openai", "openai_compatible", "anthropic", "google"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_openai_sdk_streams_a_chat(door: Door, kind: str):
    a_provider(kind)
    stream = door.openai.chat.completions.create(
        model="sim-echo", messages=[{"role": "user", "content": "hello there"}], stream=True
    )
    chunks = list(stream)
    text = "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert text == "Echo: hello there"
    (event,) = door.events()
    (row,) = door.vendor.ledger()
    assert event.tokens_input == row["tokens"]["input"]
    assert event.tokens_output == row["tokens"]["output"]
    assert event.billed_cost == price_of(event)
    usage = chunks[-1].usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens) == (
        event.tokens_input,
        event.tokens_output,
    )
    assert usage.model_extra is not None
    assert usage.model_extra["cost"] == f"{event.billed_cost:f}"
    assert door.holds() == {"settled"}


@pytest.mark.parametrize("kind", KINDS)
def test_the_anthropic_sdk_streams_a_message(door: Door, kind: str):
    a_provider(kind)
    with door.anthropic.messages.stream(
        model="sim-echo", max_tokens=1_000, messages=[{"role": "user", "content": "hello there"}]
    ) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == "Echo: hello there"
    assert final.stop_reason == "end_turn"
    (event,) = door.events()
    assert (final.usage.input_tokens, final.usage.output_tokens) == (
        event.tokens_input,
        event.tokens_output,
    )
    assert event.billed_cost == price_of(event)


@pytest.mark.parametrize("kind", KINDS)
def test_whole_answers(door: Door, kind: str):
    a_provider(kind)
    chat = door.send("POST", "/v1/chat/completions", a_chat())
    assert chat.status == 200, chat.body
    assert chat.json()["choices"][0]["message"]["content"] == "Echo: hello there"
    message = door.send("POST", "/v1/messages?beta=true", a_message())
    assert message.status == 200, message.body
    assert message.json()["content"][0]["text"] == "Echo: hello there"
    assert [event.outcome for event in door.events()] == ["ok", "ok"]
    assert chat.headers["x-mundial-model"] == "sim-echo"
    assert len(chat.headers["x-request-id"]) == 36
