"""Answers passed on: the vendor's own bytes, but for the price in the usage."""

from __future__ import annotations

import http.client
import json
import re
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from billing.types import TokenCount, UnitClass
from providers.gateway import passthrough
from providers.types import DialectName, Passed, Unfinished, Usage
from tests.providers.builders import KEY, a_provider
from tests.providers.gateway.clients import Door, a_chat, a_message

PRICED = Usage(
    tokens=TokenCount({UnitClass.INPUT: 5, UnitClass.OUTPUT: 7}),
    is_final=True,
    cost_usd="0.000019",
)
CASES: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("openai", "/v1/chat/completions", a_chat(stream=True), {}),
    (
        "openai",
        "/v1/responses",
        {"model": "sim-echo", "input": "hello", "stream": True, "store": False},
        {"api": "responses"},
    ),
    ("anthropic", "/v1/messages", a_message(stream=True), {}),
]


def _of_vendor(door: Door, path: str, body: dict[str, Any]) -> bytes:
    """What the vendor itself answers to the same request."""
    address = urlsplit(door.vendor.url)
    connection = http.client.HTTPConnection(str(address.hostname), address.port, timeout=30)
    headers = {
        "Authorization": f"Bearer {KEY}",
        "x-api-key": KEY,
        "anthropic-version": "2023-06-01",
    }
    connection.request("POST", path, json.dumps(body).encode(), headers)
    answer = connection.getresponse().read()
    connection.close()
    return answer


def _unnamed(answer: bytes) -> bytes:
    """Without what differs between two answers of a vendor: ids and times."""
    text = re.sub(rb'"(chatcmpl-|resp_|msg_|rs_|fc_)[A-Za-z0-9_-]+"', b'"id"', answer)
    return re.sub(rb'"(created|created_at|completed_at)":[0-9.]+', b'"at":0', text)


@pytest.mark.parametrize(("kind", "path", "body", "config"), CASES, ids=["chat", "resp", "msg"])
def test_the_vendor_s_bytes_arrive_as_they_left(
    door: Door, kind: str, path: str, body: dict[str, Any], config: dict[str, Any]
):
    a_provider(kind, config=config)
    told = body | ({"stream_options": {"include_usage": True}} if "chat" in path else {})
    vendor = _of_vendor(door, path, told)
    reply = door.send("POST", path, body)
    assert reply.status == 200, reply.body
    event = door.events()[-1]
    cost = b',"cost":"' + f"{event.billed_cost:f}".encode() + b'"'
    assert reply.body.count(cost) == 1
    assert _unnamed(reply.body.replace(cost, b"")) == _unnamed(vendor)


def test_unknown_members_travel_to_a_vendor_of_the_same_dialect(door: Door):
    a_provider("anthropic")
    body = a_message(context_management={"edits": [{"type": "x"}]}, novelty=[1, {"a": None}])
    body["tools"] = [{"name": "t", "input_schema": {"type": "object"}, "novel": True}]
    headers = {"x-api-key": door.key, "anthropic-beta": "some-beta-2099"}
    reply = door.send("POST", "/v1/messages?beta=true", body, headers=headers)
    assert reply.status == 200, reply.body
    (sent,) = door.vendor.requests()
    assert sent["body"]["novelty"] == [1, {"a": None}]
    assert sent["body"]["context_management"] == {"edits": [{"type": "x"}]}
    assert sent["body"]["tools"] == body["tools"]
    assert sent["headers"]["anthropic-beta"] == "some-beta-2099"


def test_what_another_dialect_lacks_is_dropped_and_named(door: Door):
    a_provider("google")
    body = a_message(context_management={"edits": []})
    reply = door.send("POST", "/v1/messages", body)
    assert reply.status == 200, reply.body
    assert "context_management" in reply.headers["x-mundial-dropped"]


def _ending(data: bytes) -> Passed:
    return Passed(data=data, is_ending=True, unfinished=Unfinished(answer_id="c1", model="m"))


@pytest.mark.parametrize(
    ("dialect", "event", "expected"),
    [
        (
            DialectName.CHAT,
            b'data: {"choices":[],"usage":{"prompt_tokens":5}}\n\n',
            b'data: {"choices":[],"usage":{"prompt_tokens":5,"cost":"0.000019"}}\n\n',
        ),
        (
            DialectName.CHAT,
            b'data:{"metadata":{"usage":{"a":1}},"usage" : { },"x":{"usage":{"a":1}}}\r\n\r\n',
            b'data:{"metadata":{"usage":{"a":1}},"usage" : {"cost":"0.000019"},'
            b'"x":{"usage":{"a":1}}}\r\n\r\n',
        ),
        (
            DialectName.RESPONSES,
            b'data: {"usage":{"a":1},"response":{"metadata":{"usage":{"a":1}},'
            b'"usage":{"a":1}}}\n\n',
            b'data: {"usage":{"a":1},"response":{"metadata":{"usage":{"a":1}},'
            b'"usage":{"a":1,"cost":"0.000019"}}}\n\n',
        ),
        (
            DialectName.MESSAGES,
            b'event: message_delta\ndata: {"delta":{},"usage":{"o":{"n":1}}}\n\n'
            b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
            b'event: message_delta\ndata: {"delta":{},"usage":{"o":{"n":1},"cost":"0.000019"}}\n\n'
            b'event: message_stop\ndata: {"type":"message_stop"}\n\n',
        ),
    ],
)
def test_the_price_goes_into_the_right_object(dialect: DialectName, event: bytes, expected: bytes):
    (priced,) = passthrough.priced([_ending(event)], PRICED, dialect)
    assert priced.data == expected


def test_a_chat_without_usage_gets_ours_before_its_end():
    data = b'data: {"choices":[{"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    (priced,) = passthrough.priced([_ending(data)], PRICED, DialectName.CHAT)
    first, ours, done, _ = priced.data.split(b"\n\n")
    assert (first, done) == (data.split(b"\n\n")[0], b"data: [DONE]")
    told = msgspec.json.decode(ours.removeprefix(b"data: "))
    assert (told["id"], told["choices"]) == ("c1", [])
    assert told["usage"] == {
        "prompt_tokens": 5,
        "completion_tokens": 7,
        "total_tokens": 12,
        "cost": "0.000019",
    }


def test_without_a_price_nothing_is_touched():
    chunk = _ending(b'data: {"usage":{"a":1}}\n\n')
    unpriced = msgspec.structs.replace(PRICED, cost_usd=None)
    assert passthrough.priced([chunk], unpriced, DialectName.CHAT) == [chunk]
