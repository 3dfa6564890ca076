"""Responses that are kept, over HTTP: resumed, cancelled, run in the background, forgotten."""

from __future__ import annotations

import json

import pytest

from tests.providers.builders import a_provider
from tests.providers.gateway.clients import Door
from tests.waiting import eventually

PATH = "/v1/responses"
KINDS = ["openai", "openai_compatible", "anthropic", "google"]


def _ask(prompt: str = "hello there", **values: object) -> dict[str, object]:
    return {"model": "sim-echo", "input": prompt} | values


@pytest.mark.parametrize("kind", KINDS)
def test_a_streamed_response_is_read_again_event_by_event(door: Door, kind: str):
    a_provider(kind)
    reply = door.send("POST", PATH, _ask(stream=True))
    assert reply.status == 200, reply.body
    events = reply.events()
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    name = events[0]["response"]["id"]
    again = door.send("GET", f"{PATH}/{name}?stream=true&starting_after=2")
    assert again.events() == events[3:]
    whole = door.send("GET", f"{PATH}/{name}").json()
    assert whole == events[-1]["response"]
    assert whole["output"][-1]["content"][0]["text"] == "Echo: hello there"
    (event,) = door.events()
    assert whole["usage"]["cost"] == f"{event.billed_cost:f}"


def test_the_sdk_continues_a_conversation(door: Door):
    a_provider()
    client = door.openai.responses
    first = client.create(model="sim-echo", input="one")
    assert first.output_text == "Echo: one"
    second = client.create(model="sim-echo", input="two", previous_response_id=first.id)
    assert second.output_text == "Echo: two"
    assert client.retrieve(first.id).output_text == "Echo: one"
    told = [message["content"] for message in door.vendor.requests()[-1]["body"]["messages"]]
    assert "Echo: one" in json.dumps(told)
    client.delete(first.id)
    assert door.send("GET", f"{PATH}/{first.id}").status == 404


def test_what_is_not_stored_is_not_found(door: Door):
    a_provider()
    reply = door.send("POST", PATH, _ask(store=False))
    assert reply.status == 200, reply.body
    name = reply.json()["id"]
    gone = door.send("GET", f"{PATH}/{name}")
    assert (gone.status, gone.json()["error"]["type"]) == (404, "invalid_request_error")


def test_a_background_response_goes_on_alone(door: Door):
    a_provider()
    reply = door.send("POST", PATH, _ask("[[sim:tokens=20 delay=10]]", background=True))
    assert reply.json()["status"] == "queued"
    name = reply.json()["id"]

    def done() -> bool:
        return bool(door.send("GET", f"{PATH}/{name}").json()["status"] == "completed")

    eventually(done)
    (event,) = door.events()
    assert (event.outcome, event.accuracy) == ("ok", "exact")


def test_a_client_that_leaves_finds_its_response_whole(door: Door):
    a_provider()
    with door.opened("POST", PATH, _ask("[[sim:tokens=40 delay=10]]", stream=True)) as response:
        name = json.loads(response.readline() and response.readline()[5:])["response"]["id"]
    resumed = door.send("GET", f"{PATH}/{name}?stream=true")
    events = resumed.events()
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["type"] == "response.completed"


def test_a_cancelled_response_ends_and_is_estimated(door: Door):
    a_provider()
    body = _ask("[[sim:tokens=2000 delay=10]]", background=True)
    name = door.send("POST", PATH, body).json()["id"]
    eventually(lambda: door.vendor.ledger())
    told = door.send("POST", f"{PATH}/{name}/cancel", {})
    assert told.json()["status"] == "cancelled"
    (event,) = eventually(door.events)
    assert (event.outcome, event.accuracy) == ("client_cancelled", "estimated")
    assert door.holds() == {"settled"}


def test_a_refused_response_leaves_no_record(door: Door):
    a_provider()
    reply = door.send("POST", PATH, _ask(model="nothing"))
    assert reply.status == 404
    assert reply.json()["error"]["code"] == "model_not_found"


def test_input_items_are_paged(door: Door):
    a_provider()
    name = door.send("POST", PATH, _ask("one")).json()["id"]
    page = door.send("GET", f"{PATH}/{name}/input_items?order=asc&limit=1").json()
    assert [item["type"] for item in page["data"]] == ["message"]
    assert page["has_more"] is False
