"""The official google-genai SDK against the simulator."""

from __future__ import annotations

import pytest
from google.genai import errors
from google.genai import types as t

from tests.providers.simulator.conftest import google_client

WEATHER = t.FunctionDeclaration(
    name="weather",
    parameters=t.Schema(type=t.Type.OBJECT, properties={"city": t.Schema(type=t.Type.STRING)}),
)
TOOLS = t.GenerateContentConfig(
    tools=[t.Tool(function_declarations=[WEATHER])],
    automatic_function_calling=t.AutomaticFunctionCallingConfig(disable=True),
)
CALLS = [{"name": "weather", "arguments": {"city": city}} for city in ("Natal", "Belém")]


def test_a_whole_answer(simulator):
    answer = google_client(simulator).models.generate_content(
        model="gemini-2.5-flash", contents="good morning"
    )
    assert answer.text == "Echo: good morning"
    assert answer.candidates[0].finish_reason == t.FinishReason.STOP
    told = answer.usage_metadata
    assert (told.prompt_token_count, told.candidates_token_count) == (5, 3)


def test_a_stream_tells_cumulative_usage_in_every_chunk(simulator):
    chunks = list(
        google_client(simulator).models.generate_content_stream(
            model="sim-echo", contents="good morning"
        )
    )
    assert [chunk.text for chunk in chunks[:3]] == ["Echo:", " good", " morning"]
    counts = [chunk.usage_metadata.candidates_token_count for chunk in chunks]
    assert counts == [1, 2, 3, 3]


def test_thoughts_come_on_top_and_are_shown_when_asked_for(simulator):
    config = t.GenerateContentConfig(thinking_config=t.ThinkingConfig(include_thoughts=True))
    answer = google_client(simulator).models.generate_content(
        model="gemini-2.5-pro", contents="hello", config=config
    )
    thought, text = answer.candidates[0].content.parts
    assert thought.thought is True
    assert thought.text.startswith("The user wrote 1 words")
    assert (text.text, bool(text.thought_signature)) == ("Echo: hello", True)
    told = answer.usage_metadata
    assert (told.candidates_token_count, told.thoughts_token_count) == (2, 10)
    assert told.total_token_count == 4 + 2 + 10


def test_calls_come_whole_without_ids_and_the_first_is_signed(simulator):
    simulator.script("calls", {"tool_calls": CALLS})
    chunks = list(
        google_client(simulator, "simulated-key:calls").models.generate_content_stream(
            model="sim-echo", contents="go", config=TOOLS
        )
    )
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts or []]
    calls = [part for part in parts if part.function_call]
    assert [part.function_call.args for part in calls] == [{"city": "Natal"}, {"city": "Belém"}]
    assert [part.function_call.id for part in calls] == [None, None]
    assert [bool(part.thought_signature) for part in calls] == [True, False]


def tool_round(simulator, signature: str):
    """A tool call and its result, with the signature of the call kept, dropped or forged."""
    simulator.script("calls", {"tool_calls": CALLS[:1]}, {"text": "sunny"})
    client = google_client(simulator, "simulated-key:calls")
    user = t.Content(role="user", parts=[t.Part(text="go")])
    first = client.models.generate_content(
        model="gemini-3-flash-preview", contents=[user], config=TOOLS
    )
    said = first.candidates[0].content
    said.parts[0].thought_signature = {
        "kept": said.parts[0].thought_signature,
        "dropped": None,
        "forged": b"forged",
    }[signature]
    result = t.Part.from_function_response(name="weather", response={"result": "30 C"})
    history = [user, said, t.Content(role="user", parts=[result])]
    return client.models.generate_content(
        model="gemini-3-flash-preview", contents=history, config=TOOLS
    )


def test_a_signed_call_that_comes_back_is_accepted(simulator):
    assert tool_round(simulator, "kept").text == "sunny"


@pytest.mark.parametrize(
    ("signature", "words"),
    [("dropped", "missing a thought_signature"), ("forged", "Invalid `signature`")],
)
def test_a_call_without_its_signature_is_refused(simulator, signature, words):
    with pytest.raises(errors.ClientError) as refused:
        tool_round(simulator, signature)
    assert words in str(refused.value.message)


def test_a_schema_key_google_does_not_know_is_refused(simulator):
    schema = {"type": "object", "additionalProperties": False, "properties": {}}
    body = {
        "contents": [{"parts": [{"text": "x"}]}],
        "tools": [{"functionDeclarations": [{"name": "f", "parameters": schema}]}],
    }
    with pytest.raises(AssertionError, match=r"Unknown name .*additionalProperties"):
        simulator.call("POST", "/v1beta/models/sim-echo:generateContent", body)


def test_a_json_answer_follows_the_schema(simulator):
    config = t.GenerateContentConfig(
        response_mime_type="application/json",
        response_schema=t.Schema(
            type=t.Type.OBJECT, properties={"n": t.Schema(type=t.Type.INTEGER)}
        ),
    )
    answer = google_client(simulator).models.generate_content(
        model="sim-echo", contents="one two three", config=config
    )
    assert answer.text == '{"n":3}'


def test_embeddings_one_and_many(simulator):
    made = google_client(simulator).models.embed_content(
        model="gemini-embedding-001",
        contents=["red house", "blue car"],
        config=t.EmbedContentConfig(output_dimensionality=768),
    )
    assert [len(one.values) for one in made.embeddings] == [768, 768]
    (row,) = simulator.ledger()
    assert (row["operation"], row["tokens"]["input"]) == ("embeddings", 4)


def test_models_are_listed(simulator):
    names = [model.name for model in google_client(simulator).models.list()]
    assert names[:2] == ["models/sim-echo", "models/sim-coder"]
    assert google_client(simulator).models.get(model="gemini-2.5-pro").input_token_limit > 1_000_000


def test_tokens_are_counted(simulator):
    counted = google_client(simulator).models.count_tokens(model="sim-echo", contents="one two")
    assert counted.total_tokens == 5


def test_a_bad_key_is_googles_own_refusal(simulator):
    with pytest.raises(errors.ClientError) as refused:
        google_client(simulator, "bad-key-0001").models.generate_content(
            model="sim-echo", contents="x"
        )
    assert (refused.value.code, refused.value.status) == (400, "INVALID_ARGUMENT")
    details = refused.value.details["error"]["details"]
    assert details[0]["reason"] == "API_KEY_INVALID"


def test_an_unknown_model_is_not_found(simulator):
    with pytest.raises(errors.ClientError) as refused:
        google_client(simulator).models.generate_content(model="nothing-1", contents="x")
    assert (refused.value.code, refused.value.status) == (404, "NOT_FOUND")


def test_the_stream_without_sse_is_a_json_array(simulator):
    body = {"contents": [{"parts": [{"text": "one two"}]}]}
    chunks = simulator.call("POST", "/v1beta/models/sim-echo:streamGenerateContent", body)
    texts = [chunk["candidates"][0]["content"]["parts"][0]["text"] for chunk in chunks]
    assert texts == ["Echo:", " one", " two", ""]
