"""Everything a call can say, as each vendor gets it on the wire, and what it cannot say, named."""

from __future__ import annotations

import base64
import hashlib

import msgspec
import pytest

from providers.types import (
    AudioPart,
    DocumentPart,
    ImagePart,
    OpaquePart,
    Raw,
    Reasoning,
    RedactedThinkingPart,
    RefusalPart,
    ResponseFormat,
    TextPart,
    ThinkingPart,
    Tool,
    ToolResultPart,
    ToolUsePart,
)
from tests.providers.adapters.asking import CHAT, MESSAGES, RESPONSES, a_call, answer, as_sent, said
from tests.providers.builders import WEATHER

EVERY = ["chat", "compatible", "responses", "anthropic", "google"]
PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
PDF = base64.b64encode(b"%PDF-1.7 nothing").decode()
WAV = base64.b64encode(b"RIFF....WAVE").decode()
IMAGE = ImagePart(media_type="image/png", data=PNG)
PAGES = DocumentPart(media_type="application/pdf", name="a.pdf", data=PDF)
NOTES = DocumentPart(media_type="text/plain", name="notes.txt", text="remember me")
SOUND = AudioPart(format="wav", data=WAV)
CITY = Raw(b'{"type":"object","properties":{"city":{"type":"string"}},"required":["city"]}')


async def sent(simulator, vendor, call, **route):
    """The body that the vendor got, and what the adapter said it could not send."""
    result = await answer(vendor, call, **route)
    assert result.error is None
    return simulator.requests()[-1]["body"], result.started.dropped


def the_parts(body):
    """The content of the last message, wherever the dialect keeps it."""
    if "contents" in body:
        return body["contents"][-1]["parts"]
    return (body.get("messages") or body.get("input"))[-1]["content"]


IMAGES = {
    "chat": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
    "compatible": {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}},
    "responses": {
        "type": "input_image",
        "image_url": f"data:image/png;base64,{PNG}",
        "detail": "auto",
    },
    "anthropic": {
        "type": "image",
        "source": {"type": "base64", "media_type": "image/png", "data": PNG},
    },
    "google": {"inlineData": {"mimeType": "image/png", "data": PNG}},
}
FILE = {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"}
DOCUMENTS = {
    "chat": {"type": "file", "file": FILE},
    "compatible": {"type": "file", "file": FILE},
    "responses": {"type": "input_file", **FILE},
    "anthropic": {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
        "title": "a.pdf",
    },
    "google": {"inlineData": {"mimeType": "application/pdf", "data": PDF}},
}
TEXTS = {
    "chat": {"type": "text", "text": "notes.txt:\nremember me"},
    "compatible": {"type": "text", "text": "notes.txt:\nremember me"},
    "responses": {"type": "input_text", "text": "notes.txt:\nremember me"},
    "anthropic": {
        "type": "document",
        "source": {"type": "text", "media_type": "text/plain", "data": "remember me"},
        "title": "notes.txt",
    },
    "google": {"text": "notes.txt:\nremember me"},
}


@pytest.mark.parametrize("vendor", EVERY)
@pytest.mark.parametrize(
    ("part", "expected"), [(IMAGE, IMAGES), (PAGES, DOCUMENTS), (NOTES, TEXTS)]
)
async def test_a_medium_reaches_every_vendor(simulator, vendor, part, expected):
    body, dropped = await sent(simulator, vendor, a_call(said("user", "look", part)))
    assert the_parts(body)[-1] == expected[vendor]
    assert dropped == ()


async def test_an_image_in_a_data_address_is_inlined_where_addresses_are_fetched(simulator):
    image = ImagePart(media_type="", url=f"data:image/png;base64,{PNG}")
    for vendor in ("anthropic", "google"):
        body, _ = await sent(simulator, vendor, a_call(said("user", "look", image)))
        assert the_parts(body)[-1] == IMAGES[vendor]


@pytest.mark.parametrize(
    ("vendor", "expected"),
    [
        ("chat", {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}),
        ("google", {"inlineData": {"mimeType": "audio/wav", "data": WAV}}),
    ],
)
async def test_sound_reaches_those_who_hear(simulator, vendor, expected):
    body, dropped = await sent(simulator, vendor, a_call(said("user", "listen", SOUND)))
    assert the_parts(body)[-1] == expected
    assert dropped == ()


@pytest.mark.parametrize("vendor", ["responses", "anthropic"])
async def test_sound_is_named_to_those_who_do_not_hear(simulator, vendor):
    body, dropped = await sent(simulator, vendor, a_call(said("user", "listen", SOUND)))
    assert WAV not in msgspec.json.encode(body).decode()
    assert dropped == ("audio",)


def shown(*media, **values):
    """A conversation whose tool showed something."""
    use = ToolUsePart(id="call_1", name="look", arguments="{}")
    result = ToolResultPart(tool_use_id="call_1", text="here", media=media, **values)
    return a_call(said("user", "look"), said("assistant", use), said("tool", result))


async def test_what_a_tool_shows_follows_its_answer_in_chat(simulator):
    body, dropped = await sent(simulator, "chat", shown(IMAGE, PAGES))
    *_, result, media = body["messages"]
    assert result == {"role": "tool", "tool_call_id": "call_1", "content": "here"}
    assert media == {"role": "user", "content": [IMAGES["chat"], DOCUMENTS["chat"]]}
    assert dropped == ()


async def test_media_of_parallel_tools_wait_until_all_have_answered(simulator):
    uses = [ToolUsePart(id=one, name="look", arguments="{}") for one in ("a", "b")]
    results = [
        said("tool", ToolResultPart(tool_use_id=one, text=one, media=(IMAGE,)))
        for one in ("a", "b")
    ]
    call = a_call(said("user", "look"), said("assistant", *uses), *results)
    body, _ = await sent(simulator, "chat", call)
    assert [one["role"] for one in body["messages"][-3:]] == ["tool", "tool", "user"]
    assert body["messages"][-1]["content"] == [IMAGES["chat"]] * 2


async def test_what_a_tool_showed_stands_before_what_was_said_of_it(simulator):
    call = a_call(*shown(IMAGE).messages, said("assistant", "a cat"), said("user", "sure?"))
    body, _ = await sent(simulator, "chat", call)
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["user", "assistant", "tool", "user", "assistant", "user"]
    assert body["messages"][3]["content"] == [IMAGES["chat"]]


async def test_what_a_tool_shows_is_part_of_its_answer_elsewhere(simulator):
    body, _ = await sent(simulator, "responses", shown(IMAGE))
    assert body["input"][-1]["output"] == [
        {"type": "input_text", "text": "here"},
        IMAGES["responses"],
    ]
    body, _ = await sent(simulator, "anthropic", shown(IMAGE, is_error=True))
    assert the_parts(body) == [
        {
            "type": "tool_result",
            "tool_use_id": "call_1",
            "content": [{"type": "text", "text": "here"}, IMAGES["anthropic"]],
            "is_error": True,
        }
    ]
    body, _ = await sent(simulator, "google", shown(IMAGE))
    assert the_parts(body) == [
        {"functionResponse": {"name": "look", "response": {"output": "here"}}},
        IMAGES["google"],
    ]
    body, _ = await sent(simulator, "google", shown(IMAGE), model="gemini-3-pro")
    answered = {"name": "look", "response": {"output": "here"}, "parts": [IMAGES["google"]]}
    assert the_parts(body) == [{"functionResponse": answered}]


NAMED = {
    "chat": ("tool_choice", {"type": "function", "function": {"name": "get_weather"}}),
    "compatible": ("tool_choice", {"type": "function", "function": {"name": "get_weather"}}),
    "responses": ("tool_choice", {"type": "function", "name": "get_weather"}),
    "anthropic": ("tool_choice", {"type": "tool", "name": "get_weather"}),
    "google": (
        "toolConfig",
        {"functionCallingConfig": {"mode": "ANY", "allowedFunctionNames": ["get_weather"]}},
    ),
}


@pytest.mark.parametrize("vendor", EVERY)
async def test_one_tool_can_be_forced(simulator, vendor):
    call = a_call(tools=(WEATHER,), tool_name="get_weather")
    body, dropped = await sent(simulator, vendor, call)
    name, expected = NAMED[vendor]
    assert body[name] == expected
    assert dropped == ()


async def test_strict_tools_are_strict_where_vendors_know_it(simulator):
    strict = Tool(name="t", description="", parameters=CITY, strict=True)
    body, _ = await sent(simulator, "chat", a_call(tools=(strict, WEATHER)))
    assert [tool["function"].get("strict") for tool in body["tools"]] == [True, None]
    body, _ = await sent(simulator, "responses", a_call(tools=(strict, WEATHER)))
    assert [tool["strict"] for tool in body["tools"]] == [True, False]
    body, _ = await sent(simulator, "anthropic", a_call(tools=(strict, WEATHER)))
    assert [tool.get("strict") for tool in body["tools"]] == [True, None]
    _, dropped = await sent(simulator, "google", a_call(tools=(strict,), parallel_tools=False))
    assert dropped == ("parallel_tools", "strict")


SCHEMA = msgspec.json.decode(CITY)
SHAPED = {
    "chat": (
        "response_format",
        {
            "type": "json_schema",
            "json_schema": {"name": "place", "schema": SCHEMA, "strict": False},
        },
    ),
    "responses": (
        "text",
        {"format": {"type": "json_schema", "name": "place", "schema": SCHEMA, "strict": False}},
    ),
    "anthropic": ("output_config", {"format": {"type": "json_schema", "schema": SCHEMA}}),
    "google": (
        "generationConfig",
        {"responseMimeType": "application/json", "responseJsonSchema": SCHEMA},
    ),
}
ANY_JSON = {
    "chat": ("response_format", {"type": "json_object"}),
    "responses": ("text", {"format": {"type": "json_object"}}),
    "google": ("generationConfig", {"responseMimeType": "application/json"}),
}


@pytest.mark.parametrize("vendor", SHAPED)
async def test_an_answer_can_be_asked_for_in_a_shape(simulator, vendor):
    wanted = ResponseFormat(name="place", schema=CITY, strict=False)
    body, dropped = await sent(simulator, vendor, a_call(response_format=wanted))
    name, expected = SHAPED[vendor]
    assert body[name] == expected
    assert dropped == ()


@pytest.mark.parametrize("vendor", ANY_JSON)
async def test_an_answer_can_be_asked_for_as_any_json(simulator, vendor):
    body, dropped = await sent(simulator, vendor, a_call(response_format=ResponseFormat()))
    name, expected = ANY_JSON[vendor]
    assert body[name] == expected
    assert dropped == ()


async def test_anthropic_is_asked_for_any_json_in_words(simulator):
    body, dropped = await sent(simulator, "anthropic", a_call(response_format=ResponseFormat()))
    assert body["system"] == "Answer with one JSON object and nothing else."
    assert dropped == ("response_format.json_object",)


async def test_cache_hints_reach_anthropic_alone(simulator):
    system = said("system", TextPart(text="rules", cache="1h"))
    asked = said("user", "first", TextPart(text="long", cache="5m"))
    tool = msgspec.structs.replace(WEATHER, cache="5m")
    call = a_call(system, asked, tools=(tool,))
    body, dropped = await sent(simulator, "anthropic", call)
    hour = {"type": "ephemeral", "ttl": "1h"}
    assert body["system"] == [{"type": "text", "text": "rules", "cache_control": hour}]
    assert the_parts(body)[-1]["cache_control"] == {"type": "ephemeral"}
    assert body["tools"][0]["cache_control"] == {"type": "ephemeral"}
    assert dropped == ()
    for vendor in ("chat", "compatible", "responses", "google"):
        body, dropped = await sent(simulator, vendor, call)
        assert "cache_control" not in msgspec.json.encode(body).decode()
        assert dropped == ()


async def test_only_the_last_four_cache_hints_are_sent(simulator):
    parts = [TextPart(text=f"part {n}", cache="5m") for n in range(6)]
    body, _ = await sent(simulator, "anthropic", a_call(said("user", *parts)))
    assert [("cache_control" in part) for part in the_parts(body)] == [False] * 2 + [True] * 4


async def test_a_budget_of_thought_becomes_an_effort_at_openai(simulator):
    for budget, effort in (
        (1_024, "minimal"),
        (8_000, "low"),
        (20_000, "medium"),
        (50_000, "high"),
    ):
        call = a_call(reasoning=Reasoning(level="auto", budget=budget))
        body, _ = await sent(simulator, "chat", call)
        assert body["reasoning_effort"] == effort
        body, _ = await sent(simulator, "responses", call)
        assert body["reasoning"] == {"effort": effort, "summary": "auto"}
    body, _ = await sent(simulator, "chat", a_call(reasoning=Reasoning(level="auto")))
    assert "reasoning_effort" not in body


async def test_a_budget_of_thought_is_kept_where_vendors_know_budgets(simulator):
    call = a_call(reasoning=Reasoning(level="auto", budget=2_000), max_output_tokens=9_000)
    body, _ = await sent(simulator, "anthropic", call)
    assert body["thinking"] == {"type": "enabled", "budget_tokens": 2_000}
    body, _ = await sent(simulator, "google", call)
    assert body["generationConfig"]["thinkingConfig"]["thinkingBudget"] == 2_000


async def test_thinking_that_the_maximum_forbids_is_named(simulator):
    call = a_call(reasoning=Reasoning(level="high"), max_output_tokens=500)
    body, dropped = await sent(simulator, "anthropic", call)
    assert "thinking" not in body
    assert dropped == ("reasoning",)


async def test_sampling_beside_thinking_is_named(simulator):
    call = a_call(reasoning=Reasoning(level="low"), max_output_tokens=9_000, temperature=0.2)
    body, dropped = await sent(simulator, "anthropic", call)
    assert "temperature" not in body
    assert dropped == ("temperature",)


async def test_the_caller_s_user_and_metadata(simulator):
    call = a_call(metadata={"user_id": "u-1", "ticket": "42"})
    for vendor in ("chat", "compatible", "responses"):
        body, dropped = await sent(simulator, vendor, call)
        assert (body["user"], body["metadata"], dropped) == ("u-1", {"ticket": "42"}, ())
    body, dropped = await sent(simulator, "anthropic", call)
    assert (body["metadata"], dropped) == ({"user_id": "u-1"}, ("metadata",))
    _, dropped = await sent(simulator, "google", call)
    assert dropped == ("metadata",)
    long = "user_" + "x" * 100
    body, _ = await sent(simulator, "chat", a_call(metadata={"user_id": long}))
    assert body["user"] == hashlib.sha256(long.encode()).hexdigest()


async def test_stop_sequences_are_named_where_there_are_none(simulator):
    call = a_call(stop=("END",))
    body, dropped = await sent(simulator, "chat", call)
    assert (body["stop"], dropped) == (["END"], ())
    body, dropped = await sent(simulator, "anthropic", call)
    assert (body["stop_sequences"], dropped) == (["END"], ())
    body, dropped = await sent(simulator, "google", call)
    assert (body["generationConfig"]["stopSequences"], dropped) == (["END"], ())
    _, dropped = await sent(simulator, "responses", call)
    assert dropped == ("stop",)


async def test_a_system_message_in_the_middle_is_told_apart(simulator):
    call = a_call(
        said("developer", "be brief"),
        said("user", "hi"),
        said("assistant", "hello"),
        said("system", "now be long"),
        said("user", "why?"),
        system="rules",
    )
    body, _ = await sent(simulator, "chat", call)
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["system", "developer", "user", "assistant", "system", "user"]
    body, _ = await sent(simulator, "compatible", call)
    roles = [message["role"] for message in body["messages"]]
    assert roles == ["system", "system", "user", "assistant", "system", "user"]
    body, _ = await sent(simulator, "responses", call)
    assert [item["role"] for item in body["input"]] == [
        "developer",
        "user",
        "assistant",
        "system",
        "user",
    ]
    told_apart = "<system>\nnow be long\n</system>"
    body, _ = await sent(simulator, "anthropic", call)
    assert body["system"] == "rules\n\nbe brief"
    assert [part["text"] for part in the_parts(body)] == [told_apart, "why?"]
    body, _ = await sent(simulator, "google", call)
    assert body["systemInstruction"] == {"parts": [{"text": "rules\n\nbe brief"}]}
    assert [part["text"] for part in the_parts(body)] == [told_apart, "why?"]


async def test_tool_results_stand_first_in_anthropic_s_turn(simulator):
    use = ToolUsePart(id="a", name="look", arguments="{}")
    call = a_call(
        said("user", "look"),
        said("assistant", use),
        said("system", "hurry"),
        said("tool", ToolResultPart(tool_use_id="a", text="seen")),
    )
    body, _ = await sent(simulator, "anthropic", call)
    assert [part["type"] for part in the_parts(body)] == ["tool_result", "text"]


async def test_an_earlier_refusal_is_said_again(simulator):
    call = a_call(
        said("user", "no?"), said("assistant", RefusalPart(text="No.")), said("user", "!")
    )
    body, _ = await sent(simulator, "chat", call)
    assert body["messages"][1] == {"role": "assistant", "content": None, "refusal": "No."}
    body, _ = await sent(simulator, "compatible", call)
    assert body["messages"][1] == {"role": "assistant", "content": "No."}
    body, _ = await sent(simulator, "responses", call)
    assert body["input"][1]["content"] == [{"type": "refusal", "refusal": "No."}]
    body, _ = await sent(simulator, "anthropic", call)
    assert body["messages"][1]["content"] == [{"type": "text", "text": "No."}]
    body, _ = await sent(simulator, "google", call)
    assert body["contents"][1]["parts"] == [{"text": "No."}]


SEARCH = Raw(b'{"type":"web_search_20250305","name":"web_search","max_uses":2}')
SEARCHED = Raw(b'{"type":"server_tool_use","id":"s1","name":"web_search","input":{"query":"x"}}')


async def test_another_dialect_s_words_are_dropped_by_name(simulator):
    source = as_sent(MESSAGES, b"")
    call = a_call(
        said("user", "hi", OpaquePart(dialect=MESSAGES, raw=SEARCHED)),
        source=source,
        server_tools=(SEARCH,),
        extra={"top_k": Raw(b"5"), "context_management": Raw(b"{}")},
    )
    names = (
        "context_management",
        "opaque.server_tool_use",
        "server_tools.web_search",
        "top_k",
    )
    for vendor in ("chat", "compatible", "responses", "google"):
        body, dropped = await sent(simulator, vendor, call)
        assert "web_search" not in msgspec.json.encode(body).decode()
        assert dropped == names


async def test_its_own_dialect_s_words_reach_the_vendor(simulator):
    call = a_call(
        said("user", "hi"),
        said("assistant", OpaquePart(dialect=MESSAGES, raw=SEARCHED), "found"),
        said("user", "so?"),
        source=as_sent(MESSAGES, b""),
        server_tools=(SEARCH,),
        extra={"top_k": Raw(b"5")},
    )
    body, dropped = await sent(simulator, "anthropic", call)
    assert dropped == ()
    assert body["tools"] == [msgspec.json.decode(SEARCH)]
    assert body["top_k"] == 5
    assert body["messages"][1]["content"][0] == msgspec.json.decode(SEARCHED)


async def test_items_and_parts_of_responses_find_their_places(simulator):
    item = Raw(b'{"type":"web_search_call","id":"ws_1","status":"completed"}')
    part = Raw(b'{"type":"input_file","file_id":"file-1"}')
    call = a_call(
        said("user", "hi", OpaquePart(dialect=RESPONSES, raw=part)),
        said("assistant", OpaquePart(dialect=RESPONSES, raw=item), "found"),
        said("user", "so?"),
        source=as_sent(RESPONSES, b""),
        extra={"truncation": Raw(b'"auto"')},
    )
    body, dropped = await sent(simulator, "responses", call)
    assert dropped == ()
    assert body["truncation"] == "auto"
    assert body["input"][0]["content"][1] == msgspec.json.decode(part)
    assert body["input"][1] == msgspec.json.decode(item)
    assert body["input"][2]["content"] == [{"type": "output_text", "text": "found"}]


async def test_extra_keys_never_replace_our_own(simulator):
    call = a_call(source=as_sent(CHAT, b""), extra={"model": Raw(b'"other"'), "seed": Raw(b"7")})
    body, _ = await sent(simulator, "chat", call)
    assert (body["model"], body["seed"]) == ("sim-echo", 7)


async def test_foreign_signatures_are_not_shown_to_a_vendor(simulator):
    thought = ThinkingPart(text="hm", signature="rs_1#encrypted")
    hidden = RedactedThinkingPart(data='{"type":"reasoning.encrypted","data":"x"}')
    call = a_call(said("user", "a"), said("assistant", thought, hidden, "b"), said("user", "c"))
    for vendor in ("anthropic", "google", "chat"):
        body, dropped = await sent(simulator, vendor, call)
        assert "encrypted" not in msgspec.json.encode(body).decode()
        assert dropped == ("thinking",)
