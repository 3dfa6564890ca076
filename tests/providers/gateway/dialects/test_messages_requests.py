"""What stock clients of Anthropic's messages send, as calls: shapes from its reference, the SDK's
parameter types, and Claude Code."""

from __future__ import annotations

from uuid import uuid4

import msgspec
import pytest

from ideplatform.kit.errors import InvalidInput
from providers.gateway.dialects import messages
from providers.gateway.dialects.contract import Asked
from providers.types import (
    Call,
    DialectName,
    DocumentPart,
    ImagePart,
    Message,
    OpaquePart,
    Reasoning,
    RedactedThinkingPart,
    TextPart,
    ThinkingPart,
    ToolResultPart,
    ToolUsePart,
)
from tests.providers.gateway.dialects.vendors import CONTEXT

USER = {"role": "user", "content": "hi"}
PNG = {"type": "base64", "media_type": "image/png", "data": "AAAA"}


def asked(*, headers=None, **members) -> Asked:
    request = {"model": "default/code", "max_tokens": 1_000, "messages": [USER]} | members
    body = msgspec.json.encode(request)
    return messages.read(body, headers=headers or {}, request_id=uuid4(), context=CONTEXT)


def call_of(**members) -> Call:
    return asked(**members).call


def parts_of(*content, role="user") -> tuple[object, ...]:
    return call_of(messages=[{"role": role, "content": list(content)}]).messages[0].parts


def raw(part: object) -> object:
    assert isinstance(part, OpaquePart)
    assert part.dialect is DialectName.MESSAGES
    return msgspec.json.decode(part.raw)


def unsaid(call) -> dict[str, object]:
    return {name: msgspec.json.decode(value) for name, value in call.extra.items()}


def test_a_plain_request_is_a_plain_call():
    found = asked(
        headers={"anthropic-beta": "a,b", "anthropic-version": "2023-06-01", "x-api-key": "k"},
        system="be brief",
        stream=True,
        temperature=1,
        top_p=0.9,
        stop_sequences=["END"],
        metadata={"user_id": "u"},
        top_k=5,
        context_management={"edits": []},
    )
    call = found.call
    assert (found.is_streamed, found.asks_usage) == (True, True)
    assert (call.system, call.max_output_tokens) == ("be brief", 1_000)
    assert call.messages == (Message(role="user", parts=(TextPart(text="hi"),)),)
    assert (call.temperature, call.top_p, call.stop) == (1, 0.9, ("END",))
    assert call.metadata == {"user_id": "u"}
    assert unsaid(call) == {"top_k": 5, "context_management": {"edits": []}}
    assert call.source is not None
    assert call.source.dialect is DialectName.MESSAGES
    assert call.source.headers == {"anthropic-beta": "a,b", "anthropic-version": "2023-06-01"}


def test_counting_needs_no_limit():
    assert call_of(max_tokens=None).max_output_tokens is None


def test_system_blocks_keep_their_marks_and_the_accounting_line_is_anthropics_alone():
    line = {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1; cch=36ee5;"}
    call = call_of(
        system=[
            line,
            {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}},
            {"type": "text", "text": "b", "cache_control": {"type": "ephemeral", "ttl": "1h"}},
        ]
    )
    leading = call.messages[0]
    assert (call.system, leading.role) == ("", "system")
    accounting, *told = leading.parts
    assert isinstance(accounting, OpaquePart)
    assert raw(accounting) == line
    assert told == [TextPart(text="a", cache="5m"), TextPart(text="b", cache="1h")]


def test_system_in_the_middle_stays_there_and_an_unknown_role_speaks_as_a_user():
    call = call_of(
        messages=[USER, {"role": "system", "content": "now"}, {"role": "oracle", "content": "x"}]
    )
    assert [message.role for message in call.messages] == ["user", "system", "user"]


def test_parts_of_every_kind():
    assert parts_of(
        {"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}, "citations": None},
        {"type": "image", "source": PNG},
        {"type": "image", "source": {"type": "url", "url": "https://a.example/x.png"}},
        {
            "type": "document",
            "title": "a.pdf",
            "source": {"type": "base64", "media_type": "application/pdf", "data": "JVBE"},
        },
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "plain"},
        },
        {"type": "document", "source": {"type": "url", "url": "https://a.example/x.pdf"}},
        {"type": "document", "source": {"type": "content", "content": "whole"}},
        {
            "type": "document",
            "source": {"type": "content", "content": [{"type": "text", "text": "in blocks"}]},
        },
        {
            "type": "search_result",
            "title": "T",
            "source": "https://a.example/",
            "content": [{"type": "text", "text": "found"}],
        },
    ) == (
        TextPart(text="a", cache="5m"),
        ImagePart(media_type="image/png", data="AAAA"),
        ImagePart(media_type="", url="https://a.example/x.png"),
        DocumentPart(media_type="application/pdf", name="a.pdf", data="JVBE"),
        DocumentPart(media_type="text/plain", text="plain"),
        DocumentPart(media_type="application/pdf", url="https://a.example/x.pdf"),
        DocumentPart(media_type="text/plain", text="whole"),
        DocumentPart(media_type="text/plain", text="in blocks"),
        DocumentPart(media_type="text/plain", name="T - https://a.example/", text="found"),
    )


def test_a_turn_with_tools_comes_back_signed():
    assert parts_of(
        {"type": "thinking", "thinking": "t", "signature": "s"},
        {"type": "redacted_thinking", "data": "d"},
        {"type": "text", "text": "so"},
        {"type": "tool_use", "id": "a", "name": "read", "input": {"p": [1, "é"]}},
        {"type": "tool_use", "id": "b", "name": "list"},
        role="assistant",
    ) == (
        ThinkingPart(text="t", signature="s"),
        RedactedThinkingPart(data="d"),
        TextPart(text="so"),
        ToolUsePart(id="a", name="read", arguments='{"p":[1,"é"]}'),
        ToolUsePart(id="b", name="list", arguments="{}"),
    )


def test_results_of_tools():
    reference = {"type": "tool_reference", "tool_name": "x"}
    assert parts_of(
        {"type": "tool_result", "tool_use_id": "a", "content": "plain"},
        {"type": "tool_result", "tool_use_id": "b", "is_error": True},
        {
            "type": "tool_result",
            "tool_use_id": "c",
            "content": [
                {"type": "text", "text": "see"},
                {"type": "image", "source": PNG},
                {"type": "text", "text": "this"},
                reference,
            ],
            "cache_control": {"type": "ephemeral"},
        },
        {"type": "text", "text": "go on"},
    ) == (
        ToolResultPart(tool_use_id="a", text="plain"),
        ToolResultPart(tool_use_id="b", text="", is_error=True),
        ToolResultPart(
            tool_use_id="c",
            text="see\nthis\n" + msgspec.json.encode(reference).decode(),
            media=(ImagePart(media_type="image/png", data="AAAA"),),
            cache="5m",
        ),
        TextPart(text="go on"),
    )


@pytest.mark.parametrize(
    "block",
    [
        {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"query": "x"}},
        {"type": "web_search_tool_result", "tool_use_id": "s", "content": []},
        {"type": "compaction", "content": "short"},
        {"type": "container_upload", "file_id": "f"},
        {"type": "mcp_tool_result", "tool_use_id": "m", "is_error": False, "content": "x"},
        {"type": "image", "source": {"type": "file", "file_id": "f"}},
        {"type": "hologram", "text": {"deep": 1}, "input": [1]},
    ],
)
def test_blocks_that_only_their_vendor_knows_are_carried(block):
    (carried,) = parts_of(block)
    assert isinstance(carried, OpaquePart)
    assert raw(carried) == block


def test_tools_of_every_kind():
    call = call_of(
        tools=[
            {
                "name": "read",
                "description": "d",
                "input_schema": {"type": "object", "maximum": 18446744073709551615},
                "strict": True,
                "cache_control": {"type": "ephemeral", "ttl": "1h"},
            },
            {"name": "typed", "type": "custom", "input_schema": {"type": "object"}},
            {"name": "bare"},
            {"type": "web_search_20250305", "name": "web_search", "max_uses": 5},
            {"type": "bash_20250124", "name": "bash"},
            {"type": "text_editor_20250728", "name": "str_replace_based_edit_tool"},
            {"type": "mcp_toolset", "mcp_server_name": "x"},
        ]
    )
    assert [(tool.name, tool.description, tool.strict, tool.cache) for tool in call.tools] == [
        ("read", "d", True, "1h"),
        ("typed", "", None, ""),
        ("bare", "", None, ""),
    ]
    assert bytes(call.tools[0].parameters) == b'{"type":"object","maximum":18446744073709551615}'
    assert bytes(call.tools[2].parameters) == b'{"type":"object","properties":{}}'
    assert [msgspec.json.decode(tool)["type"] for tool in call.server_tools] == [
        "web_search_20250305",
        "bash_20250124",
        "text_editor_20250728",
        "mcp_toolset",
    ]


@pytest.mark.parametrize(
    ("choice", "mode", "name", "is_parallel"),
    [
        ({"type": "auto"}, "auto", "", True),
        ({"type": "any", "disable_parallel_tool_use": True}, "required", "", False),
        ({"type": "tool", "name": "read"}, "required", "read", True),
        ({"type": "none"}, "none", "", True),
        (None, "auto", "", True),
    ],
)
def test_choices_of_tools(choice, mode, name, is_parallel):
    call = call_of(tools=[{"name": "read"}], tool_choice=choice)
    assert (call.tool_choice, call.tool_name, call.parallel_tools) == (mode, name, is_parallel)
    assert call.extra == {}


def test_a_choice_that_nobody_knows_is_carried():
    assert unsaid(call_of(tool_choice={"type": "dice"})) == {"tool_choice": {"type": "dice"}}


@pytest.mark.parametrize(
    ("members", "reasoning", "kept"),
    [
        ({}, Reasoning(), set()),
        ({"thinking": {"type": "disabled"}}, Reasoning(), set()),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 1_024}},
            Reasoning(level="minimal", budget=1_024),
            set(),
        ),
        (
            {"thinking": {"type": "enabled", "budget_tokens": 31_999}},
            Reasoning(level="high", budget=31_999),
            set(),
        ),
        ({"thinking": {"type": "adaptive"}}, Reasoning(level="auto"), set()),
        (
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "low"}},
            Reasoning(level="low"),
            set(),
        ),
        (
            {"thinking": {"type": "adaptive", "display": "omitted"}},
            Reasoning(level="auto"),
            {"thinking"},
        ),
        ({"thinking": {"type": "between_tools"}}, Reasoning(level="auto"), {"thinking"}),
        ({"output_config": {"effort": "max"}}, Reasoning(level="high"), {"output_config"}),
        ({"output_config": {"task_budget": {}}}, Reasoning(), {"output_config"}),
    ],
)
def test_how_much_to_think(members, reasoning, kept):
    call = call_of(**members)
    assert call.reasoning == reasoning
    assert set(call.extra) == kept


@pytest.mark.parametrize(
    "members",
    [
        {"output_config": {"format": {"type": "json_schema", "schema": {"type": "object"}}}},
        {"output_format": {"type": "json_schema", "schema": {"type": "object"}}},
    ],
)
def test_the_form_of_the_answer(members):
    found = call_of(**members).response_format
    assert found is not None
    assert found.strict
    assert found.schema is not None
    assert msgspec.json.decode(found.schema) == {"type": "object"}


@pytest.mark.parametrize(
    ("members", "pointer"),
    [
        ({"model": None}, "/model"),
        ({"messages": "hi"}, "/messages"),
        ({"messages": [[]]}, "/messages/0"),
        ({"messages": [{"role": "user", "content": {}}]}, "/messages/0/content"),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": None}]}]},
            "/messages/0/content/0/text",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result"}]}]},
            "/messages/0/content/0/tool_use_id",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_use", "id": 5}]}]},
            "/messages/0/content/0/id",
        ),
        (
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "tool_result", "tool_use_id": "a", "content": 5}],
                    }
                ]
            },
            "/messages/0/content/0/content",
        ),
        ({"system": 5}, "/system"),
        ({"system": [{"type": "text"}]}, "/system/0/text"),
        ({"max_tokens": 0}, "/max_tokens"),
        ({"max_tokens": 1.5}, "/max_tokens"),
        ({"temperature": "hot"}, "/temperature"),
        ({"stop_sequences": "END"}, "/stop_sequences"),
        ({"tools": [{"input_schema": {}}]}, "/tools/0"),
        ({"output_config": {"format": 5}}, "/output_config/format"),
    ],
)
def test_what_is_not_this_dialect_is_refused_with_its_place(members, pointer):
    with pytest.raises(InvalidInput) as refused:
        asked(**members)
    assert [fault.pointer for fault in refused.value.errors] == [pointer]
