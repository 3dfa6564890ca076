"""What stock clients of chat completions send, as calls: shapes from OpenAI's reference, the SDK's
parameter types, and the clients' own extensions."""

from __future__ import annotations

from uuid import uuid4

import msgspec
import pytest

from ideplatform.kit.errors import InvalidInput
from providers.gateway.dialects import chat
from providers.gateway.dialects.contract import Asked
from providers.types import (
    AudioPart,
    Call,
    DialectName,
    DocumentPart,
    ImagePart,
    Message,
    OpaquePart,
    Reasoning,
    RedactedThinkingPart,
    RefusalPart,
    TextPart,
    ThinkingPart,
    ToolResultPart,
    ToolUsePart,
)
from tests.providers.gateway.dialects.vendors import CONTEXT

USER = {"role": "user", "content": "hi"}


def asked(*, headers=None, **members) -> Asked:
    body = msgspec.json.encode({"model": "default/code", "messages": [USER]} | members)
    return chat.read(body, headers=headers or {}, request_id=uuid4(), context=CONTEXT)


def call_of(**members) -> Call:
    return asked(**members).call


def message_of(**message) -> Message:
    return call_of(messages=[message]).messages[0]


def parts_of(*content) -> tuple[object, ...]:
    return message_of(role="user", content=list(content)).parts


def raw(part: object) -> object:
    assert isinstance(part, OpaquePart)
    assert part.dialect is DialectName.CHAT
    return msgspec.json.decode(part.raw)


def unsaid(call) -> dict[str, object]:
    return {name: msgspec.json.decode(value) for name, value in call.extra.items()}


def test_a_plain_request_is_a_plain_call():
    body = (
        b'{"model":"default/code","messages":[{"role":"user","content":"hi"}],"temperature":0,'
        b'"top_p":0.5,"max_tokens":100,"stop":"END","stream":true,'
        b'"stream_options":{"include_usage":true},"seed":7,"n":1,"user":"u-1"}'
    )
    found = chat.read(body, headers={"openai-beta": "x"}, request_id=uuid4(), context=CONTEXT)
    call = found.call
    assert (found.is_streamed, found.asks_usage) == (True, True)
    assert call.model == "default/code"
    assert call.messages == (Message(role="user", parts=(TextPart(text="hi"),)),)
    assert (call.temperature, call.top_p, call.max_output_tokens) == (0, 0.5, 100)
    assert call.stop == ("END",)
    assert call.metadata == {"user_id": "u-1"}
    assert unsaid(call) == {
        "stream_options": {"include_usage": True},
        "seed": 7,
        "n": 1,
        "user": "u-1",
    }
    assert call.source is not None
    assert (call.source.dialect, call.source.body) == (DialectName.CHAT, body)
    assert call.source.headers == {"openai-beta": "x"}
    assert call.source.is_streamed


def test_who_did_not_ask_for_usage_is_known():
    assert not asked(stream=True).asks_usage
    assert asked().asks_usage


def test_system_and_developer_stay_where_they_stand():
    call = call_of(
        messages=[
            {"role": "system", "content": "a"},
            USER,
            {"role": "developer", "content": [{"type": "text", "text": "b"}]},
        ]
    )
    assert [message.role for message in call.messages] == ["system", "user", "developer"]
    assert call.messages[2].parts == (TextPart(text="b"),)


def test_parts_of_every_kind():
    assert parts_of(
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        {"type": "text", "text": "b", "prompt_cache_breakpoint": {"mode": "explicit"}},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}},
        {"type": "image_url", "image_url": "https://a.example/x.png"},
        {"type": "input_audio", "input_audio": {"data": "UklG", "format": "wav"}},
        {
            "type": "file",
            "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBE"},
        },
        {"type": "file", "file": {"filename": "a.txt", "file_data": "data:text/plain,Ol%C3%A1"}},
        "bare",
    ) == (
        TextPart(text="a", cache="1h"),
        TextPart(text="b", cache="5m"),
        ImagePart(media_type="image/png", data="AAAA"),
        ImagePart(media_type="", url="https://a.example/x.png"),
        AudioPart(format="wav", data="UklG"),
        DocumentPart(media_type="application/pdf", name="a.pdf", data="JVBE"),
        DocumentPart(media_type="text/plain", name="a.txt", text="Olá"),
        TextPart(text="bare"),
    )


@pytest.mark.parametrize(
    "part",
    [
        {"type": "video_url", "video_url": {"url": "https://a.example/x.mp4"}},
        {"type": "hologram", "text": {"deep": 1}},
        {"type": "file", "file": {"file_id": "file-1"}},
    ],
)
def test_parts_that_only_their_vendor_knows_are_carried(part):
    (carried,) = parts_of(part)
    assert isinstance(carried, OpaquePart)
    assert raw(carried) == part


def test_a_role_that_nobody_knows_speaks_as_a_user():
    assert message_of(role="critic", content="no") == Message(
        role="user", parts=(TextPart(text="no"),)
    )


def test_calls_and_their_results():
    call = call_of(
        messages=[
            {
                "role": "assistant",
                "content": "",
                "tool_calls": [
                    {
                        "id": "c1",
                        "type": "function",
                        "function": {"name": "read", "arguments": '{"p": "a"'},
                        "extra_content": {"google": {"thought_signature": "c2ln"}},
                    },
                    {"id": "c2", "function": {"name": "list", "arguments": {"q": 1}}},
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": "text"},
            {
                "role": "tool",
                "tool_call_id": "c2",
                "content": [
                    {"type": "text", "text": "see"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                    {"type": "text", "text": "this"},
                ],
            },
        ]
    )
    assert call.messages == (
        Message(
            role="assistant",
            parts=(
                ToolUsePart(id="c1", name="read", arguments='{"p": "a"', signature="c2ln"),
                ToolUsePart(id="c2", name="list", arguments='{"q":1}'),
            ),
        ),
        Message(role="tool", parts=(ToolResultPart(tool_use_id="c1", text="text"),)),
        Message(
            role="tool",
            parts=(
                ToolResultPart(
                    tool_use_id="c2",
                    text="see\nthis",
                    media=(ImagePart(media_type="image/png", data="AAAA"),),
                ),
            ),
        ),
    )


def test_the_first_words_for_tools():
    found = asked(
        functions=[{"name": "read", "description": "d", "parameters": {"type": "object"}}],
        function_call={"name": "read"},
        messages=[
            {"role": "assistant", "content": None, "function_call": {"name": "read"}},
            {"role": "function", "name": "read", "content": "done"},
        ],
    )
    call = found.call
    assert found.uses_functions
    assert [(tool.name, tool.description) for tool in call.tools] == [("read", "d")]
    assert (call.tool_choice, call.tool_name) == ("required", "read")
    (use,), (result,) = (message.parts for message in call.messages)
    assert use == ToolUsePart(id="call_0", name="read", arguments="")
    assert result == ToolResultPart(tool_use_id="call_0", name="read", text="done")
    assert call.extra == {}


def test_tools_of_every_kind():
    call = call_of(
        tools=[
            {
                "type": "function",
                "function": {
                    "name": "read",
                    "description": "d",
                    "parameters": {"type": "object", "maximum": 18446744073709551615},
                    "strict": True,
                },
                "cache_control": {"type": "ephemeral"},
            },
            {"type": "function", "function": {"name": "bare"}},
            {"type": "function", "name": "flat", "parameters": {"type": "object"}},
            {"type": "custom", "custom": {"name": "patch", "format": {"type": "text"}}},
            {"type": "web_search", "function": 5},
            {"type": "namespace", "name": "n"},
            {},
        ],
        parallel_tool_calls=False,
    )
    assert [(tool.name, tool.strict, tool.cache) for tool in call.tools] == [
        ("read", True, "5m"),
        ("bare", None, ""),
        ("flat", None, ""),
    ]
    assert bytes(call.tools[0].parameters) == b'{"type":"object","maximum":18446744073709551615}'
    assert bytes(call.tools[1].parameters) == b'{"type":"object","properties":{}}'
    assert [msgspec.json.decode(tool) for tool in call.server_tools] == [
        {"type": "custom", "custom": {"name": "patch", "format": {"type": "text"}}},
        {"type": "web_search", "function": 5},
        {"type": "namespace", "name": "n"},
        {},
    ]
    assert not call.parallel_tools


def test_a_call_of_a_tool_that_is_no_function_is_carried_with_its_result():
    use = {"id": "c1", "type": "custom", "custom": {"name": "patch", "input": "x"}}
    result = {"role": "tool", "tool_call_id": "c1", "content": "ok"}
    call = call_of(messages=[{"role": "assistant", "tool_calls": [use]}, result])
    assert [raw(message.parts[0]) for message in call.messages] == [use, result]


@pytest.mark.parametrize(
    ("choice", "mode", "name", "is_kept"),
    [
        ("auto", "auto", "", False),
        ("none", "none", "", False),
        ("required", "required", "", False),
        ("any", "required", "", False),
        (None, "auto", "", False),
        ({"type": "function", "function": {"name": "read"}}, "required", "read", False),
        ({"type": "function", "name": "read"}, "required", "read", False),
        ({"type": "auto"}, "auto", "", False),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "required"}}, "required", "", True),
        ({"type": "custom", "custom": {"name": "patch"}}, "auto", "", True),
        ("telepathy", "auto", "", True),
    ],
)
def test_choices_of_tools(choice, mode, name, is_kept):
    tools = [{"type": "function", "function": {"name": "read"}}]
    call = call_of(tools=tools, tool_choice=choice)
    assert (call.tool_choice, call.tool_name) == (mode, name)
    assert unsaid(call) == ({"tool_choice": choice} if is_kept else {})


def test_the_newer_name_of_the_limit_wins():
    assert call_of(max_tokens=5, max_completion_tokens=7).max_output_tokens == 7
    assert call_of(max_tokens=None).max_output_tokens is None


def test_stop_is_one_text_or_several():
    assert call_of(stop=["a", "b"]).stop == ("a", "b")
    assert call_of(stop=None).stop == ()


@pytest.mark.parametrize(
    ("members", "reasoning", "kept"),
    [
        ({}, Reasoning(), set()),
        ({"reasoning_effort": "none"}, Reasoning(), {"reasoning_effort"}),
        ({"reasoning_effort": "low"}, Reasoning(level="low"), set()),
        ({"reasoning_effort": "xhigh"}, Reasoning(level="high"), {"reasoning_effort"}),
        ({"reasoning_effort": "cosmic"}, Reasoning(), {"reasoning_effort"}),
        ({"reasoning": {"effort": "high"}}, Reasoning(level="high"), set()),
        ({"reasoning": {"max_tokens": 2000}}, Reasoning(level="low", budget=2000), set()),
        ({"reasoning": {"enabled": True}}, Reasoning(level="auto"), set()),
        ({"reasoning": {"enabled": False}}, Reasoning(), set()),
        ({"reasoning": {"exclude": True}}, Reasoning(), {"reasoning"}),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 20_000}},
            Reasoning(level="high", budget=20_000),
            {"thinking"},
        ),
    ],
)
def test_how_much_to_think(members, reasoning, kept):
    call = call_of(**members)
    assert call.reasoning == reasoning
    assert set(call.extra) == kept


def test_forms_of_the_answer():
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    wanted = {"name": "shape", "schema": schema, "strict": True, "description": "d"}
    found = call_of(response_format={"type": "json_schema", "json_schema": wanted}).response_format
    assert found is not None
    assert (found.name, found.strict) == ("shape", True)
    assert found.schema is not None
    assert msgspec.json.decode(found.schema) == schema
    free = call_of(response_format={"type": "json_object"}).response_format
    assert free is not None
    assert (free.schema, free.strict) == (None, False)
    assert call_of(response_format={"type": "text"}).response_format is None
    other = call_of(response_format={"type": "grammar", "grammar": "x"})
    assert unsaid(other) == {"response_format": {"type": "grammar", "grammar": "x"}}


def test_metadata_keeps_texts_and_carries_what_is_none():
    assert call_of(metadata={"a": "b"}).metadata == {"a": "b"}
    call = call_of(metadata={"a": "b", "n": 1})
    assert call.metadata == {"a": "b"}
    assert unsaid(call) == {"metadata": {"a": "b", "n": 1}}


def test_reasoning_comes_back_from_every_clients_words():
    details = [
        {"type": "reasoning.text", "text": "t", "signature": "s", "index": 0},
        {"type": "reasoning.encrypted", "data": "d"},
        {"type": "reasoning.encrypted", "data": "g", "id": "c1"},
        {"type": "reasoning.summary", "summary": "sum"},
        {"type": "reasoning.unknown"},
        "noise",
    ]
    calls = [{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
    message = {"role": "assistant", "content": "x", "reasoning": "t", "tool_calls": calls}
    assert message_of(**message, reasoning_details=details).parts == (
        ThinkingPart(text="t", signature="s"),
        RedactedThinkingPart(data="d"),
        ThinkingPart(text="sum"),
        TextPart(text="x"),
        ToolUsePart(id="c1", name="f", arguments="{}", signature="g"),
    )
    blocks = [
        {"type": "thinking", "thinking": "t", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
    ]
    assert message_of(role="assistant", content=None, thinking_blocks=blocks).parts == (
        ThinkingPart(text="t", signature="s"),
        RedactedThinkingPart(data="d"),
    )
    assert message_of(role="assistant", reasoning_content="t", content="x").parts == (
        ThinkingPart(text="t"),
        TextPart(text="x"),
    )


def test_refusals_and_pictures_of_the_model_come_back():
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    message = message_of(
        role="assistant",
        content=[{"type": "refusal", "refusal": "no"}],
        refusal="never",
        images=[picture],
    )
    assert message.parts == (
        RefusalPart(text="no"),
        RefusalPart(text="never"),
        ImagePart(media_type="image/png", data="AAAA"),
    )


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"model": 5}, "/model"),
        ({"model": ""}, "/model"),
        ({"model": "a\0b"}, "/model"),
        ({"messages": {}}, "/messages"),
        ({"messages": None}, "/messages"),
        ({"messages": ["hi"]}, "/messages/0"),
        ({"messages": [{"content": "x"}]}, "/messages/0"),
        ({"messages": [USER, {"role": "user", "content": 5}]}, "/messages/1/content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text"}]}]},
            "/messages/0/content/0/text",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": 1}]}]},
            "/messages/0/content/0/text",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
            "/messages/0/content/0/image_url",
        ),
        ({"temperature": "hot"}, "/temperature"),
        ({"max_tokens": 0}, "/max_tokens"),
        ({"max_completion_tokens": -1}, "/max_completion_tokens"),
        ({"max_tokens": "many"}, "/max_tokens"),
        ({"stop": 5}, "/stop"),
        ({"stream": "yes"}, "/stream"),
        ({"tools": {}}, "/tools"),
        ({"tools": [{"type": "function", "function": {"name": 5}}]}, "/tools/0/function/name"),
        ({"functions": [{}]}, "/functions/0"),
    ],
)
def test_what_is_not_this_dialect_is_refused_with_its_place(members, pointer):
    with pytest.raises(InvalidInput) as refused:
        asked(**members)
    assert [fault.pointer for fault in refused.value.errors] == [pointer]
