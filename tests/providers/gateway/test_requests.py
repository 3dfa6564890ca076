"""Requests that are not calls: broken, foreign, too large, too many."""

from __future__ import annotations

import json
import socket
from urllib.parse import urlsplit

import pytest
from django.conf import settings

from ideplatform.kit import redis, throttle
from tests.providers.builders import a_provider
from tests.providers.gateway.clients import Door, a_chat, a_message

CHAT = "/v1/chat/completions"
DEEP = b'{"model":"sim-echo","messages":[],"x":' + b"[" * 70 + b"]" * 70 + b"}"
BROKEN = [
    b"",
    b"{",
    b"null",
    b"[]",
    b'"text"',
    b'{"model":"sim-echo","messages":[],"temperature":NaN}',
    b'{"model":"sim-echo","messages":[],}',
    b'{"model":"sim-echo"}',
    b'{"messages":[]}',
    b'{"model":5,"messages":[]}',
    b'{"model":"sim-echo","messages":"text"}',
    b'{"model":"sim-echo","messages":[{"role":"user","content":"\xff"}]}',
    DEEP,
]


@pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/v1/responses", "/v1/embeddings"])
@pytest.mark.parametrize("body", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_body_is_refused_before_any_money(door: Door, path: str, body: bytes):
    a_provider()
    reply = door.send("POST", path, body)
    assert reply.status == 400, reply.body
    assert reply.json()["error"]["type"] == "invalid_request_error"
    assert door.holds() == set()
    assert door.vendor.ledger() == []


def test_unknown_paths_and_methods_are_told_in_openai_s_words(door: Door):
    missing = door.send("GET", "/v1/nothing")
    assert missing.status == 404
    assert missing.json()["error"]["type"] == "invalid_request_error"
    wrong = door.send("GET", CHAT)
    assert wrong.status == 405
    assert wrong.headers["allow"] == "POST"
    assert door.send("OPTIONS", CHAT).headers["allow"] == "POST, OPTIONS"
    assert door.send("GET", "/v1").status == 404


def test_somebody_is_there_and_pages_stay_django_s(door: Door):
    assert door.send("HEAD", "/", headers={}).status == 200
    page = door.send("GET", "/", headers={})
    assert page.headers["content-type"].startswith("text/html")
    assert door.send("GET", "/api/v1/providers").headers["content-type"] == "application/json"


def test_a_path_that_is_not_clean_is_refused(door: Door):
    for path in ("/v1/models/%00", "/v1/models/%ff", "/v1/models/a%zz"):
        reply = door.send("GET", path)
        assert reply.status == 400
        assert reply.json()["error"]["code"] == "malformed_request"


def test_a_body_beyond_the_limit_is_refused_in_the_dialect(door: Door):
    size = settings.ENV.gateway_max_body_mb * 1024 * 1024 + 1
    address = urlsplit(door.url)
    head = (
        f"POST /v1/messages HTTP/1.1\r\nHost: x\r\nx-api-key: {door.key}\r\n"
        f"Content-Length: {size}\r\n\r\n"
    )
    with socket.create_connection((str(address.hostname), int(address.port or 0)), 10) as raw:
        raw.sendall(head.encode())
        answer = b""
        while piece := raw.recv(65_536):
            answer += piece
    told, _, body = answer.partition(b"\r\n\r\n")
    assert told.startswith(b"HTTP/1.1 413")
    assert b"connection: close" in told.lower()
    assert json.loads(body)["error"]["type"] == "request_too_large"


def test_more_than_a_megabyte_is_fine_here(door: Door):
    a_provider()
    reply = door.send("POST", CHAT, a_chat(padding="word " * 400_000))
    assert reply.status == 200, reply.body


def test_a_prompt_that_no_model_can_read_is_too_large(door: Door):
    a_provider()
    reply = door.send("POST", CHAT, a_chat("word " * 400_000))
    assert reply.status == 413
    assert reply.json()["error"]["code"] == "context_length_exceeded"
    assert door.holds() == set()


def test_too_many_requests_are_told_when_to_come_back(door: Door):
    a_provider()
    limit = throttle.gateway()
    claim = throttle.of_user(limit, door.user.pk, cost=limit.count)
    throttle.take(claim)
    reply = door.send("POST", CHAT, a_chat())
    assert reply.status == 429
    assert 1 <= int(reply.headers["retry-after"]) <= 60
    assert "x-should-retry" not in reply.headers
    message = door.send("POST", "/v1/messages", a_message())
    assert message.json()["error"]["type"] == "rate_limit_error"
    assert door.vendor.ledger() == []
    redis.client("cache").delete(claim.key)


def test_the_same_idempotency_key_is_charged_once(door: Door):
    a_provider()
    headers = {"x-api-key": door.key, "Idempotency-Key": "order-1"}
    first = door.send("POST", CHAT, a_chat(), headers=headers)
    again = door.send("POST", CHAT, a_chat(), headers=headers)
    assert (first.status, again.status) == (200, 409)
    assert again.json()["error"]["code"] == "request_reused"
    assert again.json()["error"]["first_request_id"] == first.headers["x-request-id"]
    assert again.headers["x-should-retry"] == "false"
    assert len(door.events()) == len(door.vendor.ledger()) == 1
    other = door.send("POST", CHAT, a_chat(), headers=headers | {"Idempotency-Key": "order-2"})
    assert other.status == 200


def test_request_ids_are_ours(door: Door):
    a_provider()
    headers = {"x-api-key": door.key, "x-request-id": "mine"}
    reply = door.send("POST", CHAT, a_chat(), headers=headers)
    (event,) = door.events()
    assert reply.headers["x-request-id"] == str(event.request_id)
    assert event.request_id.version == 7
