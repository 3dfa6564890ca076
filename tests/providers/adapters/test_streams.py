"""Everything a vendor's stream can say, as chunks; what nobody knows breaks nothing."""

from __future__ import annotations

import asyncio
import base64

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from providers.adapters import anthropic, chat_completions, google, responses
from providers.types import (
    Citation,
    Image,
    Opaque,
    Reasoning,
    RedactedThinking,
    Refusal,
    StopReason,
    Text,
    ThinkingPart,
    ThinkingSignature,
    ToolCall,
    ToolResultPart,
    ToolUsePart,
)
from tests.providers.adapters.asking import MESSAGES, RESPONSES, a_call, answer, said
from tests.providers.adapters.recordings import Pieces, asking, cut, recorded
from tests.providers.builders import WEATHER, told

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()
EVERY = ["chat", "compatible", "responses", "anthropic", "google"]
USED = {"type": "server_tool_use", "id": "srv_1", "name": "web_search", "input": {"query": "x"}}
FOUND = {"type": "web_search_tool_result", "tool_use_id": "srv_1", "content": []}
COMPACTED = {"type": "compaction", "content": "what was said"}
CALLED = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"query": "x"}}


def scripted(simulator, **turn):
    simulator.script("turn", turn)
    return a_call(prompt="[[sim:turn]] hi", max_output_tokens=9_000)


@pytest.mark.parametrize("vendor", ["chat", "responses", "google"])
async def test_a_picture_the_model_made(simulator, vendor):
    call = scripted(simulator, text="Here.", images=[{"data": PNG}])
    result = await answer(vendor, call)
    (image,) = result.of(Image)
    assert (image.media_type, image.data) == ("image/png", PNG)
    assert result.text == "Here."
    assert image.index not in {chunk.index for chunk in result.of(Text)}


async def test_a_picture_of_two_megabytes_comes_through_where_pictures_are_made(simulator):
    big = base64.b64encode(bytes(1_500_000)).decode()
    call = scripted(simulator, text="Here.", images=[{"data": big}])
    result = await answer("google", call, model="gemini-2.5-flash-image")
    assert [image.data for image in result.of(Image)] == [big]


@pytest.mark.parametrize("vendor", ["chat", "responses", "anthropic", "google"])
async def test_sources_of_the_text(simulator, vendor):
    source = {"url": "https://a.example/x", "title": "A", "cited": "so it is"}
    result = await answer(vendor, scripted(simulator, text="Yes.", citations=[source]))
    (citation,) = result.of(Citation)
    assert (citation.url, citation.title) == ("https://a.example/x", "A")
    assert citation.index == result.of(Text)[0].index
    assert citation.cited == ("so it is" if vendor in ("chat", "anthropic") else "")


async def test_blocks_that_only_anthropic_understands(simulator):
    call = scripted(simulator, text="Found.", blocks=[USED, FOUND, COMPACTED])
    result = await answer("anthropic", call)
    opaque = result.of(Opaque)
    assert [msgspec.json.decode(one.raw) for one in opaque] == [USED, FOUND, COMPACTED]
    assert {one.dialect for one in opaque} == {MESSAGES}
    assert (result.text, result.stop) == ("Found.", "end")


async def test_items_that_only_responses_understands(simulator):
    compaction = {"type": "compaction", "id": "cmp_1", "encrypted_content": "zzz"}
    result = await answer(
        "responses", scripted(simulator, text="Found.", blocks=[CALLED, compaction])
    )
    opaque = result.of(Opaque)
    assert [msgspec.json.decode(one.raw) for one in opaque] == [CALLED, compaction]
    assert {one.dialect for one in opaque} == {RESPONSES}


@pytest.mark.parametrize("vendor", ["chat", "responses"])
async def test_a_refusal_in_words(simulator, vendor):
    result = await answer(vendor, scripted(simulator, text="I will not.", stop="refusal"))
    assert "".join(chunk.text for chunk in result.of(Refusal)) == "I will not."
    assert result.text == ""


@pytest.mark.parametrize("vendor", EVERY)
async def test_what_nobody_knows_breaks_nothing(simulator, vendor):
    call = scripted(simulator, text="All is well.", strange=True)
    result = await answer(vendor, call)
    assert result.error is None
    assert (result.text, result.stop) == ("All is well.", "end")


async def test_reasoning_details_are_told_once_and_go_back_signed(simulator):
    simulator.script(
        "turn",
        {
            "thinking": "Rain is likely.",
            "tells_details": True,
            "tool_calls": [{"name": "get_weather", "arguments": {"city": "Recife"}}],
        },
        {"text": "Take an umbrella."},
    )
    first = a_call(prompt="[[sim:turn]] weather?", tools=(WEATHER,))
    asked = await answer("compatible", first)
    assert asked.thinking == "Rain is likely."
    (signed,) = asked.of(ThinkingSignature)
    ((call_id, name, arguments),) = asked.calls
    thought = ThinkingPart(text=asked.thinking, signature=signed.signature)
    use = ToolUsePart(id=call_id, name=name, arguments=arguments)
    result = ToolResultPart(tool_use_id=call_id, text="rain")
    second = a_call(*first.messages, said("assistant", thought, use), said("tool", result))
    answered = await answer("compatible", second)
    assert (answered.error, answered.text) == (None, "Take an umbrella.")
    assistant = simulator.requests()[-1]["body"]["messages"][1]
    detail = {"type": "reasoning.text", "text": "Rain is likely.", "index": 0}
    assert assistant["reasoning_details"] == [detail | {"signature": signed.signature}]
    forged = ThinkingPart(text="Sun.", signature=signed.signature)
    third = a_call(*first.messages, said("assistant", forged, use), said("tool", result))
    assert (await answer("compatible", third)).error is not None


async def test_a_thought_signature_on_a_chat_call_goes_back_with_it(simulator):
    simulator.script(
        "turn",
        {"tool_calls": [{"name": "get_weather", "arguments": {}, "signature": "c2ln"}]},
        {"text": "Done."},
    )
    first = a_call(prompt="[[sim:turn]] weather?", tools=(WEATHER,))
    asked = await answer("compatible", first)
    (call,) = asked.of(ToolCall)
    assert call.signature == "c2ln"
    use = ToolUsePart(id=call.id, name=call.name, arguments="{}", signature=call.signature)
    result = ToolResultPart(tool_use_id=call.id, text="rain")
    await answer(
        "compatible", a_call(*first.messages, said("assistant", use), said("tool", result))
    )
    (sent,) = simulator.requests()[-1]["body"]["messages"][1]["tool_calls"]
    assert sent["extra_content"] == {"google": {"thought_signature": "c2ln"}}


async def test_encrypted_reasoning_details_go_back_as_they_came():
    detail = {"type": "reasoning.encrypted", "id": "t1", "format": "f", "index": 2, "data": "zzz"}
    events = [
        {"id": "1", "model": "m", "choices": [{"delta": {"reasoning_details": [detail]}}]},
        {"choices": [{"delta": {"content": "Yes."}, "finish_reason": "stop"}]},
    ]
    result = await told(chat_completions.read(Pieces([_sse(event) for event in events])))
    (hidden,) = result.of(RedactedThinking)
    assert msgspec.json.decode(hidden.data) == detail


async def test_content_in_parts_with_reasoning_among_them():
    thought = {"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}
    events = [
        {"choices": [{"delta": {"content": [thought, {"type": "text", "text": "Yes."}]}}]},
        {"choices": [{"delta": {}, "finish_reason": "stop"}]},
    ]
    result = await told(chat_completions.read(Pieces([_sse(event) for event in events])))
    assert (result.thinking, result.text, result.stop) == ("hm", "Yes.", StopReason.END)


async def test_a_thought_that_ends_without_text_is_signed_all_the_same(simulator):
    thought = ThinkingPart(text="hm", signature="c2ln")
    call = a_call(said("user", "a"), said("assistant", thought), said("user", "b"))
    await answer("google", call)
    turn = simulator.requests()[-1]["body"]["contents"][1]
    assert turn == {"role": "model", "parts": [{"text": "", "thoughtSignature": "c2ln"}]}


async def test_google_s_signed_text_goes_back_signed(simulator):
    first = a_call(prompt="why?", reasoning=Reasoning(level="low"))
    asked = await answer("google", first)
    (signed,) = asked.of(ThinkingSignature)
    thought = ThinkingPart(text=asked.thinking, signature=signed.signature)
    second = a_call(*first.messages, said("assistant", thought, asked.text), said("user", "so?"))
    assert (await answer("google", second)).error is None
    turn = simulator.requests()[-1]["body"]["contents"][1]
    assert turn["parts"] == [{"text": asked.text, "thoughtSignature": signed.signature}]


READERS = {
    "chat": lambda pieces: chat_completions.read(pieces),
    "responses": lambda pieces: responses.read(pieces),
    "anthropic": lambda pieces: anthropic.read(pieces),
    "google": lambda pieces: google.read(pieces),
}
RICH = {
    "thinking": "Hm, so it is.",
    "text": "São Paulo: 21 °C, 你好 — warm.",
    "split_utf8": True,
    "crlf": True,
    "comments": True,
    "strange": True,
    "citations": [{"url": "https://a.example", "title": "Ä"}],
    "tool_calls": [
        {"name": "a", "arguments": {"city": "Ōsaka"}, "id": "call_a"},
        {"name": "b", "arguments": {"x": 1}, "id": "call_b"},
    ],
}


@pytest.mark.parametrize("vendor", READERS)
def test_any_split_of_the_bytes_gives_the_same_chunks(simulator, vendor):
    simulator.script("rich", RICH)
    stream = recorded(simulator.url, vendor, asking(vendor, "[[sim:rich]] hi"))
    whole = asyncio.run(told(READERS[vendor](Pieces([stream]))))
    assert whole.error is None
    assert whole.text == RICH["text"]

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(st.integers(0, len(stream)), max_size=200))
    def _same(places):
        split = asyncio.run(told(READERS[vendor](Pieces(cut(stream, places)))))
        assert _nameless(split.chunks) == _nameless(whole.chunks)

    _same()


def _nameless(chunks):
    """Without the ids that we mint for calls that come without one."""
    return [
        msgspec.structs.replace(one, id="") if isinstance(one, ToolCall) else one for one in chunks
    ]


def _sse(event):
    return b"data: " + msgspec.json.encode(event) + b"\n\n"
