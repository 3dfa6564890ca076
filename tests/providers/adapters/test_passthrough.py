"""A client's own dialect at a vendor: its bytes there, the vendor's back, all of it counted."""

from __future__ import annotations

import asyncio
import base64
import json
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from billing.types import UnitClass
from ideplatform.kit.egress import AnswerBroken, AnswerTooLarge
from providers.adapters import passthrough, scanning
from providers.errors import Overloaded, VendorBroken
from providers.types import Passed, Raw, Reasoning, StopReason, Text, Usage
from tests.providers.adapters.asking import (
    CHAT,
    MESSAGES,
    RESPONSES,
    a_call,
    answer,
    as_sent,
    passed,
    said,
)
from tests.providers.adapters.recordings import Pieces, asking, cut, recorded
from tests.providers.builders import told

# A vendor, its dialect, and how the recordings call it.
ALIKE = [
    ("chat", CHAT, "chat"),
    ("compatible", CHAT, "chat"),
    ("responses", RESPONSES, "responses"),
    ("anthropic", MESSAGES, "anthropic"),
]
DIALECTS = {"chat": CHAT, "responses": RESPONSES, "anthropic": MESSAGES}
RICH: dict[str, Any] = {
    "thinking": "Hm, so it is.",
    "text": "São Paulo: 21 °C, 你好 — warm.",
    "tool_calls": [
        {"name": "a", "arguments": {"city": "Ōsaka"}, "id": "call_a"},
        {"name": "b", "arguments": {"x": 1}, "id": "call_b"},
    ],
}
# Thinking, text, names and arguments of RICH in UTF-8.
RICH_BYTES = sum(
    len(text.encode())
    for text in (RICH["thinking"], RICH["text"], "a", "b", '{"city":"Ōsaka"}', '{"x":1}')
)


def sent_on(dialect, vendor, prompt="[[sim:turn]] hi", *, source=None, **values):
    """A call that carries a client's request, and that request."""
    body = {"unheard_of": {"a": [1.50, 1e3]}, **asking(vendor, prompt), "last": None}
    told_source = source or as_sent(dialect, body)
    return a_call(prompt=prompt, source=told_source, **values)


@pytest.mark.parametrize(("vendor", "dialect", "wire"), ALIKE)
async def test_the_vendor_s_events_leave_byte_for_byte(simulator, vendor, dialect, wire):
    simulator.script("turn", RICH | {"signature": "c2ln"})
    thinks = {"reasoning_effort": "low"} if wire == "chat" else {}
    body = asking(wire, "[[sim:turn]] hi") | thinks
    call = a_call(source=as_sent(dialect, body))
    result = await answer(vendor, call)
    assert result.error is None
    (sent,) = simulator.bodies()
    assert passed(result) == recorded(simulator.url, wire, sent.encode())
    assert sum(chunk.size for chunk in result.of(Passed)) == RICH_BYTES
    assert result.started.model == "sim-echo"
    assert result.stop == "tool_calls"
    (ending,) = [chunk for chunk in result.of(Passed) if chunk.is_ending]
    assert result.chunks[-2] is ending
    rows = simulator.ledger()
    usage = result.of(Usage)[-1]
    assert usage.is_final is False
    assert usage.tokens.quantities[UnitClass.INPUT] == rows[0]["tokens"]["input"]


@pytest.mark.parametrize(("vendor", "dialect", "wire"), ALIKE)
async def test_only_what_must_be_is_replaced_in_the_request(simulator, vendor, dialect, wire):
    body = (
        b'{ "zeta" : 1.50e0, "model":"mine", "unheard_of":{"b":[ 1,2 ],"a":"\\u00e9"},'
        + json.dumps(asking(wire, "hi") | {"stream": False}).replace('"stream_options"', '"x"')
        .encode()[1:-1].replace(b'"model": "sim-echo", ', b"")
        + b', "last":  null }'
    )  # fmt: skip
    result = await answer(vendor, a_call(source=as_sent(dialect, body)))
    assert result.error is None
    (sent,) = simulator.bodies()
    before = msgspec.json.decode(body, type=dict[str, Raw])
    after = msgspec.json.decode(sent.encode(), type=dict[str, Raw])
    replaced = {"model": b'"sim-echo"', "stream": b"true"}
    if dialect is CHAT:
        replaced["stream_options"] = b'{"include_usage":true}'
    assert {name: bytes(raw) for name, raw in after.items()} == {
        name: replaced.get(name, bytes(raw)) for name, raw in before.items()
    } | replaced
    assert [name for name in after if name in before] == list(before)


@pytest.mark.parametrize(
    ("vendor", "dialect", "given_body", "most", "expected"),
    [
        ("chat", CHAT, {"max_tokens": 50}, 20, {"max_tokens": 20}),
        ("chat", CHAT, {"max_completion_tokens": 50}, 20, {"max_completion_tokens": 20}),
        ("chat", CHAT, {}, 20, {"max_completion_tokens": 20}),
        ("compatible", CHAT, {}, 20, {"max_tokens": 20}),
        ("compatible", CHAT, {"max_tokens": None}, 20, {"max_tokens": 20}),
        ("compatible", CHAT, {"max_tokens": 50}, None, {"max_tokens": 50}),
        ("responses", RESPONSES, {}, 20, {"max_output_tokens": 20}),
        ("anthropic", MESSAGES, {"max_tokens": 50}, 20, {"max_tokens": 20}),
    ],
)
async def test_the_maximum_is_the_call_s(simulator, vendor, dialect, given_body, most, expected):
    wire = {CHAT: "chat", RESPONSES: "responses", MESSAGES: "anthropic"}[dialect]
    body = asking(wire, "hi") | given_body
    call = a_call(source=as_sent(dialect, body), max_output_tokens=most)
    assert (await answer(vendor, call)).error is None
    sent = simulator.requests()[-1]["body"]
    names = ("max_tokens", "max_completion_tokens", "max_output_tokens")
    assert {name: sent[name] for name in names if name in sent} == expected


async def test_other_options_of_the_stream_are_kept(simulator):
    body = asking("chat", "hi") | {
        "stream_options": {"include_usage": False, "include_obfuscation": False}
    }
    await answer("chat", a_call(source=as_sent(CHAT, body)))
    assert simulator.requests()[-1]["body"]["stream_options"] == {
        "include_usage": True,
        "include_obfuscation": False,
    }


async def test_the_dialect_s_own_headers_travel_on_and_no_others(simulator):
    headers = {
        "anthropic-beta": "context-1m",
        "anthropic-version": "2024-01-01",
        "x-api-key": "stolen",
        "openai-beta": "no",
    }
    call = a_call(source=as_sent(MESSAGES, asking("anthropic", "hi"), headers=headers))
    await answer("anthropic", call, headers={"Anthropic-Beta": "account"})
    got = simulator.requests()[-1]["headers"]
    assert got["anthropic-beta"] == "account,context-1m"
    assert got["anthropic-version"] == "2024-01-01"
    assert got["x-api-key"] == "...4242"
    assert "openai-beta" not in got


@pytest.mark.parametrize(("vendor", "dialect", "wire"), ALIKE)
async def test_a_client_that_does_not_stream_gets_chunks_of_its_own_request(
    simulator, vendor, dialect, wire
):
    body = {"unheard_of": {"a": 1}, **asking(wire, "hi"), "stream": False}
    body.pop("stream_options", None)
    call = a_call(source=as_sent(dialect, body, is_streamed=False))
    result = await answer(vendor, call)
    assert (result.error, result.text, result.stop) == (None, "Echo: hi", "end")
    assert result.of(Passed) == []
    sent = simulator.requests()[-1]["body"]
    assert (sent["unheard_of"], sent["stream"]) == ({"a": 1}, True)


async def test_another_dialect_s_vendor_gets_the_call_translated(simulator):
    call = a_call(source=as_sent(CHAT, asking("chat", "other words")), prompt="our words")
    result = await answer("anthropic", call)
    assert result.text == "Echo: our words"
    assert result.of(Passed) == []


async def test_an_empty_body_has_the_call_written_anew(simulator):
    result = await answer("chat", a_call(source=as_sent(CHAT, b""), prompt="our words"))
    assert result.text == "Echo: our words"


@pytest.mark.parametrize(("vendor", "dialect", "wire"), ALIKE)
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("cut=5", AnswerBroken),
        ("malformed=5", AnswerBroken),
        ("error=5", (Overloaded, VendorBroken)),
    ],
)
async def test_a_fault_in_the_middle_is_told_after_what_came_before(
    simulator, vendor, dialect, wire, fault, error
):
    body = asking(wire, f"[[sim:tokens=40 {fault}]]")
    result = await answer(vendor, a_call(source=as_sent(dialect, body)))
    assert isinstance(result.error, error)
    assert sum(chunk.size for chunk in result.of(Passed)) > 0
    whole = recorded(simulator.url, wire, asking(wire, "[[sim:tokens=40]]"))
    assert len(passed(result)) < len(whole)
    assert passed(result).endswith(b"\n\n")


@pytest.mark.parametrize(("vendor", "dialect", "wire"), ALIKE)
@pytest.mark.parametrize("fault", ["cut=0", "error=0"])
async def test_a_fault_before_content_leaves_room_for_another_try(
    simulator, vendor, dialect, wire, fault
):
    body = asking(wire, f"[[sim:tokens=40 {fault}]]")
    result = await answer(vendor, a_call(source=as_sent(dialect, body)))
    assert result.error is not None
    assert result.of(Passed) == []


@pytest.mark.parametrize(("vendor", "dialect", "wire"), ALIKE)
async def test_a_missing_last_word_is_forgiven(simulator, vendor, dialect, wire):
    body = asking(wire, "[[sim:tokens=5 no_done=1]]")
    result = await answer(vendor, a_call(source=as_sent(dialect, body)))
    assert (result.error, result.stop) == (None, "end")


@pytest.mark.parametrize(("vendor", "dialect", "wire"), ALIKE)
async def test_a_line_beyond_a_megabyte_is_refused(simulator, vendor, dialect, wire):
    body = asking(wire, "[[sim:tokens=5 giant=2000000]]")
    result = await answer(vendor, a_call(source=as_sent(dialect, body)))
    assert isinstance(result.error, AnswerTooLarge)


async def test_the_last_of_cumulative_figures_holds(simulator):
    body = asking("chat", "[[sim:tokens=30 cumulative=1]]")
    result = await answer("compatible", a_call(source=as_sent(CHAT, body)))
    assert result.of(Usage)[-1].tokens.quantities[UnitClass.OUTPUT] == 30
    assert sum(chunk.is_ending for chunk in result.of(Passed)) == 1


async def test_a_broken_messages_answer_tells_its_open_block(simulator):
    simulator.script(
        "turn", {"thinking": "Hm.", "text": "one two three four", "cut_after_tokens": 5}
    )
    call = a_call(source=as_sent(MESSAGES, asking("anthropic", "[[sim:turn]]")))
    result = await answer("anthropic", call)
    assert isinstance(result.error, AnswerBroken)
    unfinished = result.of(Passed)[-1].unfinished
    opened = [
        event["index"]
        for event in _events(passed(result))
        if event["type"] == "content_block_start"
    ]
    assert unfinished.block == opened[-1]
    assert unfinished.answer_id.startswith("msg_")
    assert unfinished.model == "sim-echo"


async def test_between_two_blocks_nothing_is_open():
    events = [
        {"type": "message_start", "message": {"id": "msg_1", "model": "m"}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "a"}},
        {"type": "content_block_stop", "index": 0},
    ]
    pieces = [b"data: " + msgspec.json.encode(event) + b"\n\n" for event in events]
    result = await told(passthrough.read(Pieces(pieces), scanning.of(MESSAGES)))
    assert isinstance(result.error, AnswerBroken)
    assert result.of(Passed)[-1].unfinished.block is None


async def test_a_broken_responses_answer_tells_what_is_open_and_what_is_done(simulator):
    simulator.script(
        "turn", {"thinking": "Hm.", "text": "one two three four", "cut_after_tokens": 3}
    )
    body = asking("responses", "[[sim:turn]]") | {"reasoning": {"effort": "low", "summary": "auto"}}
    result = await answer("responses", a_call(source=as_sent(RESPONSES, body)))
    assert isinstance(result.error, AnswerBroken)
    unfinished = result.of(Passed)[-1].unfinished
    events = _events(passed(result))
    assert unfinished.sequence == events[-1]["sequence_number"]
    assert unfinished.created_s == events[0]["response"]["created_at"]
    (done,) = [event for event in events if event["type"] == "response.output_item.done"]
    assert [json.loads(bytes(raw)) for raw in unfinished.output.values()] == [done["item"]]
    ((place, item),) = unfinished.open_items.items()
    assert (place, item.kind) == (1, "output_text")
    written = "".join(event["delta"] for event in events if "output_text.delta" in event["type"])
    assert "".join(item.texts[0]) == written


async def test_a_broken_chat_answer_tells_its_name(simulator):
    body = asking("chat", "[[sim:tokens=9 cut=3]]")
    result = await answer("chat", a_call(source=as_sent(CHAT, body)))
    unfinished = result.of(Passed)[-1].unfinished
    first = _events(passed(result))[0]
    assert unfinished.answer_id == first["id"]
    assert unfinished.created_s == first["created"]


async def test_pictures_of_two_megabytes_pass_where_they_are_asked_for(simulator):
    big = base64.b64encode(bytes(1_500_000)).decode()
    simulator.script("turn", {"text": "Here.", "images": [{"data": big}]})
    body = asking("responses", "[[sim:turn]]") | {"tools": [{"type": "image_generation"}]}
    result = await answer("responses", a_call(source=as_sent(RESPONSES, body)))
    assert result.error is None
    assert big.encode() in passed(result)


@pytest.mark.parametrize("wire", DIALECTS)
@pytest.mark.parametrize(
    "dress", [{}, {"crlf": True, "comments": True}, {"strange": True, "cumulative_usage": True}]
)
def test_any_split_of_the_bytes_passes_the_same_bytes(simulator, wire, dress):
    simulator.script("rich", RICH | dress)
    stream = recorded(simulator.url, wire, asking(wire, "[[sim:rich]] hi"))

    def _read(pieces):
        return asyncio.run(told(passthrough.read(Pieces(pieces), scanning.of(DIALECTS[wire]))))

    whole = _read([stream])
    assert (whole.error, passed(whole)) == (None, stream)

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.integers(0, len(stream)), max_size=200))
    def _same(places):
        split = _read(cut(stream, places))
        assert passed(split) == stream
        assert _facts(split) == _facts(whole)

    _same()
    assert _facts(_read([stream[place : place + 1] for place in range(len(stream))])) == _facts(
        whole
    )


@pytest.mark.parametrize("wire", DIALECTS)
def test_a_cut_anywhere_passes_whole_events_only(simulator, wire):
    stream = recorded(simulator.url, wire, asking(wire, "one two three"))

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.integers(0, len(stream) - 1))
    def _whole(place):
        pieces = Pieces([stream[:place]])
        result = asyncio.run(told(passthrough.read(pieces, scanning.of(DIALECTS[wire]))))
        given_out = passed(result)
        assert stream.startswith(given_out)
        assert given_out.endswith(b"\n\n") or not given_out or result.error is None

    _whole()


async def test_content_after_what_looked_like_the_end_is_not_held_back():
    events = [
        {"id": "1", "model": "m", "choices": [{"index": 0, "delta": {"content": "a"}}]},
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [{"index": 1, "delta": {"content": "b"}}]},
        {"choices": [{"index": 1, "delta": {}, "finish_reason": "length"}]},
    ]
    pieces = [b"data: " + msgspec.json.encode(event) + b"\n\n" for event in events]
    pieces.append(b"data: [DONE]\n\n")
    result = await told(passthrough.read(Pieces(pieces), scanning.of(CHAT)))
    given_out = result.of(Passed)
    assert [(chunk.data, chunk.is_ending) for chunk in given_out] == [
        (pieces[0], False),
        (pieces[1] + pieces[2], False),
        (pieces[3] + pieces[4], True),
    ]
    assert result.stop == StopReason.END


async def test_a_last_event_without_its_blank_line_is_passed_on():
    stream = (
        b'data: {"id":"1","model":"m","choices":[{"delta":{"content":"a"}}]}\n\n'
        b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n'
    )
    result = await told(passthrough.read(Pieces([stream]), scanning.of(CHAT)))
    assert (result.error, passed(result)) == (None, stream)


async def test_a_forged_signature_is_the_vendor_s_to_refuse(simulator):
    thought = {"type": "thinking", "thinking": "x", "signature": "Zm9yZ2Vk"}
    body = asking("anthropic", "hi")
    body["messages"] += [
        {"role": "assistant", "content": [thought, {"type": "text", "text": "y"}]},
        {"role": "user", "content": "z"},
    ]
    call = a_call(
        said("user", "hi"), source=as_sent(MESSAGES, body), reasoning=Reasoning(level="low")
    )
    result = await answer("anthropic", call)
    assert result.error is not None
    assert result.of(Text) == []


def _facts(result):
    """What was counted: size, the last usage, what was open, why it ended."""
    given_out = result.of(Passed)
    last = given_out[-1].unfinished
    size = sum(chunk.size for chunk in given_out)
    return size, result.of(Usage)[-1], last, result.stop, result.started


def _events(stream):
    lines = stream.decode().splitlines()
    return [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
