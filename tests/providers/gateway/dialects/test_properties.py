"""Whatever a vendor's chunks are and however they interleave, clients read the same answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import pairwise
from typing import Any
from uuid import uuid4

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from providers.gateway.dialects import chat, messages
from providers.gateway.dialects.answers import Collector
from providers.types import (
    Chunk,
    RedactedThinking,
    RedactedThinkingPart,
    Started,
    Stop,
    StopReason,
    Text,
    TextPart,
    Thinking,
    ThinkingPart,
    ThinkingSignature,
    ToolArguments,
    ToolCall,
    ToolCallEnd,
    ToolUsePart,
)
from tests.providers.gateway.dialects.vendors import (
    CONTEXT,
    a_usage,
    an_opening,
    events,
    strict_chunks,
    strict_completion,
    strict_events,
    strict_message,
    written,
)

WORDS = st.text(min_size=1, max_size=6)
SIGNATURES = st.text("ABCdef+/=", min_size=1, max_size=8)
VALUES = st.dictionaries(WORDS, st.integers(0, 99) | WORDS | st.booleans(), max_size=3)
Lane = list[Chunk]


@st.composite
def pieces(draw: st.DrawFn, text: str) -> list[str]:
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=3)))
    bounds = [0, *cuts, len(text)]
    return [text[start:end] for start, end in pairwise(bounds)]


@st.composite
def a_lane(draw: st.DrawFn, index: int) -> Lane:
    """The chunks of one block: they keep their order, whatever comes between them."""
    match draw(st.sampled_from(["text", "thinking", "redacted", "tool", "tool", "tool"])):
        case "text":
            return [Text(index=index, text=word) for word in draw(st.lists(WORDS, min_size=1))]
        case "thinking":
            lane: Lane = [Thinking(index=index, text=draw(WORDS))]
            signed = ThinkingSignature(index=index, signature=draw(SIGNATURES))
            return [*lane, signed] if draw(st.booleans()) else lane
        case "redacted":
            return [RedactedThinking(index=index, data=draw(SIGNATURES))]
    arguments = draw(pieces(json.dumps(draw(VALUES), ensure_ascii=draw(st.booleans()))))
    signature = draw(st.just("") | SIGNATURES)
    call = ToolCall(index=index, id=f"call_{index}", name=draw(WORDS), signature=signature)
    written_out = [ToolArguments(index=index, delta=piece) for piece in arguments if piece]
    end = [ToolCallEnd(index=index)] if draw(st.booleans()) else []
    return [call, *written_out, *end]


@st.composite
def an_answer(draw: st.DrawFn) -> list[Chunk]:
    """Lanes shuffled into one another."""
    lanes = [draw(a_lane(index)) for index in range(draw(st.integers(0, 5)))]
    turns = [number for number, lane in enumerate(lanes) for _ in lane]
    queues: list[Iterator[Chunk]] = [iter(lane) for lane in lanes]
    return [next(queues[number]) for number in draw(st.permutations(turns))]


def said(chunks: list[Chunk]) -> dict[str, Any]:
    """What the chunks say, gathered without regard to blocks."""
    arguments: dict[int, str] = {}
    calls: dict[int, tuple[str, str]] = {}
    signatures: list[str] = []
    for chunk in chunks:
        match chunk:
            case ToolCall(index=index, id=call_id, name=name):
                calls[index] = (call_id, name)
            case ToolArguments(index=index, delta=delta):
                arguments[index] = arguments.get(index, "") + delta
            case ThinkingSignature(signature=signature):
                signatures.append(signature)
    return {
        "text": "".join(chunk.text for chunk in chunks if isinstance(chunk, Text)),
        "thinking": "".join(chunk.text for chunk in chunks if isinstance(chunk, Thinking)),
        "redacted": [chunk.data for chunk in chunks if isinstance(chunk, RedactedThinking)],
        "signatures": signatures,
        "calls": [
            (call_id, name, json.loads(arguments.get(index) or "{}"))
            for index, (call_id, name) in calls.items()
        ],
    }


def signatures_of(chunks: list[Chunk]) -> list[str]:
    """All of them: messages tell that of a call as that of an empty thought before it."""
    signed = (chunk for chunk in chunks if isinstance(chunk, ThinkingSignature | ToolCall))
    return [chunk.signature for chunk in signed if chunk.signature]


def of_message(message: dict[str, Any]) -> dict[str, Any]:
    """The same of an Anthropic message."""
    blocks = message["content"]
    thoughts = [block for block in blocks if block["type"] == "thinking"]
    return {
        "text": "".join(block["text"] for block in blocks if block["type"] == "text"),
        "thinking": "".join(block["thinking"] for block in thoughts),
        "redacted": [block["data"] for block in blocks if block["type"] == "redacted_thinking"],
        "signatures": [block["signature"] for block in thoughts if block["signature"]],
        "calls": [
            (block["id"], block["name"], block["input"])
            for block in blocks
            if block["type"] == "tool_use"
        ],
    }


def of_completion(completion: dict[str, Any]) -> dict[str, Any]:
    """The same of a chat completion."""
    message = completion["choices"][0]["message"]
    details = message.get("reasoning_details") or []
    return {
        "text": message["content"] or "",
        "thinking": message.get("reasoning_content") or "",
        "redacted": [one["data"] for one in details if one["type"] == "reasoning.encrypted"],
        "signatures": [one["signature"] for one in details if one["type"] == "reasoning.text"],
        "calls": [
            (
                call["id"],
                call["function"]["name"],
                json.loads(call["function"]["arguments"] or "{}"),
            )
            for call in message.get("tool_calls") or []
        ],
    }


def gathered(chunks: list[Chunk], reason: StopReason, usage: Any) -> Any:
    collector = Collector()
    for chunk in (Started(model="m"), *chunks):
        collector.add(chunk)
    return collector.answer(usage, Stop(reason=reason))


REASONS = {
    StopReason.END: ("stop", "end_turn"),
    StopReason.LENGTH: ("length", "max_tokens"),
    StopReason.TOOL_CALLS: ("tool_calls", "tool_use"),
    StopReason.BUDGET: ("length", "max_tokens"),
}
ENDS = st.sampled_from(sorted(REASONS))
COUNTS = st.integers(0, 10**6)


@settings(max_examples=60, deadline=None)
@given(chunks=an_answer(), reason=ENDS, read=COUNTS, cached=COUNTS, wrote=COUNTS, thought=COUNTS)
def test_chat_tells_the_whole_answer(readers, chunks, reason, read, cached, wrote, thought):
    usage = a_usage("0.25", input=read, cache_read=cached, output=wrote, output_reasoning=thought)
    stream = written(chat.writer(an_opening()), chunks, reason=reason, usage=usage)
    strict_chunks(stream)
    streamed = readers.completion(stream)
    body = chat.render(gathered(chunks, reason, usage), an_opening())
    whole: dict[str, Any] = strict_completion(body).to_dict()
    for completion in (streamed, whole):
        assert of_completion(completion) == said(chunks)
        assert completion["choices"][0]["finish_reason"] == REASONS[reason][0]
        assert completion["usage"]["prompt_tokens"] == read + cached
        assert completion["usage"]["prompt_tokens_details"]["cached_tokens"] == cached
        assert completion["usage"]["completion_tokens"] == wrote + thought
        assert completion["usage"]["cost"] == "0.25"


@settings(max_examples=60, deadline=None)
@given(chunks=an_answer(), reason=ENDS, read=COUNTS, cached=COUNTS, wrote=COUNTS, thought=COUNTS)
def test_messages_tell_the_whole_answer(readers, chunks, reason, read, cached, wrote, thought):
    usage = a_usage("0.25", input=read, cache_read=cached, output=wrote, output_reasoning=thought)
    stream = written(messages.writer(an_opening()), chunks, reason=reason, usage=usage)
    strict_events(stream)
    streamed = readers.message(stream)
    body = messages.render(gathered(chunks, reason, usage), an_opening())
    whole: dict[str, Any] = strict_message(body).to_dict()
    for message in (streamed, whole):
        assert of_message(message) == said(chunks) | {"signatures": signatures_of(chunks)}
        assert message["stop_reason"] == REASONS[reason][1]
        assert message["usage"]["input_tokens"] == read
        assert message["usage"]["cache_read_input_tokens"] == cached
        assert message["usage"]["output_tokens"] == wrote + thought
    assert [block["type"] for block in streamed["content"]] == [
        block["type"] for block in whole["content"]
    ]


@settings(max_examples=100, deadline=None)
@given(chunks=an_answer())
def test_blocks_never_overlap_and_are_numbered_in_order(chunks):
    is_open, last = False, -1
    for name, data in events(written(messages.writer(an_opening()), chunks)):
        if name == "content_block_start":
            assert not is_open
            assert data["index"] == last + 1
            is_open, last = True, last + 1
        elif name.startswith("content_block"):
            assert is_open
            assert data["index"] == last
            is_open = name != "content_block_stop"
    assert not is_open


@settings(max_examples=60, deadline=None)
@given(chunks=an_answer())
def test_what_chat_clients_send_back_is_what_was_said(readers, chunks):
    """Signed reasoning and signed calls come home through a client that keeps its messages."""
    told = readers.completion(written(chat.writer(an_opening()), chunks))
    message = told["choices"][0]["message"]
    body = msgspec.json.encode({"model": "m", "messages": [message]})
    back = chat.read(body, headers={}, request_id=uuid4(), context=CONTEXT).call.messages[0].parts
    expected = said(chunks)
    uses = [part for part in back if isinstance(part, ToolUsePart)]
    assert [(use.id, use.name, json.loads(use.arguments or "{}")) for use in uses] == (
        expected["calls"]
    )
    assert [use.signature for use in uses] == [
        chunk.signature for chunk in chunks if isinstance(chunk, ToolCall)
    ]
    assert [
        part.signature for part in back if isinstance(part, ThinkingPart) and part.signature
    ] == expected["signatures"]
    assert [part.data for part in back if isinstance(part, RedactedThinkingPart)] == (
        expected["redacted"]
    )
    assert "".join(part.text for part in back if isinstance(part, TextPart)) == expected["text"]


@settings(max_examples=60, deadline=None)
@given(chunks=an_answer())
def test_what_messages_clients_send_back_is_what_was_said(readers, chunks):
    told = readers.message(written(messages.writer(an_opening()), chunks))
    message = {"role": "assistant", "content": told["content"]}
    body = msgspec.json.encode({"model": "m", "max_tokens": 1, "messages": [message]})
    call = messages.read(body, headers={}, request_id=uuid4(), context=CONTEXT).call
    back = call.messages[0].parts
    expected = said(chunks)
    assert [
        (part.id, part.name, json.loads(part.arguments))
        for part in back
        if isinstance(part, ToolUsePart)
    ] == expected["calls"]
    assert "".join(part.text for part in back if isinstance(part, TextPart)) == expected["text"]
    thoughts = [part for part in back if isinstance(part, ThinkingPart)]
    assert "".join(part.text for part in thoughts) == expected["thinking"]
    assert [part.signature for part in thoughts if part.signature] == signatures_of(chunks)
