"""What clients of Anthropic's messages read, event by event and as a whole."""

from __future__ import annotations

from typing import Any

import anthropic
import msgspec
import pytest
from anthropic.types.beta import BetaMessage, BetaRawMessageStreamEvent
from pydantic import TypeAdapter

from providers.errors import Overloaded
from providers.gateway.dialects import messages
from providers.gateway.dialects.answers import Collector
from providers.types import (
    Citation,
    DialectName,
    Image,
    Opaque,
    Passed,
    RedactedThinking,
    Refusal,
    Started,
    Stop,
    StopReason,
    Text,
    Thinking,
    ThinkingSignature,
    ToolArguments,
    ToolCall,
    ToolCallEnd,
    ToolResult,
    Unfinished,
)
from tests.providers.gateway.dialects.vendors import (
    a_usage,
    an_opening,
    events,
    strict_events,
    strict_message,
    written,
)

BETA = TypeAdapter(BetaRawMessageStreamEvent)


def a_stream(chunks, *, stop=(), **changes) -> bytes:
    return written(messages.writer(an_opening(stop=stop)), chunks, **changes)


def a_whole(chunks, *, reason=StopReason.END, usage=None, stop=()) -> bytes:
    collector = Collector()
    for chunk in (Started(model="vendor-model"), *chunks):
        collector.add(chunk)
    answer = collector.answer(usage or a_usage(input=3, output=2), Stop(reason=reason))
    return messages.render(answer, an_opening(stop=stop))


def outline(stream: bytes) -> list[str]:
    """The blocks of a stream: where they begin, what they hold, where they end."""
    told = []
    for name, data in events(stream):
        if name == "content_block_start":
            told.append(f"{data['index']} {data['content_block']['type']}")
        elif name == "content_block_delta":
            delta = {key: value for key, value in data["delta"].items() if key != "type"}
            told.append(f"{data['index']} += {'/'.join(map(str, delta.values()))}")
        elif name == "content_block_stop":
            told.append(f"{data['index']} .")
    return told


def test_a_stream_has_anthropics_events_in_anthropics_order():
    stream = a_stream([Text(index=0, text="Olá"), Text(index=0, text="!")])
    strict_events(stream)
    assert [name for name, _ in events(stream)] == [
        "message_start",
        "ping",
        "content_block_start",
        "content_block_delta",
        "content_block_delta",
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    start = events(stream)[0][1]["message"]
    assert (start["id"], start["model"], start["content"]) == ("answer_1", "default/code", [])


def test_usage_leaves_caches_out_of_the_input_as_anthropic_does():
    usage = a_usage(
        "0.5",
        input=100,
        cache_read=40,
        cache_write_5m=7,
        cache_write_30m=1,
        cache_write_1h=3,
        output=30,
        output_reasoning=12,
        web_search=2,
    )
    told = {
        "input_tokens": 100,
        "cache_creation_input_tokens": 11,
        "cache_read_input_tokens": 40,
        "output_tokens": 42,
        "output_tokens_details": {"thinking_tokens": 12},
        "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 0},
        "cost": "0.5",
    }
    stream = a_stream([], usage=usage)
    strict_events(stream)
    assert events(stream)[-2][1]["usage"] == told
    whole = a_whole([], usage=usage)
    strict_message(whole)
    assert msgspec.json.decode(whole)["usage"] == told | {
        "cache_creation": {"ephemeral_5m_input_tokens": 8, "ephemeral_1h_input_tokens": 3},
        "service_tier": "standard",
    }


def test_parallel_calls_become_blocks_one_after_the_other():
    stream = a_stream(
        [
            Text(index=0, text="so: "),
            ToolCall(index=1, id="a", name="read"),
            ToolCall(index=2, id="b", name="list"),
            ToolArguments(index=1, delta='{"p":'),
            ToolArguments(index=2, delta="{}"),
            Text(index=0, text="and"),
            ToolArguments(index=1, delta="1}"),
            Text(index=0, text=" on"),
            ToolCallEnd(index=1),
            ToolCallEnd(index=2),
        ],
        reason=StopReason.TOOL_CALLS,
    )
    strict_events(stream)
    assert outline(stream) == [
        "0 text",
        "0 += so: ",
        "0 .",
        "1 tool_use",
        '1 += {"p":',
        "1 += 1}",
        "1 .",
        "2 tool_use",
        "2 += {}",
        "2 .",
        "3 text",
        "3 += and",
        "3 +=  on",
        "3 .",
    ]


def test_a_call_whose_arguments_are_whole_lets_the_next_one_stream():
    writer = messages.writer(an_opening())
    told = [
        writer.chunk(chunk)
        for chunk in (
            ToolCall(index=1, id="a", name="read"),
            ToolArguments(index=1, delta='{"p":1}'),
            ToolCall(index=2, id="b", name="list"),
            ToolArguments(index=2, delta='{"q"'),
            ToolArguments(index=1, delta=" "),
        )
    ]
    assert [outline(one) for one in told] == [
        ["0 tool_use"],
        ['0 += {"p":1}'],
        ["0 .", "1 tool_use"],
        ['1 += {"q"'],
        [],
    ]


def test_a_signature_ends_its_thought(readers):
    chunks = [
        Thinking(index=0, text="hm"),
        ThinkingSignature(index=0, signature="one"),
        Thinking(index=0, text="again"),
        ThinkingSignature(index=5, signature="two"),
        RedactedThinking(index=6, data="cmVk"),
        Text(index=7, text="x"),
    ]
    stream = a_stream(chunks)
    strict_events(stream)
    assert outline(stream) == [
        "0 thinking",
        "0 += hm",
        "0 += one",
        "0 .",
        "1 thinking",
        "1 += again",
        "1 .",
        "2 thinking",
        "2 += two",
        "2 .",
        "3 redacted_thinking",
        "3 .",
        "4 text",
        "4 += x",
        "4 .",
    ]
    whole: dict[str, Any] = strict_message(a_whole(chunks)).to_dict()
    content = whole["content"]
    assert readers.message(stream)["content"] == content
    assert content[0] == {"type": "thinking", "thinking": "hm", "signature": "one"}


def test_a_signature_ends_its_thought_while_it_waits_too():
    stream = a_stream(
        [
            ToolCall(index=0, id="a", name="read"),
            Thinking(index=1, text="hm"),
            ThinkingSignature(index=1, signature="one"),
            Thinking(index=1, text="again"),
            ToolArguments(index=0, delta="{}"),
        ]
    )
    assert outline(stream) == [
        "0 tool_use",
        "0 += {}",
        "0 .",
        "1 thinking",
        "1 += hm",
        "1 += one",
        "1 .",
        "2 thinking",
        "2 += again",
        "2 .",
    ]


def test_googles_signature_of_a_call_travels_as_an_empty_thought_before_it(readers):
    chunks = [
        ToolCall(index=0, id="a", name="read", signature="c2ln"),
        ToolArguments(index=0, delta="{}"),
        ToolCallEnd(index=0),
    ]
    expected = [
        {"type": "thinking", "thinking": "", "signature": "c2ln"},
        {"type": "tool_use", "id": "a", "name": "read", "input": {}},
    ]
    stream = a_stream(chunks, reason=StopReason.TOOL_CALLS)
    strict_events(stream)
    assert readers.message(stream)["content"] == expected
    assert strict_message(a_whole(chunks)).to_dict()["content"] == expected


@pytest.mark.parametrize(
    ("reason", "word", "said"),
    [
        (StopReason.END, "end_turn", None),
        (StopReason.LENGTH, "max_tokens", None),
        (StopReason.TOOL_CALLS, "tool_use", None),
        (StopReason.STOP_SEQUENCE, "stop_sequence", None),
        (StopReason.CONTENT_FILTER, "refusal", None),
        (StopReason.REFUSAL, "refusal", None),
        (StopReason.PAUSE, "pause_turn", None),
        (StopReason.COMPACTION, "compaction", None),
        (StopReason.BUDGET, "max_tokens", {"stop": "budget"}),
        (StopReason.CANCELLED, "max_tokens", {"stop": "cancelled"}),
    ],
)
def test_every_reason_has_a_word_of_anthropic_and_what_it_lacks_is_said_beside_it(
    reason, word, said
):
    ending = events(a_stream([Text(index=0, text="x")], reason=reason))[-2][1]
    BETA.validate_python(ending)
    assert ending["delta"]["stop_reason"] == word
    assert ending.get("x_mundial") == said
    whole = a_whole([Text(index=0, text="x")], reason=reason)
    BetaMessage.model_validate_json(whole, strict=True)
    assert msgspec.json.decode(whole)["stop_reason"] == word


def test_the_stop_sequence_is_named_when_there_was_one_to_meet():
    one = events(a_stream([], reason=StopReason.STOP_SEQUENCE, stop=("END",)))[-2][1]["delta"]
    two = events(a_stream([], reason=StopReason.STOP_SEQUENCE, stop=("END", "X")))[-2][1]["delta"]
    assert (one["stop_sequence"], two["stop_sequence"]) == ("END", None)


def test_a_refusal_is_a_text_and_the_reason(readers):
    chunks = [Refusal(text="I will "), Refusal(text="not.")]
    streamed = readers.message(a_stream(chunks))
    whole = strict_message(a_whole(chunks)).to_dict()
    for told in (streamed, whole):
        assert told["content"] == [{"type": "text", "text": "I will not."}]
        assert told["stop_reason"] == "refusal"
        assert told["stop_details"] == {
            "type": "refusal",
            "category": None,
            "explanation": None,
        }


def test_cited_pages_belong_to_the_text_that_cites_them(readers):
    chunks = [
        Text(index=0, text="see"),
        Citation(index=0, url="https://a.example/", title="A", cited="quoted"),
        Citation(index=0, title="no address"),
        Citation(index=4, url="https://b.example/"),
    ]
    cited = {
        "type": "web_search_result_location",
        "cited_text": "quoted",
        "encrypted_index": "",
        "title": "A",
        "url": "https://a.example/",
    }
    stream = a_stream(chunks)
    strict_events(stream)
    content = [{"type": "text", "text": "see", "citations": [cited]}]
    assert readers.message(stream)["content"] == content
    assert strict_message(a_whole(chunks)).to_dict()["content"] == content


def test_tools_of_ours_and_pictures_are_whole_blocks():
    chunks = [
        ToolResult(id="t1", name="search", text="found", is_error=True),
        Image(index=1, media_type="image/png", data="AAAA"),
    ]
    picture = {"type": "base64", "media_type": "image/png", "data": "AAAA"}
    expected = [
        {
            "type": "mcp_tool_use",
            "id": "t1",
            "name": "search",
            "server_name": "mundial",
            "input": {},
        },
        {
            "type": "mcp_tool_result",
            "tool_use_id": "t1",
            "is_error": True,
            "content": [{"type": "text", "text": "found"}],
        },
        {"type": "image", "source": picture},
    ]
    told = events(a_stream(chunks))
    starts = [data for name, data in told if name == "content_block_start"]
    assert [start["content_block"] for start in starts] == expected
    assert [BETA.validate_python(start).type for start in starts[:2]] == ["content_block_start"] * 2
    assert msgspec.json.decode(a_whole(chunks))["content"] == expected


def test_opaque_blocks_of_messages_pass_as_the_vendor_streams_them():
    search = b'{"type":"server_tool_use","id":"s","name":"web_search",\n"input":{"query":"x"}}'
    compaction = b'{"type":"compaction","content":"short","encrypted_content":"e"}'
    chunks = [
        Opaque(dialect=DialectName.MESSAGES, raw=msgspec.Raw(search)),
        Opaque(dialect=DialectName.MESSAGES, raw=msgspec.Raw(compaction)),
        Opaque(dialect=DialectName.MESSAGES, raw=msgspec.Raw(b"[1]")),
        Opaque(dialect=DialectName.CHAT, raw=msgspec.Raw(b'{"audio":{}}')),
    ]
    told = [data for name, data in events(a_stream(chunks)) if name.startswith("content_block")]
    assert [BETA.validate_python(data).type for data in told] == [
        "content_block_start",
        "content_block_delta",
        "content_block_stop",
    ] * 2
    assert told[0]["content_block"]["input"] == {}
    assert told[1]["delta"] == {"type": "input_json_delta", "partial_json": '{"query":"x"}'}
    assert told[3]["content_block"] == {"type": "compaction", "content": None}
    assert told[4]["delta"] == {
        "type": "compaction_delta",
        "content": "short",
        "encrypted_content": "e",
    }
    whole = msgspec.json.decode(a_whole(chunks[:2]))["content"]
    assert whole == [msgspec.json.decode(search), msgspec.json.decode(compaction)]


def test_arguments_that_are_no_object_are_shown_as_one():
    chunks = [ToolCall(index=0, id="a", name="read"), ToolArguments(index=0, delta='{"p": oops')]
    whole: dict[str, Any] = strict_message(a_whole(chunks)).to_dict()
    (block,) = whole["content"]
    assert block["input"] == {"invalid_arguments": '{"p": oops'}


def test_a_fault_in_the_middle_is_anthropics_error_event_and_nothing_follows(readers):
    writer = messages.writer(an_opening())
    stream = writer.start(Started(model="m")) + writer.chunk(Text(index=0, text="x"))
    stream += writer.fail(Overloaded())
    name, data = events(stream)[-1]
    assert (name, data["type"]) == ("error", "error")
    assert data["error"]["type"] == "overloaded_error"
    with pytest.raises(anthropic.APIStatusError):
        readers.message(stream)


def test_what_was_passed_on_is_ended_where_it_stands():
    writer = messages.writer(an_opening())
    passed = Passed(data=b"event: x\ndata: {}\n\n", unfinished=Unfinished(block=4))
    assert writer.chunk(passed) == passed.data
    told = events(writer.end(a_usage(input=1), Stop(reason=StopReason.BUDGET)))
    assert told[0] == ("content_block_stop", {"type": "content_block_stop", "index": 4})
    assert [name for name, _ in told[1:]] == ["message_delta", "message_stop"]
    assert told[1][1]["delta"]["stop_reason"] == "max_tokens"


def test_nothing_follows_a_passed_ending():
    writer = messages.writer(an_opening())
    writer.chunk(Passed(data=b"", is_ending=True, unfinished=Unfinished()))
    assert writer.end(a_usage(input=1), Stop(reason=StopReason.END)) == b""


def test_what_belongs_to_no_call_is_not_said():
    writer = messages.writer(an_opening())
    assert writer.chunk(ToolArguments(index=7, delta="{}")) == b""
    assert writer.chunk(ToolCallEnd(index=7)) == b""
