"""Whatever a vendor's chunks are, `responses` clients read the same answer, numbered gaplessly."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings

from providers.gateway.dialects import responses_object
from providers.types import (
    RedactedThinkingPart,
    TextPart,
    ThinkingPart,
    ToolCall,
    ToolUsePart,
)
from tests.providers.gateway.dialects.responses_client import (
    accumulated,
    asked,
    final,
    streamed,
    whole,
)
from tests.providers.gateway.dialects.test_properties import ENDS, an_answer, said
from tests.providers.gateway.dialects.vendors import a_usage


def of_response(response: dict[str, Any]) -> dict[str, Any]:
    """What a Response object says, gathered as `said` gathers chunks: read as the next request."""
    messages = asked(input=response["output"] or "nothing").call.messages
    parts = messages[0].parts if response["output"] else ()
    thoughts = [part for part in parts if isinstance(part, ThinkingPart)]
    return {
        "text": "".join(part.text for part in parts if isinstance(part, TextPart)),
        "thinking": "".join(part.text for part in thoughts),
        "redacted": [part.data for part in parts if isinstance(part, RedactedThinkingPart)],
        "signatures": [part.signature for part in thoughts if part.signature],
        "calls": [
            (part.id, part.name, json.loads(part.arguments or "{}"))
            for part in parts
            if isinstance(part, ToolUsePart)
        ],
    }


@settings(max_examples=150, deadline=None)
@given(chunks=an_answer(), reason=ENDS)
def test_the_stream_and_the_whole_tell_the_same_answer_and_it_comes_home(chunks, reason):
    usage = a_usage("0.25", input=5, output=7)
    stream = streamed(chunks, reason=reason, usage=usage)
    at_once = whole(chunks, reason=reason, usage=usage)
    for response in (final(stream), at_once):
        assert of_response(response) == said(chunks)
        assert response["usage"]["cost"] == "0.25"
        signatures = [
            part.signature
            for part in (asked(input=response["output"] or "-").call.messages[0].parts)
            if isinstance(part, ToolUsePart)
        ]
        assert signatures == [chunk.signature for chunk in chunks if isinstance(chunk, ToolCall)]
    kinds = [item["type"] for item in final(stream)["output"]]
    assert kinds == [item["type"] for item in at_once["output"]]


@settings(max_examples=100, deadline=None)
@given(chunks=an_answer())
def test_deltas_add_up_to_the_items(chunks):
    stream = streamed(chunks)
    gathered = accumulated(stream)
    told = [item.to_dict() for item in gathered.output]
    assert [item["id"] for item in told] == [item["id"] for item in final(stream)["output"]]
    texts = "".join(
        part["text"] for item in told if item["type"] == "message" for part in item["content"]
    )
    assert texts == said(chunks)["text"]


def test_a_custom_tool_takes_a_model_at_its_word():
    assert responses_object.custom_input('{"input":"a\\nb"}') == "a\nb"
    assert responses_object.custom_input("*** Begin Patch") == "*** Begin Patch"
