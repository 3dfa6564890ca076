"""What clients of `responses` read, event by event and as a whole."""

from __future__ import annotations

import json

import msgspec
import pytest

from billing.errors import InsufficientCredits
from providers.errors import ContextExceeded, Overloaded
from providers.gateway.dialects import responses
from providers.types import (
    Citation,
    DialectName,
    Image,
    Opaque,
    OpenItem,
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
from tests.providers.gateway.dialects.responses_client import (
    accumulated,
    asked,
    final,
    judged,
    opening,
    streamed,
    whole,
)
from tests.providers.gateway.dialects.vendors import a_usage

NAMESPACE = {
    "type": "namespace",
    "name": "mcp__files",
    "description": "Files",
    "tools": [{"type": "function", "name": "read", "parameters": {"type": "object"}}],
}
PATCH = {"type": "custom", "name": "apply_patch", "description": "Edits files"}
PARALLEL = [
    ToolCall(index=1, id="call_a", name="read"),
    ToolCall(index=2, id="call_b", name="list"),
    ToolArguments(index=1, delta='{"path":'),
    ToolArguments(index=2, delta="{}"),
    ToolArguments(index=1, delta='"a.py"}'),
    ToolCallEnd(index=1),
    ToolCallEnd(index=2),
]


def types(stream: bytes) -> list[str]:
    return [event["type"].removeprefix("response.") for event in judged(stream)]


def test_a_text_comes_in_openais_order():
    stream = streamed([Text(index=0, text="Olá"), Text(index=0, text=' \n"x"')])
    assert types(stream) == [
        "created",
        "in_progress",
        "output_item.added",
        "content_part.added",
        "output_text.delta",
        "output_text.delta",
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "completed",
    ]
    assert accumulated(stream).output_text == 'Olá \n"x"'
    told = final(stream)
    assert (told["id"], told["model"], told["status"]) == ("resp_1", "default/code", "completed")
    assert told["output"] == [
        {
            "id": "msg_1_0",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [
                {
                    "type": "output_text",
                    "text": 'Olá \n"x"',
                    "annotations": [],
                    "logprobs": [],
                }
            ],
        }
    ]


def test_parallel_calls_stay_open_beside_each_other():
    stream = streamed(PARALLEL, reason=StopReason.TOOL_CALLS)
    assert types(stream)[2:-1] == [
        "output_item.added",
        "output_item.added",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.delta",
        "function_call_arguments.done",
        "output_item.done",
        "function_call_arguments.done",
        "output_item.done",
    ]
    calls = [(item["call_id"], item["arguments"]) for item in final(stream)["output"]]
    assert calls == [("call_a", '{"path":"a.py"}'), ("call_b", "{}")]
    assert [item.arguments for item in accumulated(stream).output] == ['{"path":"a.py"}', "{}"]


def test_usage_includes_what_openai_includes_and_its_cost():
    usage = a_usage(
        "0.000123000000",
        input=100,
        cache_read=40,
        cache_write_5m=10,
        output=30,
        output_reasoning=12,
    )
    expected = {
        "input_tokens": 150,
        "input_tokens_details": {"cached_tokens": 40, "cache_write_tokens": 10},
        "output_tokens": 42,
        "output_tokens_details": {"reasoning_tokens": 12},
        "total_tokens": 192,
        "cost": "0.000123000000",
    }
    assert final(streamed([], usage=usage))["usage"] == expected
    assert whole([], usage=usage)["usage"] == expected


@pytest.mark.parametrize(
    ("reason", "event", "status", "details"),
    [
        (StopReason.END, "completed", "completed", None),
        (StopReason.TOOL_CALLS, "completed", "completed", None),
        (StopReason.STOP_SEQUENCE, "completed", "completed", None),
        (StopReason.PAUSE, "completed", "completed", None),
        (StopReason.LENGTH, "incomplete", "incomplete", {"reason": "max_output_tokens"}),
        (StopReason.BUDGET, "incomplete", "incomplete", {"reason": "max_output_tokens"}),
        (StopReason.CONTENT_FILTER, "incomplete", "incomplete", {"reason": "content_filter"}),
        (StopReason.REFUSAL, "incomplete", "incomplete", {"reason": "content_filter"}),
        (StopReason.CANCELLED, "incomplete", "cancelled", None),
    ],
)
def test_every_reason_has_its_end(reason, event, status, details):
    stream = streamed([Text(index=0, text="a")], reason=reason)
    assert types(stream)[-1] == event
    for told in (final(stream), whole([Text(index=0, text="a")], reason=reason)):
        assert (told["status"], told["incomplete_details"]) == (status, details)
        item_status = "completed" if status == "completed" else "incomplete"
        assert told["output"][0]["status"] == item_status


def test_a_cut_by_the_budget_says_so():
    told = final(streamed([Text(index=0, text="a")], reason=StopReason.BUDGET))
    assert told["x_mundial"] == {"stop": "budget"}


def test_a_refusal_in_words_ends_in_order():
    chunks = [Refusal(text="No"), Refusal(text=".")]
    stream = streamed(chunks, reason=StopReason.REFUSAL)
    assert types(stream)[3:7] == [
        "content_part.added",
        "refusal.delta",
        "refusal.delta",
        "refusal.done",
    ]
    for told in (final(stream), whole(chunks, reason=StopReason.REFUSAL)):
        assert told["status"] == "completed"
        assert told["output"][0]["content"] == [{"type": "refusal", "refusal": "No."}]


def test_texts_of_several_blocks_are_parts_of_one_message():
    chunks = [Text(index=0, text="a"), Text(index=1, text="b"), Text(index=1, text="c")]
    stream = streamed(chunks)
    for told in (final(stream), whole(chunks)):
        (message,) = told["output"]
        assert [part["text"] for part in message["content"]] == ["a", "bc"]


def test_citations_are_annotations_of_the_text_before_them():
    chunks = [
        Text(index=0, text="It rains"),
        Citation(index=0, url="https://a.example", title="A"),
        Text(index=0, text=" today"),
        Citation(index=0, url="https://b.example", title="B"),
        Citation(index=0, title="no address"),
    ]
    (part,) = final(streamed(chunks))["output"][0]["content"]
    places = [(a["url"], a["start_index"], a["end_index"]) for a in part["annotations"]]
    assert places == [("https://a.example", 0, 8), ("https://b.example", 8, 14)]


def test_signed_thoughts_come_home_with_the_next_request():
    chunks = [
        Thinking(index=0, text="Let me "),
        Thinking(index=0, text="see"),
        ThinkingSignature(index=0, signature="c2ln"),
        RedactedThinking(index=1, data="ZGF0YQ=="),
        ToolCall(index=2, id="call_a", name="read", signature="Z29vZ2xl"),
        ToolArguments(index=2, delta="{}"),
        ToolCallEnd(index=2),
    ]
    stream = streamed(chunks, reason=StopReason.TOOL_CALLS)
    assert types(stream)[2:9] == [
        "output_item.added",
        "reasoning_summary_part.added",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.delta",
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
        "output_item.done",
    ]
    for told in (final(stream), whole(chunks, reason=StopReason.TOOL_CALLS)):
        items = told["output"]
        assert items[0]["summary"] == [{"type": "summary_text", "text": "Let me see"}]
        result = {"type": "function_call_output", "call_id": "call_a", "output": "text"}
        turn, results = asked(input=[*items, result]).call.messages
        assert [(part.__struct_config__.tag) for part in turn.parts] == [
            "thinking",
            "redacted_thinking",
            "tool_use",
        ]
        thought, redacted, use = turn.parts
        assert (thought.text, thought.signature) == ("Let me see", "c2ln")
        assert redacted.data == "ZGF0YQ=="
        assert (use.id, use.name, use.arguments, use.signature) == (
            "call_a",
            "read",
            "{}",
            "Z29vZ2xl",
        )
        assert results.parts[0].tool_use_id == "call_a"


def test_a_client_that_drops_the_summary_still_brings_the_thought_back():
    chunks = [Thinking(index=0, text="see"), ThinkingSignature(index=0, signature="c2ln")]
    (item,) = final(streamed(chunks))["output"]
    (turn,) = asked(input=[item | {"summary": []}]).call.messages
    assert (turn.parts[0].text, turn.parts[0].signature) == ("see", "c2ln")


def test_openais_vendor_gets_its_own_reasoning_back_and_no_other_vendors():
    own = [Thinking(index=0, text="a"), ThinkingSignature(index=0, signature="rs_9#gAAAA")]
    other = [Thinking(index=0, text="b"), ThinkingSignature(index=0, signature="c2ln")]
    items = [*final(streamed(own))["output"], *final(streamed(other))["output"]]
    request = asked(input=[*items, {"role": "user", "content": "go on"}])
    body = json.loads(request.call.source.body)
    assert body["input"] == [
        {"type": "reasoning", "id": "rs_9", "summary": [], "encrypted_content": "gAAAA"},
        {"role": "user", "content": "go on"},
    ]
    assert [part.signature for part in request.call.messages[0].parts] == ["rs_9#gAAAA", "c2ln"]


def test_tools_are_called_by_the_names_that_the_client_gave_them():
    request = asked(tools=[NAMESPACE, PATCH])
    chunks = [
        ToolCall(index=0, id="call_a", name="mcp__files__read"),
        ToolArguments(index=0, delta='{"path":"a"}'),
        ToolCallEnd(index=0),
        ToolCall(index=1, id="call_b", name="apply_patch"),
        ToolArguments(index=1, delta='{"input":"*** Begin'),
        ToolArguments(index=1, delta=' Patch\\n"}'),
        ToolCallEnd(index=1),
    ]
    stream = streamed(chunks, request=request, reason=StopReason.TOOL_CALLS)
    assert types(stream)[-4:-1] == [
        "custom_tool_call_input.delta",
        "custom_tool_call_input.done",
        "output_item.done",
    ]
    for told in (final(stream), whole(chunks, request=request, reason=StopReason.TOOL_CALLS)):
        read, patch = told["output"]
        assert (read["type"], read["namespace"], read["name"], read["arguments"]) == (
            "function_call",
            "mcp__files",
            "read",
            '{"path":"a"}',
        )
        assert (patch["type"], patch["name"], patch["input"]) == (
            "custom_tool_call",
            "apply_patch",
            "*** Begin Patch\n",
        )
        back = asked(input=told["output"], tools=[NAMESPACE, PATCH]).call.messages[0].parts
        assert [(use.name, json.loads(use.arguments)) for use in back] == [
            ("mcp__files__read", {"path": "a"}),
            ("apply_patch", {"input": "*** Begin Patch\n"}),
        ]


def test_pictures_and_what_ran_here_are_items():
    chunks = [
        Image(index=0, media_type="image/webp", data="aW1n"),
        ToolResult(id="t1", name="search", text="found"),
        ToolResult(id="t2", name="search", text="broken", is_error=True),
    ]
    for told in (final(streamed(chunks)), whole(chunks)):
        image, found, broken = told["output"]
        assert (image["type"], image["result"], image["output_format"]) == (
            "image_generation_call",
            "aW1n",
            "webp",
        )
        assert (found["type"], found["output"], found["error"]) == ("mcp_call", "found", None)
        assert (broken["status"], broken["output"]) == ("failed", None)
        assert broken["error"] == {"type": "mcp_tool_execution_error", "content": "broken"}


def test_an_opaque_item_of_this_dialect_is_told_on_one_line():
    raw = msgspec.Raw(
        b'{"type": "web_search_call",\n "id": "ws_1", "status": "completed",'
        b'"action":{"type":"search","query":"x"}}'
    )
    other = Opaque(dialect=DialectName.MESSAGES, raw=raw)
    stream = streamed([Opaque(dialect=DialectName.RESPONSES, raw=raw), other])
    assert [item["id"] for item in final(stream)["output"]] == ["ws_1"]


def test_a_request_is_repeated_in_its_answer():
    request = asked(
        raw=b'{"model":"m","input":"hi","instructions":"Be\\nbrief.","temperature":0.5,\n'
        b'"tools":[\n{"type":"function","name":"f","parameters":{},"strict":false}],'
        b'"metadata":{"a":"b"},"parallel_tool_calls":false,"store":false,"user":null}'
    )
    for told in (final(streamed([], request=request)), whole([], request=request)):
        assert told["instructions"] == "Be\nbrief."
        assert told["temperature"] == 0.5
        assert told["tools"][0]["name"] == "f"
        assert told["metadata"] == {"a": "b"}
        assert told["parallel_tool_calls"] is False
        assert told["store"] is False
        assert told["text"] == {"format": {"type": "text"}}


@pytest.mark.parametrize(
    ("error", "code", "own"),
    [
        (Overloaded(), "server_error", "provider_busy"),
        (ContextExceeded(), "context_length_exceeded", "provider_context_exceeded"),
        (InsufficientCredits(), "insufficient_quota", "insufficient_credits"),
    ],
)
def test_a_fault_ends_the_stream_once_with_what_there_was(error, code, own):
    writer = responses.writer(opening())
    stream = writer.start(Started(model="m")) + writer.chunk(Text(index=0, text="par"))
    stream += writer.fail(error)
    told = [json.loads(block.split("data: ")[1]) for block in stream.decode().split("\n\n")[:-1]]
    last = told[-1]
    assert [event["sequence_number"] for event in told] == list(range(len(told)))
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert last["response"]["error"]["code"] == code
    assert last["response"]["x_mundial"] == {"code": own}
    assert last["response"]["output"][0]["content"][0]["text"] == "par"
    assert writer.fail(error) == writer.end(a_usage(), Stop(reason=StopReason.END)) == b""


def test_passed_bytes_leave_as_they_are_and_their_end_is_the_end():
    unfinished = Unfinished(answer_id="resp_v", sequence=1)
    data = b'event: response.completed\r\ndata: {"type":"response.completed"}\r\n\r\n'
    writer = responses.writer(opening())
    assert writer.chunk(Passed(data=data, is_ending=True, unfinished=unfinished)) == data
    assert writer.end(a_usage(), Stop(reason=StopReason.END)) == b""


def test_a_cut_stream_of_the_vendor_is_closed_in_its_own_numbers():
    begun = Unfinished(
        answer_id="resp_v",
        model="gpt",
        created_s=1_700_000_001,
        sequence=6,
        output={0: msgspec.Raw(b'{"id":"rs_v","type":"reasoning","summary":[]}')},
        open_items={
            1: OpenItem(
                item=msgspec.Raw(
                    b'{"id":"msg_v","type":"message","role":"assistant",'
                    b'"status":"in_progress","content":[]}'
                ),
                id="msg_v",
                kind="output_text",
                texts={0: ["Hel", "lo"]},
            ),
            2: OpenItem(
                item=msgspec.Raw(
                    b'{"id":"fc_v","type":"function_call","status":"in_progress",'
                    b'"call_id":"call_v","name":"read","arguments":""}'
                ),
                id="fc_v",
                kind="function_call_arguments",
                texts={0: ['{"pa']},
            ),
        },
    )
    writer = responses.writer(opening())
    writer.chunk(Passed(data=b": bytes\n\n", unfinished=begun))
    stream = writer.end(a_usage(input=1), Stop(reason=StopReason.BUDGET))
    told = [json.loads(block.split("data: ")[1]) for block in stream.decode().split("\n\n")[:-1]]
    assert [event["sequence_number"] for event in told] == list(range(7, 13))
    assert [event["type"].removeprefix("response.") for event in told] == [
        "output_text.done",
        "content_part.done",
        "output_item.done",
        "function_call_arguments.done",
        "output_item.done",
        "incomplete",
    ]
    last = told[-1]["response"]
    assert (last["id"], last["created_at"]) == ("resp_v", 1_700_000_001)
    reasoning, message, call = last["output"]
    assert reasoning["id"] == "rs_v"
    assert (message["status"], message["content"][0]["text"]) == ("incomplete", "Hello")
    assert (call["status"], call["arguments"]) == ("incomplete", '{"pa')
