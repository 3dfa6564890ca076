"""What clients of chat completions read, chunk by chunk and as a whole."""

from __future__ import annotations

from typing import Any

import msgspec
import openai
import pytest

from providers.errors import Overloaded
from providers.gateway.dialects import chat
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
    Usage,
)
from tests.providers.gateway.dialects.vendors import (
    a_usage,
    an_opening,
    events,
    strict_chunks,
    strict_completion,
    written,
)

PARALLEL = [
    ToolCall(index=1, id="call_a", name="read", signature="c2ln"),
    ToolCall(index=2, id="call_b", name="list"),
    ToolArguments(index=1, delta='{"path":'),
    ToolArguments(index=2, delta="{}"),
    ToolArguments(index=1, delta='"a.py"}'),
    ToolCallEnd(index=1),
    ToolCallEnd(index=2),
]


def deltas(stream: bytes) -> list[dict[str, object]]:
    told = [data for _, data in events(stream)[:-1]]
    return [data["choices"][0]["delta"] for data in told if data["choices"]]


def a_stream(chunks, **changes) -> bytes:
    return written(chat.writer(an_opening()), chunks, **changes)


def a_whole(chunks, *, reason=StopReason.END, usage=None, opening=None) -> bytes:
    collector = Collector()
    for chunk in (Started(model="vendor-model"), *chunks):
        collector.add(chunk)
    answer = collector.answer(usage or a_usage(input=3, output=2), Stop(reason=reason))
    return chat.render(answer, opening or an_opening())


def test_a_stream_opens_with_the_role_and_ends_with_reason_usage_and_done():
    stream = a_stream([Text(index=0, text="Olá"), Text(index=0, text=' \n"x"')])
    told = strict_chunks(stream)
    assert [chunk.object for chunk in told] == ["chat.completion.chunk"] * 5
    assert {chunk.id for chunk in told} == {"answer_1"}
    assert {chunk.model for chunk in told} == {"default/code"}
    assert deltas(stream) == [
        {"role": "assistant", "content": "", "refusal": None},
        {"content": "Olá"},
        {"content": ' \n"x"'},
        {},
    ]
    assert told[-2].choices[0].finish_reason == "stop"
    assert told[-1].choices == []


def test_usage_includes_what_openai_includes():
    usage = a_usage(
        "0.000123000000",
        input=100,
        cache_read=40,
        cache_write_5m=7,
        cache_write_1h=3,
        audio_input=2,
        output=30,
        output_reasoning=12,
        audio_output=1,
    )
    expected = {
        "prompt_tokens": 152,
        "completion_tokens": 43,
        "total_tokens": 195,
        "prompt_tokens_details": {
            "cached_tokens": 40,
            "cache_write_tokens": 10,
            "audio_tokens": 2,
        },
        "completion_tokens_details": {"reasoning_tokens": 12, "audio_tokens": 1},
        "cost": "0.000123000000",
    }
    last = events(a_stream([], usage=usage))[-2][1]
    assert last["choices"] == []
    assert last["usage"] == expected
    assert msgspec.json.decode(a_whole([], usage=usage))["usage"] == expected


def test_parallel_calls_interleave_by_their_number(readers):
    stream = a_stream(PARALLEL, reason=StopReason.TOOL_CALLS)
    strict_chunks(stream)
    assert deltas(stream)[1:-1] == [
        {
            "tool_calls": [
                {
                    "index": 0,
                    "id": "call_a",
                    "type": "function",
                    "function": {"name": "read", "arguments": ""},
                    "extra_content": {"google": {"thought_signature": "c2ln"}},
                }
            ]
        },
        {
            "tool_calls": [
                {
                    "index": 1,
                    "id": "call_b",
                    "type": "function",
                    "function": {"name": "list", "arguments": ""},
                }
            ]
        },
        {"tool_calls": [{"index": 0, "function": {"arguments": '{"path":'}}]},
        {"tool_calls": [{"index": 1, "function": {"arguments": "{}"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '"a.py"}'}}]},
    ]
    choice = readers.completion(stream)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    assert [call["function"]["arguments"] for call in choice["message"]["tool_calls"]] == [
        '{"path":"a.py"}',
        "{}",
    ]


def test_signed_reasoning_is_told_whole_where_clients_keep_it(readers):
    chunks = [
        Thinking(index=0, text="first "),
        Thinking(index=0, text="second"),
        ThinkingSignature(index=0, signature="c2ln"),
        RedactedThinking(index=1, data="b3BhcXVl"),
        Text(index=2, text="done"),
    ]
    details = [
        {"type": "reasoning.text", "text": "first second", "signature": "c2ln", "index": 0},
        {"type": "reasoning.encrypted", "data": "b3BhcXVl", "index": 1},
    ]
    streamed = readers.completion(a_stream(chunks))["choices"][0]["message"]
    whole: dict[str, Any] = strict_completion(a_whole(chunks)).choices[0].message.to_dict()
    for message in (streamed, whole):
        assert message["reasoning_content"] == "first second"
        assert message["reasoning_details"] == details
        assert message["content"] == "done"


def test_the_first_words_for_tools_are_answered_in_those_words():
    opening = an_opening(uses_functions=True)
    stream = written(chat.writer(opening), PARALLEL, reason=StopReason.TOOL_CALLS)
    told = strict_chunks(stream)
    assert deltas(stream)[1:-1] == [
        {"function_call": {"name": "read", "arguments": ""}},
        {"function_call": {"arguments": '{"path":'}},
        {"function_call": {"arguments": '"a.py"}'}},
    ]
    assert told[-2].choices[0].finish_reason == "function_call"
    whole = strict_completion(a_whole(PARALLEL, reason=StopReason.TOOL_CALLS, opening=opening))
    assert whole.choices[0].message.function_call is not None
    assert whole.choices[0].message.function_call.arguments == '{"path":"a.py"}'
    assert whole.choices[0].finish_reason == "function_call"


@pytest.mark.parametrize(
    ("reason", "word", "said"),
    [
        (StopReason.END, "stop", None),
        (StopReason.STOP_SEQUENCE, "stop", None),
        (StopReason.LENGTH, "length", None),
        (StopReason.TOOL_CALLS, "tool_calls", None),
        (StopReason.CONTENT_FILTER, "content_filter", None),
        (StopReason.REFUSAL, "content_filter", None),
        (StopReason.PAUSE, "stop", {"stop": "pause"}),
        (StopReason.COMPACTION, "stop", {"stop": "compaction"}),
        (StopReason.BUDGET, "length", {"stop": "budget"}),
        (StopReason.CANCELLED, "length", {"stop": "cancelled"}),
    ],
)
def test_every_reason_has_a_word_of_openai_and_what_it_lacks_is_said_beside_it(reason, word, said):
    ending = events(a_stream([Text(index=0, text="x")], reason=reason))[-3][1]
    assert ending["choices"][0]["finish_reason"] == word
    assert ending.get("x_mundial") == said
    whole = msgspec.json.decode(a_whole([Text(index=0, text="x")], reason=reason))
    assert whole["choices"][0]["finish_reason"] == word
    assert whole.get("x_mundial") == said


def test_a_refusal_that_speaks_ends_in_order(readers):
    chunks = [Refusal(text="I will "), Refusal(text="not.")]
    streamed = readers.completion(a_stream(chunks, reason=StopReason.REFUSAL))["choices"][0]
    whole = strict_completion(a_whole(chunks, reason=StopReason.REFUSAL)).choices[0]
    assert streamed["message"]["refusal"] == whole.message.refusal == "I will not."
    assert streamed["finish_reason"] == whole.finish_reason == "stop"
    assert whole.message.content is None


def test_pictures_citations_and_results_are_told_beside_the_text(readers):
    chunks = [
        Text(index=0, text="See "),
        Text(index=1, text="there"),
        Citation(index=1, url="https://a.example/", title="A", cited="quoted"),
        Citation(index=1, title="no address"),
        Citation(index=9, url="https://b.example/"),
        Image(index=2, media_type="image/png", data="AAAA"),
        ToolResult(id="t1", name="search", text="found", is_error=True),
        ToolResult(id="t2", name="search", text="nothing"),
    ]
    place = {"start_index": 4, "end_index": 9, "url": "https://a.example/", "title": "A"}
    results = [
        {"id": "t1", "name": "search", "content": "found", "is_error": True},
        {"id": "t2", "name": "search", "content": "nothing", "is_error": False},
    ]
    streamed = readers.completion(a_stream(chunks))["choices"][0]["message"]
    whole: dict[str, Any] = strict_completion(a_whole(chunks)).choices[0].message.to_dict()
    for message in (streamed, whole):
        (cited,) = message["annotations"]
        (picture,) = message["images"]
        told = [
            {name: value for name, value in one.items() if name != "index"}
            for one in message["x_mundial"]["tool_results"]
        ]
        assert (cited["type"], cited["url_citation"]) == ("url_citation", place)
        assert picture["image_url"] == {"url": "data:image/png;base64,AAAA"}
        assert told == results


def test_opaque_deltas_of_chat_pass_on_one_line_and_others_do_not():
    own = Opaque(dialect=DialectName.CHAT, raw=msgspec.Raw(b'{\n "audio": {"id": "a\\n"}\r\n}'))
    other = Opaque(dialect=DialectName.MESSAGES, raw=msgspec.Raw(b'{"type":"compaction"}'))
    no_object = Opaque(dialect=DialectName.CHAT, raw=msgspec.Raw(b"[1]"))
    stream = a_stream([own, other, no_object])
    strict_chunks(stream)
    assert deltas(stream)[1:-1] == [{"audio": {"id": "a\n"}}]
    message = msgspec.json.decode(a_whole([own, other, no_object]))["choices"][0]["message"]
    assert message["audio"] == {"id": "a\n"}


def test_an_estimate_is_called_one():
    usage = msgspec.structs.replace(a_usage(input=1, output=1), is_estimated=True)
    assert events(a_stream([], usage=usage))[-3][1]["x_mundial"] == {"estimated": True}


def test_a_fault_in_the_middle_is_openais_error_event_and_nothing_follows(readers):
    writer = chat.writer(an_opening())
    stream = writer.start(Started(model="m")) + writer.chunk(Text(index=0, text="x"))
    stream += writer.fail(Overloaded())
    name, data = events(stream)[-1]
    assert name == ""
    assert b"[DONE]" not in stream
    assert data["error"]["type"] == "server_error"
    assert data["error"]["code"] == "provider_busy"
    with pytest.raises(openai.APIError) as raised:
        readers.completion(stream)
    assert raised.value.code == "provider_busy"


def test_what_was_passed_on_is_ended_under_the_vendors_own_name():
    unfinished = Unfinished(answer_id="chatcmpl-vendor", model="gpt", created_s=5)
    writer = chat.writer(an_opening())
    begun = b'data: {"id":"chatcmpl-vendor","object":"chat.completion.chunk"}\n\n'
    assert writer.chunk(Passed(data=begun, unfinished=unfinished)) == begun
    told = strict_chunks(writer.end(a_usage(input=1), Stop(reason=StopReason.BUDGET)))
    assert {(chunk.id, chunk.model, chunk.created) for chunk in told} == {
        ("chatcmpl-vendor", "gpt", 5)
    }
    assert told[0].choices[0].finish_reason == "length"


def test_nothing_follows_a_passed_ending():
    writer = chat.writer(an_opening())
    writer.chunk(Passed(data=b"data: [DONE]\n\n", is_ending=True, unfinished=Unfinished()))
    assert writer.end(a_usage(input=1), Stop(reason=StopReason.END)) == b""


def test_what_belongs_to_no_call_and_what_clients_need_not_know_is_not_said():
    writer = chat.writer(an_opening())
    usage = Usage(tokens=a_usage(input=1).tokens, is_final=False)
    for chunk in (ToolArguments(index=7, delta="{}"), ToolCallEnd(index=7), usage):
        assert writer.chunk(chunk) == b""
