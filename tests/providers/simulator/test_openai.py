"""The official openai SDK against the simulator."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.providers.simulator.conftest import openai_client

TOOLS: list[dict[str, Any]] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
    }
    for name in ("weather", "population")
]
CALLS = [
    {"name": "weather", "arguments": {"city": "São Paulo do Potengi"}},
    {"name": "population", "arguments": {"city": "Belo Horizonte"}},
]


def ask(text: str) -> list[dict[str, str]]:
    return [{"role": "user", "content": text}]


def test_a_whole_answer_echoes_and_counts_its_tokens(simulator):
    answer = openai_client(simulator).chat.completions.create(
        model="gpt-4o-mini", messages=ask("good morning world")
    )
    assert answer.choices[0].message.content == "Echo: good morning world"
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage.prompt_tokens == 6  # three words and three of overhead
    assert answer.usage.completion_tokens == 4
    assert answer.usage.total_tokens == 10


def test_a_stream_comes_word_by_word_and_its_usage_in_a_chunk_without_choices(simulator):
    stream = openai_client(simulator).chat.completions.create(
        model="sim-echo",
        messages=ask("good morning world"),
        stream=True,
        stream_options={"include_usage": True},
    )
    chunks = list(stream)
    words = [chunk.choices[0].delta.content for chunk in chunks if chunk.choices]
    assert words == ["", "Echo:", " good", " morning", " world", None]
    assert chunks[-1].choices == []
    assert chunks[-1].usage.completion_tokens == 4
    assert [chunk.usage for chunk in chunks[:-1]] == [None] * 6


def test_usage_is_not_told_when_it_was_not_asked_for(simulator):
    stream = openai_client(simulator).chat.completions.create(
        model="sim-echo", messages=ask("hi"), stream=True
    )
    assert all(chunk.choices and chunk.usage is None for chunk in stream)
    (row,) = simulator.ledger()
    assert row["usage_told"] is False
    assert row["tokens"]["output"] == 2


def test_parallel_tool_calls_interleave_their_argument_deltas(simulator):
    simulator.script("two-tools", {"tool_calls": CALLS})
    stream = openai_client(simulator, "sk-simulated:two-tools").chat.completions.create(
        model="sim-echo", messages=ask("go"), tools=TOOLS, stream=True
    )
    order: list[int] = []
    texts: dict[int, str] = {}
    reasons: list[str | None] = []
    for chunk in stream:
        reasons.append(chunk.choices[0].finish_reason)
        for call in chunk.choices[0].delta.tool_calls or []:
            order.append(call.index)
            texts[call.index] = texts.get(call.index, "") + (call.function.arguments or "")
    assert order == [0, 1, 0, 1, 0, 1, 0, 1]
    assert json.loads(texts[0]) == {"city": "São Paulo do Potengi"}
    assert json.loads(texts[1]) == {"city": "Belo Horizonte"}
    assert reasons[-1] == "tool_calls"


def test_the_sdks_own_accumulation_finds_the_same_calls(simulator):
    simulator.script("two-tools", {"tool_calls": CALLS}, {"text": "both known"})
    client = openai_client(simulator, "sk-simulated:two-tools")
    with client.chat.completions.stream(
        model="sim-echo", messages=ask("go"), tools=TOOLS
    ) as stream:
        message = stream.get_final_completion().choices[0].message
    assert [call.function.name for call in message.tool_calls] == ["weather", "population"]
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": "42"} for call in message.tool_calls
    ]
    after = client.chat.completions.create(
        model="sim-echo",
        messages=[*ask("go"), message.model_dump(exclude_none=True), *results],
        tools=TOOLS,
    )
    assert after.choices[0].message.content == "both known"


@pytest.mark.parametrize("after", [ask("and?"), []], ids=["user-follows", "nothing-follows"])
def test_a_tool_result_left_out_is_refused_like_the_vendor_does(simulator, after):
    call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": "{}"}}
    messages = [*ask("go"), {"role": "assistant", "content": None, "tool_calls": [call]}]
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client(simulator).chat.completions.create(
            model="sim-echo", messages=[*messages, *after], tools=TOOLS
        )
    assert "Missing results for: call_1" in refused.value.message
    assert simulator.ledger()[0]["tokens"]["input"] == 0


class Weather(BaseModel):
    city: str
    degrees: int
    signs: list[str]


def test_a_json_schema_is_answered_in_its_shape(simulator):
    parsed = openai_client(simulator).chat.completions.parse(
        model="gpt-4o-mini", messages=ask("rain in Recife"), response_format=Weather
    )
    assert parsed.choices[0].message.parsed == Weather(
        city="rain in Recife", degrees=3, signs=["rain in Recife"]
    )


def test_reasoning_is_billed_inside_the_completion_and_hidden_by_openais_own_models(simulator):
    answer = openai_client(simulator).chat.completions.create(
        model="gpt-5-mini", messages=ask("hello"), reasoning_effort="low"
    )
    details = answer.usage.completion_tokens_details
    assert details.reasoning_tokens == 10
    assert answer.usage.completion_tokens == 12
    assert "reasoning_content" not in answer.choices[0].message.model_dump()


def test_max_tokens_stops_with_length(simulator):
    answer = openai_client(simulator).chat.completions.create(
        model="sim-echo", messages=ask("one two three four"), max_tokens=3
    )
    assert answer.choices[0].message.content == "Echo: one two"
    assert answer.choices[0].finish_reason == "length"


def test_a_stop_sequence_ends_the_text_before_it(simulator):
    answer = openai_client(simulator).chat.completions.create(
        model="sim-echo", messages=ask("one STOP two"), stop=["STOP"]
    )
    assert answer.choices[0].message.content == "Echo: one "


def test_a_reasoning_model_refuses_max_tokens(simulator):
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client(simulator).chat.completions.create(
            model="o4-mini", messages=ask("hi"), max_tokens=5
        )
    assert refused.value.param == "max_tokens"


@pytest.mark.parametrize(
    ("key", "error", "code"),
    [
        ("bad-key-0001", openai.AuthenticationError, "invalid_api_key"),
        ("forbidden-0001", openai.PermissionDeniedError, "insufficient_permissions"),
        ("poor-key-0001", openai.RateLimitError, "insufficient_quota"),
    ],
)
def test_a_refused_key_gives_the_vendors_error_and_no_charge(simulator, key, error, code):
    with pytest.raises(error) as refused:
        openai_client(simulator, key).chat.completions.create(model="sim-echo", messages=ask("x"))
    assert refused.value.code == code
    (row,) = simulator.ledger()
    assert row["outcome"] == "refused"
    assert row["tokens"] == dict.fromkeys(row["tokens"], 0)


def test_an_unknown_model_is_not_found(simulator):
    with pytest.raises(openai.NotFoundError) as refused:
        openai_client(simulator).chat.completions.create(model="nothing-1", messages=ask("x"))
    assert refused.value.code == "model_not_found"


def test_the_same_request_gets_the_same_bytes(simulator):
    client = openai_client(simulator)
    raw = [
        client.chat.completions.with_raw_response.create(
            model="sim-echo", messages=ask("again"), stream=stream
        ).http_response.read()
        for stream in (True, True, False, False)
    ]
    assert raw[0] == raw[1]
    assert raw[2] == raw[3]


def test_models_are_listed_and_read_one_by_one(simulator):
    client = openai_client(simulator)
    ids = [model.id for model in client.models.list()]
    assert ids[:4] == ["sim-echo", "sim-coder", "sim-embed", "gpt-4o-mini"]
    assert client.models.retrieve("gpt-4o-mini").id == "gpt-4o-mini"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("nothing-1")


def test_embeddings_are_the_same_as_floats_and_as_base64(simulator):
    client = openai_client(simulator)
    floats = client.embeddings.create(
        model="sim-embed", input=["a red house", "a red car"], encoding_format="float"
    )
    coded = client.embeddings.with_raw_response.create(
        model="sim-embed", input=["a red house", "a red car"], encoding_format="base64"
    ).http_response.json()
    assert [len(item.embedding) for item in floats.data] == [1536, 1536]
    for item, other in zip(floats.data, coded["data"], strict=True):
        assert list(struct.unpack("<1536f", base64.b64decode(other["embedding"]))) == item.embedding
    assert floats.usage.prompt_tokens == 6


def test_texts_that_share_words_are_near(simulator):
    made = openai_client(simulator).embeddings.create(
        model="sim-embed", input=["the red house", "a red house", "quarterly tax report"],
    )  # fmt: skip
    near, far = (
        sum(a * b for a, b in zip(made.data[0].embedding, made.data[n].embedding, strict=True))
        for n in (1, 2)
    )
    assert len(made.data[0].embedding) == 1536
    assert near == pytest.approx(2 / 3, abs=1e-6)
    assert far == pytest.approx(0, abs=1e-6)


def test_a_response_streams_every_event_with_a_number(simulator):
    stream = openai_client(simulator).responses.create(
        model="sim-echo",
        input="hello there",
        stream=True,
        reasoning={"effort": "low", "summary": "auto"},
    )
    events = list(stream)
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = list(dict.fromkeys(event.type for event in events))
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.reasoning_summary_part.added",
        "response.reasoning_summary_text.delta",
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
        "response.output_item.done",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.completed",
    ]
    final = events[-1].response
    assert final.output_text == "Echo: hello there"
    assert final.usage.output_tokens == 13
    assert final.usage.output_tokens_details.reasoning_tokens == 10
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == final.output_text


def test_response_function_calls_interleave_and_their_results_come_back(simulator):
    simulator.script("two-tools", {"tool_calls": CALLS}, {"text": "both known"})
    client = openai_client(simulator, "sk-simulated:two-tools")
    tools = [{"type": "function", **tool["function"]} for tool in TOOLS]
    events = list(client.responses.create(model="sim-echo", input="go", tools=tools, stream=True))
    order = [e.output_index for e in events if e.type.endswith("arguments.delta")]
    assert order == [0, 1, 0, 1, 0, 1]
    calls = events[-1].response.output
    assert [json.loads(call.arguments) for call in calls] == [one["arguments"] for one in CALLS]
    history = [{"role": "user", "content": "go"}, *[call.model_dump() for call in calls]]
    results = [
        {"type": "function_call_output", "call_id": call.call_id, "output": "1"} for call in calls
    ]
    after = client.responses.create(model="sim-echo", input=[*history, *results], tools=tools)
    assert after.output_text == "both known"


def test_a_tool_in_a_namespace_is_called_with_its_namespace(simulator):
    simulator.script("spaced", {"tool_calls": [CALLS[0]]})
    space = {
        "type": "namespace",
        "name": "maps",
        "description": "places",
        "tools": [{"type": "function", **TOOLS[0]["function"]}],
    }
    answer = openai_client(simulator, "sk-simulated:spaced").responses.create(
        model="sim-echo", input="go", tools=[space]
    )
    assert answer.output[0].namespace == "maps"


def test_encrypted_reasoning_must_come_back_unchanged(simulator):
    client = openai_client(simulator)
    first = client.responses.create(
        model="gpt-5-mini",
        input="hi",
        reasoning={"effort": "low"},
        include=["reasoning.encrypted_content"],
        store=False,
    )
    reasoning = first.output[0].model_dump()
    assert reasoning["summary"] == []
    user = {"role": "user", "content": "hi"}
    client.responses.create(model="gpt-5-mini", input=[user, reasoning, user])
    reasoning["encrypted_content"] = "forged"
    with pytest.raises(openai.BadRequestError):
        client.responses.create(model="gpt-5-mini", input=[user, reasoning, user])


def test_a_response_cut_by_its_limit_is_incomplete(simulator):
    answer = openai_client(simulator).responses.create(
        model="sim-echo", input="one two three four", max_output_tokens=2
    )
    assert answer.status == "incomplete"
    assert answer.incomplete_details.reason == "max_output_tokens"


def test_what_a_response_does_not_know_is_refused(simulator):
    with pytest.raises(openai.BadRequestError) as refused:
        openai_client(simulator).responses.create(
            model="sim-echo", input="x", previous_response_id="resp_unknown"
        )
    assert refused.value.param == "previous_response_id"


def test_an_image_reaches_the_model_and_is_counted(simulator):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    content = [{"type": "text", "text": "what is this"}, image]
    answer = openai_client(simulator).chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": content}]
    )
    assert answer.choices[0].message.content.startswith("Echo: what is this [image_url 34 bytes ")
    assert answer.usage.prompt_tokens == 3 + 3 + 85
