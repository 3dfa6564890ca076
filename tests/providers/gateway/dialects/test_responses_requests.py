"""What the gateway understands of a `responses` request, and what it carries along."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ideplatform.kit.errors import InvalidInput
from providers.gateway.dialects import responses
from providers.types import (
    AudioPart,
    DialectName,
    DocumentPart,
    ImagePart,
    OpaquePart,
    RefusalPart,
    TextPart,
    ThinkingPart,
    ToolResultPart,
    ToolUsePart,
)
from tests.providers.gateway.dialects.responses_client import asked

FUNCTION = {
    "type": "function",
    "name": "read",
    "description": "Reads",
    "parameters": {"type": "object"},
    "strict": True,
}
CALLS = {"type": "namespace", "name": "mcp", "description": "", "tools": [FUNCTION]}


def test_a_text_is_one_message_of_the_user():
    request = asked(input="Olá", instructions="Be brief.")
    (message,) = request.call.messages
    assert (message.role, message.parts) == ("user", (TextPart(text="Olá"),))
    assert request.call.system == "Be brief."
    assert (request.is_streamed, request.is_stored, request.in_background) == (False, True, False)


def test_items_become_turns_in_their_order():
    messages = asked(
        input=[
            {"role": "developer", "content": "Rules"},
            {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "a"}]},
            {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "t"}],
             "encrypted_content": "gAA"},
            {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed",
             "content": [{"type": "output_text", "text": "b", "annotations": []},
                         {"type": "refusal", "refusal": "no"}]},
            {"type": "function_call", "call_id": "c1", "name": "read", "arguments": "{}"},
            {"type": "function_call", "call_id": "c2", "name": "read", "namespace": "mcp",
             "arguments": "{}"},
            {"type": "function_call_output", "call_id": "c1", "output": "x"},
            {"type": "function_call_output", "call_id": "c2",
             "output": [{"type": "input_text", "text": "y"},
                        {"type": "input_image", "image_url": "data:image/png;base64,aW1n"}]},
            {"role": "user", "content": "next"},
        ]
    ).call.messages  # fmt: skip
    assert [message.role for message in messages] == [
        "developer", "user", "assistant", "tool", "user"]  # fmt: skip
    assert messages[2].parts == (
        ThinkingPart(text="t", signature="rs_1#gAA"),
        TextPart(text="b"),
        RefusalPart(text="no"),
        ToolUsePart(id="c1", name="read", arguments="{}"),
        ToolUsePart(id="c2", name="mcp__read", arguments="{}"),
    )
    assert messages[3].parts == (
        ToolResultPart(tool_use_id="c1", text="x"),
        ToolResultPart(
            tool_use_id="c2", text="y", media=(ImagePart(media_type="image/png", data="aW1n"),)
        ),
    )


@pytest.mark.parametrize(
    ("content", "part"),
    [
        ({"type": "input_image", "image_url": "https://a.example/i.png", "detail": "auto"},
         ImagePart(media_type="", url="https://a.example/i.png")),
        ({"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,cA"},
         DocumentPart(media_type="application/pdf", name="a.pdf", data="cA")),
        ({"type": "input_file", "file_url": "https://a.example/a.pdf"},
         DocumentPart(media_type="", url="https://a.example/a.pdf")),
        ({"type": "input_audio", "input_audio": {"data": "d2F2", "format": "mp3"}},
         AudioPart(format="mp3", data="d2F2")),
    ],
)  # fmt: skip
def test_media_are_read(content, part):
    assert asked(input=[{"role": "user", "content": [content]}]).call.messages[0].parts == (part,)


@pytest.mark.parametrize(
    "content",
    [
        {"type": "input_image", "file_id": "file_1"},
        {"type": "input_file", "file_id": "file_1"},
        {"type": "hologram", "data": 5},
    ],
)
def test_content_that_only_openai_has_is_carried(content):
    (part,) = asked(input=[{"role": "user", "content": [content]}]).call.messages[0].parts
    assert isinstance(part, OpaquePart)
    assert part.dialect is DialectName.RESPONSES
    assert json.loads(bytes(part.raw)) == content


@pytest.mark.parametrize(
    "kind",
    ["web_search_call", "computer_call", "computer_call_output", "local_shell_call", "mcp_call",
     "mcp_approval_response", "compaction", "item_reference", "tomorrows_item"],
)  # fmt: skip
def test_items_that_only_openai_knows_are_carried(kind):
    item = {"type": kind, "id": "x_1", "name": 7, "call_id": {"odd": True}}
    (message,) = asked(input=[item]).call.messages
    (part,) = message.parts
    assert isinstance(part, OpaquePart)
    assert json.loads(bytes(part.raw)) == item


def test_tools_of_every_kind():
    search = {"type": "web_search"}
    untyped = {"name": "who_knows"}
    remote = {"type": "mcp", "server_label": "x"}
    patch = {
        "type": "custom",
        "name": "apply_patch",
        "description": "Edits",
        "format": {"type": "grammar", "syntax": "lark", "definition": "start: X"},
    }
    call = asked(tools=[FUNCTION, CALLS, patch, search, untyped, remote]).call
    assert [tool.name for tool in call.tools] == ["read", "mcp__read", "apply_patch"]
    assert call.tools[0].strict is True
    assert json.loads(bytes(call.tools[0].parameters)) == {"type": "object"}
    assert "start: X" in call.tools[2].description
    assert json.loads(bytes(call.tools[2].parameters))["required"] == ["input"]
    assert [json.loads(bytes(raw)) for raw in call.server_tools] == [search, untyped, remote]


def test_names_of_other_vendors_are_never_ambiguous():
    rival = FUNCTION | {"name": "mcp__read"}
    long = {"type": "namespace", "name": "n" * 50, "tools": [FUNCTION | {"name": "f" * 50}]}
    dotted = {"type": "namespace", "name": "a.b", "tools": [FUNCTION]}
    request = asked(tools=[rival, CALLS, long, dotted])
    names = [tool.name for tool in request.call.tools]
    assert len(set(names)) == 4
    assert names[0] == "mcp__read"
    assert all(len(name) <= 64 and name.replace("_", "").isalnum() for name in names)
    homes = [(request.tool_names[name].namespace, request.tool_names[name].name)
             for name in names[1:]]  # fmt: skip
    assert homes == [("mcp", "read"), ("n" * 50, "f" * 50), ("a.b", "read")]


def test_tools_that_items_bring_along_can_be_called():
    brought = {"type": "additional_tools", "role": "developer", "tools": [CALLS]}
    request = asked(input=[brought, {"role": "user", "content": "go"}])
    assert [tool.name for tool in request.call.tools] == ["mcp__read"]
    assert [message.role for message in request.call.messages] == ["user"]


@pytest.mark.parametrize(
    ("choice", "word", "name", "carried"),
    [
        ("auto", "auto", "", False),
        ("none", "none", "", False),
        ("required", "required", "", False),
        ("tomorrow", "auto", "", True),
        ({"type": "function", "name": "read"}, "auto", "read", False),
        ({"type": "function", "function": {"name": "read"}}, "auto", "read", False),
        ({"type": "function", "name": "read", "namespace": "mcp"}, "auto", "mcp__read", False),
        ({"type": "web_search_preview"}, "auto", "", True),
        ({"type": "mcp", "server_label": "x"}, "auto", "", True),
    ],
)
def test_every_choice_of_tools(choice, word, name, carried):
    call = asked(tools=[FUNCTION, CALLS], tool_choice=choice).call
    assert (call.tool_choice, call.tool_name, "tool_choice" in call.extra) == (word, name, carried)


def test_allowed_tools_are_the_only_ones_offered():
    choice = {"type": "allowed_tools", "mode": "required",
              "tools": [{"type": "function", "name": "read"}]}  # fmt: skip
    call = asked(tools=[FUNCTION, CALLS], tool_choice=choice).call
    assert ([tool.name for tool in call.tools], call.tool_choice) == (["read"], "required")


@pytest.mark.parametrize(
    ("reasoning", "level"),
    [(None, "off"), ({}, "auto"), ({"effort": "none"}, "off"), ({"effort": "minimal"}, "minimal"),
     ({"effort": "low"}, "low"), ({"effort": "medium"}, "medium"), ({"effort": "high"}, "high"),
     ({"effort": "xhigh"}, "high"), ({"effort": "galactic"}, "auto"),
     ({"summary": "auto"}, "auto")],
)  # fmt: skip
def test_efforts(reasoning, level):
    assert asked(reasoning=reasoning).call.reasoning.level == level


def test_parameters_are_read_and_the_rest_is_carried():
    schema = {"type": "object", "properties": {}}
    request = asked(
        max_output_tokens=5,
        temperature=1,
        top_p=0.5,
        parallel_tool_calls=False,
        metadata={"a": "b"},
        user="u1",
        text={"format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True},
              "verbosity": "low"},
        include=["reasoning.encrypted_content"],
        truncation="auto",
        service_tier="flex",
        prompt_cache_key="k",
        stream=True,
        stream_options={"include_obfuscation": False},
        store=False,
        tomorrow={"x": [1]},
    )  # fmt: skip
    call = request.call
    assert (call.max_output_tokens, call.temperature, call.top_p) == (5, 1.0, 0.5)
    assert (call.parallel_tools, call.session) == (False, "k")
    assert call.metadata == {"a": "b", "user_id": "u1"}
    wanted = call.response_format
    assert wanted is not None
    assert (wanted.name, wanted.strict) == ("n", True)
    assert json.loads(bytes(wanted.schema or b"")) == schema
    assert (request.is_streamed, request.is_stored) == (True, False)
    carried = {name: json.loads(bytes(raw)) for name, raw in call.extra.items()}
    assert carried.pop("text")["verbosity"] == "low"
    assert carried == {
        "include": ["reasoning.encrypted_content"],
        "truncation": "auto",
        "service_tier": "flex",
        "prompt_cache_key": "k",
        "tomorrow": {"x": [1]},
    }
    assert call.source is not None
    assert json.loads(call.source.body)["tomorrow"] == {"x": [1]}


def test_a_continued_request_says_everything_itself():
    request = asked(
        input=[{"type": "item_reference", "id": "msg_1"}, {"role": "user", "content": "b"}],
        previous_response_id="resp_0",
        tomorrow=1,
    )
    assert responses.references(request) == ("msg_1",)
    said = msgspec.Raw(b'{"type":"message","role":"assistant","id":"msg_1","content":"ref"}')
    history = (msgspec.Raw(b'{"role":"user","content":"a"}'),)
    whole: Any = responses.continued(request, history=history, referenced={"msg_1": said})
    texts = [message.parts[0].text for message in whole.call.messages]
    assert texts == ["a", "ref", "b"]
    assert whole.call.source is not None
    body = json.loads(whole.call.source.body)
    assert "previous_response_id" not in body
    assert [item.get("content") for item in body["input"]] == ["a", "ref", "b"]
    assert body["tomorrow"] == 1
    assert whole.previous_response_id == "resp_0"
    assert whole.items == request.items
    own = responses.own_items(request, referenced={"msg_1": said})
    assert [json.loads(bytes(raw))["content"] for raw in own] == ["ref", "b"]


@pytest.mark.parametrize(
    ("members", "pointers"),
    [
        ({"model": 5}, ["/model"]),
        ({"model": ""}, ["/model"]),
        ({"input": 5}, ["/input"]),
        ({"input": None}, ["/input"]),
        ({"input": ["x"]}, ["/input/0"]),
        ({"input": [{"role": "user", "content": 5}]}, ["/input/0/content"]),
        ({"input": [{"role": "user", "content": ["x"]}]}, ["/input/0/content/0"]),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": 5}]}]},
         ["/input/0/content/0"]),
        ({"input": [{"content": "x"}]}, ["/input/0/role"]),
        ({"input": [{"type": "function_call", "name": "f", "arguments": {}, "call_id": "c"}]},
         ["/input/0"]),
        ({"input": [{"type": "function_call", "call_id": "c"}]}, ["/input/0/name"]),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, ["/input/0/call_id"]),
        ({"tools": {}}, ["/tools"]),
        ({"tools": [FUNCTION, 5]}, ["/tools/1"]),
        ({"tools": [{"type": "function"}]}, ["/tools/0/name"]),
        ({"tool_choice": 5}, ["/tool_choice"]),
        ({"temperature": "warm", "top_p": [], "stream": "yes"},
         ["/stream", "/temperature", "/top_p"]),
        ({"max_output_tokens": 0}, ["/max_output_tokens"]),
        ({"metadata": []}, ["/metadata"]),
        ({"reasoning": "much"}, ["/reasoning"]),
        ({"text": "json"}, ["/text"]),
        ({"background": True, "store": False}, ["/background"]),
    ],
)  # fmt: skip
def test_what_cannot_be_understood_is_refused_with_its_place(members, pointers):
    with pytest.raises(InvalidInput) as refusal:
        asked(**members)
    assert [fault.pointer for fault in refusal.value.errors] == pointers


NESTED = b'{"model":"m","input":"x","metadata":' + b'{"a":' * 64 + b"1" + b"}" * 64 + b"}"
BRACKETS = json.dumps({"model": "m", "input": "[{" * 500}).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b'"x"',
        b"{",
        b'{"model":"m","input":"x"',
        b'{"model":"m","input":"x"} x',
        b'{"model":"m","input":"x","temperature":NaN}',
        b'{"model":"m","input":"x","extra":{"deep":[NaN]}}',
        b'{"model":"m","input":"x","extra":Infinity}',
        b'{"model":"m","input":"\xff"}',
        b'{"model":"m","input":"x","extra":"\xff"}',
        b'{"model":"m","input":"\\ud800"}',
        NESTED,
        b"[" * 1_000_000,
        b'{"a":' * 1_000_000,
    ],
)
def test_hostile_bodies_are_refused(body):
    with pytest.raises(InvalidInput):
        asked(raw=body)


def test_brackets_in_a_text_are_no_depth():
    assert asked(raw=BRACKETS).call.messages[0].parts[0].text == "[{" * 500


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["type", "role", "content", "text", "id", "call_id", "name", "output",
                         "arguments", "summary", "tools", "x"]),
        inner | st.sampled_from(["message", "function_call", "reasoning", "user", "namespace",
                                 "function_call_output", "custom", "input_image"]),
        max_size=4,
    ),
    max_leaves=12,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(items=st.lists(JSON, max_size=3), tools=st.lists(JSON, max_size=2), choice=JSON)
def test_any_request_is_read_or_refused(items, tools, choice):
    with suppress(InvalidInput):
        request = asked(input=items, tools=tools, tool_choice=choice)
        assert len(request.items) == len(items)
