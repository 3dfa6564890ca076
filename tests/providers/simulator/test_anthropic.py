"""The official anthropic SDK against the simulator."""

from __future__ import annotations

import anthropic
import pytest

from tests.providers.simulator.conftest import anthropic_client

TOOLS = [
    {
        "name": "weather",
        "description": "The weather of a city.",
        "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
    }
]
THINKING = {"type": "enabled", "budget_tokens": 1024}
CALL = {"name": "weather", "arguments": {"city": "Olinda"}}


def ask(text: str) -> list[dict[str, object]]:
    return [{"role": "user", "content": text}]


def test_a_whole_answer(simulator):
    message = anthropic_client(simulator).messages.create(
        model="claude-sonnet-5", max_tokens=100, messages=ask("good morning")
    )
    assert message.content[0].text == "Echo: good morning"
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (5, 3)


def test_a_stream_thinks_signs_and_splits_its_usage(simulator):
    with anthropic_client(simulator).messages.stream(
        model="sim-echo", max_tokens=2000, messages=ask("good morning"), thinking=THINKING
    ) as stream:
        events = list(stream)
        final = stream.get_final_message()
    start = next(event for event in events if event.type == "message_start")
    delta = next(event for event in events if event.type == "message_delta")
    assert (start.message.usage.input_tokens, start.message.usage.output_tokens) == (5, 1)
    assert delta.usage.output_tokens == 13
    thinking, text = final.content
    assert thinking.thinking.startswith("The user wrote 2 words")
    assert thinking.signature
    assert text.text == "Echo: good morning"
    assert simulator.ledger()[0]["tokens"]["output"] == 13


def tool_round(simulator, *, thinking_block: str):
    """A tool call made while thinking, and its result sent back with the block as named."""
    simulator.script("tool", {"thinking": "let me look", "tool_calls": [CALL]}, {"text": "sunny"})
    client = anthropic_client(simulator, "sk-simulated:tool")
    options = {"model": "sim-echo", "max_tokens": 2000, "tools": TOOLS, "thinking": THINKING}
    first = client.messages.create(messages=ask("go"), **options)
    assert first.stop_reason == "tool_use"
    blocks = [block.model_dump() for block in first.content]
    use = next(block for block in blocks if block["type"] == "tool_use")
    assert use["input"] == {"city": "Olinda"}
    sent = {
        "kept": blocks,
        "dropped": blocks[1:],
        "forged": [{**blocks[0], "signature": "forged"}, *blocks[1:]],
    }[thinking_block]
    result = {"type": "tool_result", "tool_use_id": use["id"], "content": "30 C"}
    history = [
        {"role": "assistant", "content": sent},
        {"role": "user", "content": [result]},
    ]
    return client.messages.create(messages=[*ask("go"), *history], **options)


def test_signed_thinking_that_comes_back_is_accepted(simulator):
    assert tool_round(simulator, thinking_block="kept").content[-1].text == "sunny"


def test_thinking_left_out_before_a_tool_result_is_refused(simulator):
    with pytest.raises(anthropic.BadRequestError) as refused:
        tool_round(simulator, thinking_block="dropped")
    assert "must start with a thinking block" in str(refused.value)


def test_a_forged_signature_is_refused(simulator):
    with pytest.raises(anthropic.BadRequestError) as refused:
        tool_round(simulator, thinking_block="forged")
    assert "Invalid `signature` in `thinking` block" in str(refused.value)


def test_tool_input_streams_as_json_deltas(simulator):
    simulator.script("tool", {"text": "Looking.", "tool_calls": [CALL, CALL]})
    with anthropic_client(simulator, "sk-simulated:tool").messages.stream(
        model="sim-echo", max_tokens=100, messages=ask("go"), tools=TOOLS
    ) as stream:
        parts = [event.partial_json for event in stream if event.type == "input_json"]
        final = stream.get_final_message()
    assert parts == ['{"city":"Oli', 'nda"}'] * 2
    assert [block.type for block in final.content] == ["text", "tool_use", "tool_use"]
    assert final.content[1].input == {"city": "Olinda"}
    assert final.content[1].id != final.content[2].id


def test_a_scripted_usage_is_told_in_the_vendors_classes(simulator):
    usage = {"input": 10, "cache_read": 7, "cache_write_5m": 5, "cache_write_1h": 3, "output": 100}
    simulator.script("cached", {"text": "hi", "usage": usage})
    with anthropic_client(simulator, "sk-simulated:cached").messages.stream(
        model="claude-sonnet-5", max_tokens=100, messages=ask("x")
    ) as stream:
        told = stream.get_final_message().usage
    assert (told.input_tokens, told.output_tokens) == (10, 100)
    assert (told.cache_read_input_tokens, told.cache_creation_input_tokens) == (7, 8)
    assert told.cache_creation.ephemeral_5m_input_tokens == 5
    assert told.cache_creation.ephemeral_1h_input_tokens == 3


def test_tokens_are_counted_free_of_charge(simulator):
    counted = anthropic_client(simulator).messages.count_tokens(
        model="claude-sonnet-5", messages=ask("good morning world"), system="be brief"
    )
    assert counted.input_tokens == 11
    assert simulator.ledger() == []


def test_models_have_limits_and_capabilities(simulator):
    models = list(anthropic_client(simulator).models.list())
    assert [model.id for model in models][:2] == ["sim-echo", "sim-coder"]
    assert models[0].capabilities.thinking.types.adaptive.supported is True
    assert models[0].max_input_tokens == 1_000_000
    assert anthropic_client(simulator).models.retrieve("claude-haiku-4-5").max_tokens == 64_000


def test_redacted_thinking_is_a_block_of_its_own(simulator):
    simulator.script("red", {"text": "hi", "redacted": "b3BhcXVl"})
    with anthropic_client(simulator, "sk-simulated:red").messages.stream(
        model="sim-echo", max_tokens=100, messages=ask("x")
    ) as stream:
        blocks = stream.get_final_message().content
    assert [block.type for block in blocks] == ["redacted_thinking", "text"]
    assert blocks[0].data == "b3BhcXVl"


@pytest.mark.parametrize(
    ("key", "error", "kind"),
    [
        ("bad-key-0001", anthropic.AuthenticationError, "authentication_error"),
        ("forbidden-0001", anthropic.PermissionDeniedError, "permission_error"),
        ("poor-key-0001", anthropic.BadRequestError, "invalid_request_error"),
    ],
)
def test_a_refused_key_gives_the_vendors_error(simulator, key, error, kind):
    with pytest.raises(error) as refused:
        anthropic_client(simulator, key).messages.create(
            model="sim-echo", max_tokens=10, messages=ask("x")
        )
    assert refused.value.body["error"]["type"] == kind


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"messages": [{"role": "user", "content": ""}]}, "non-empty content"),
        ({"messages": []}, "at least one message is required"),
        ({"thinking": {"type": "enabled", "budget_tokens": 1024}}, "must be greater than"),
        ({"tools": [{"name": "a.b", "input_schema": {"type": "object"}}]}, "match pattern"),
    ],
)
def test_a_request_the_vendor_would_refuse_is_refused(simulator, change, words):
    options = {"model": "sim-echo", "max_tokens": 10, "messages": ask("x")} | change
    with pytest.raises(anthropic.BadRequestError) as refused:
        anthropic_client(simulator).messages.create(**options)
    assert words in str(refused.value)
    assert simulator.ledger()[0]["outcome"] == "refused"


def test_the_version_header_is_required(simulator):
    body = {"model": "sim-echo", "max_tokens": 10, "messages": ask("x")}
    with pytest.raises(AssertionError, match="anthropic-version: header is required"):
        simulator.call("POST", "/v1/messages", body)


def test_overload_in_the_stream_is_the_vendors_error_event(simulator):
    simulator.script("fails", {"tokens": 5, "error_at": 2})
    with (
        pytest.raises(anthropic.APIStatusError) as failed,
        anthropic_client(simulator, "sk-simulated:fails").messages.stream(
            model="sim-echo", max_tokens=100, messages=ask("x")
        ) as stream,
    ):
        list(stream)
    assert "overloaded_error" in str(failed.value.body)
    assert simulator.ledger()[0]["tokens"]["output"] == 2
