"""Pictures, sources and server tools of the simulated vendors, as their own SDKs read them."""

from __future__ import annotations

import base64

import openai
import pytest
from google.genai import types as t

from tests.providers.simulator.conftest import anthropic_client, google_client, openai_client

PNG = b"\x89PNG\r\n\x1a\n"
PICTURE = {"data": base64.b64encode(PNG).decode()}
SOURCE = {"url": "https://a.example/x", "title": "A", "cited": "so it is"}
USED = {
    "type": "server_tool_use",
    "id": "srvtoolu_1",
    "name": "web_search",
    "input": {"query": "x"},
}
FOUND = {
    "type": "web_search_tool_result",
    "tool_use_id": "srvtoolu_1",
    "content": [
        {
            "type": "web_search_result",
            "url": "https://a.example/x",
            "title": "A",
            "encrypted_content": "zzz",
            "page_age": None,
        }
    ],
}


def test_openai_s_responses_bring_pictures_and_sources(simulator):
    simulator.script("turn", {"text": "Here.", "images": [PICTURE], "citations": [SOURCE]})
    client = openai_client(simulator, "simulated-key:turn")
    with client.responses.stream(model="sim-echo", input="draw") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    picture, message = final.output
    assert (picture.type, picture.result) == ("image_generation_call", PICTURE["data"])
    (citation,) = message.content[0].annotations
    assert (citation.url, citation.title) == (SOURCE["url"], SOURCE["title"])
    assert "response.output_text.annotation.added" in kinds
    assert final.output_text == "Here."


def test_anthropic_s_server_tools_and_citations(simulator):
    simulator.script("turn", {"text": "Found.", "blocks": [USED, FOUND], "citations": [SOURCE]})
    client = anthropic_client(simulator, "simulated-key:turn")
    asked = {"model": "sim-echo", "max_tokens": 100, "messages": [{"role": "user", "content": "?"}]}
    with client.messages.stream(**asked) as stream:
        streamed = stream.get_final_message()
    whole = client.messages.create(**asked)
    for message in (streamed, whole):
        used, found, text = message.content
        assert (used.type, used.input) == ("server_tool_use", {"query": "x"})
        assert found.content[0].url == SOURCE["url"]
        assert (text.text, text.citations[0].cited_text) == ("Found.", "so it is")


def test_gemini_s_pictures_and_grounding(simulator):
    simulator.script("turn", {"text": "Here.", "images": [PICTURE], "citations": [SOURCE]})
    client = google_client(simulator, "simulated-key:turn")
    whole = client.models.generate_content(model="gemini-2.5-flash", contents="draw")
    chunks = list(client.models.generate_content_stream(model="gemini-2.5-flash", contents="draw"))
    parts = [part for chunk in chunks for part in chunk.candidates[0].content.parts]
    for found in (whole.candidates[0].content.parts, parts):
        (blob,) = [part.inline_data for part in found if part.inline_data]
        assert blob == t.Blob(mime_type="image/png", data=PNG)
    for candidate in (whole.candidates[0], chunks[-1].candidates[0]):
        (source,) = candidate.grounding_metadata.grounding_chunks
        assert (source.web.uri, source.web.title) == (SOURCE["url"], SOURCE["title"])


def test_chat_s_signed_details_come_back_or_are_refused(simulator):
    simulator.script(
        "turn", {"thinking": "Hm.", "tells_details": True, "text": "So."}, {"text": "Yes."}
    )
    client = openai_client(simulator, "simulated-key:turn")
    asked = [{"role": "user", "content": "why?"}]
    message = client.chat.completions.create(model="sim-echo", messages=asked).choices[0].message
    (detail,) = message.model_extra["reasoning_details"]
    assert detail["text"] == "Hm."
    back = {"role": "assistant", "content": "So.", "reasoning_details": [detail]}
    history = [*asked, back, {"role": "user", "content": "sure?"}]
    again = client.chat.completions.create(model="sim-echo", messages=history)
    assert again.choices[0].message.content == "Yes."
    detail["text"] = "Hm?"
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="sim-echo", messages=history)
