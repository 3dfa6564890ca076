"""What vendors do wrong, and the one way in which each dialect tells it."""

from __future__ import annotations

from typing import Any

import pytest

from providers.services import health
from tests.providers.builders import a_provider
from tests.providers.gateway.clients import LONG, Door, a_chat, a_message
from tests.waiting import eventually

CHAT, MESSAGES = "/v1/chat/completions", "/v1/messages"
HASTY = {"timeouts": {"first_byte_s": 0.4, "idle_s": 0.4}}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("words", "status", "openai_type", "anthropic_status", "anthropic_type"),
    [
        ("status=400", 502, "server_error", 502, "api_error"),
        ("status=401", 502, "server_error", 502, "api_error"),
        ("status=413", 413, "invalid_request_error", 413, "request_too_large"),
        ("status=429 retry_after=40", 503, "server_error", 529, "overloaded_error"),
        ("status=500", 502, "server_error", 502, "api_error"),
        ("status=503", 503, "server_error", 529, "overloaded_error"),
    ],
)
def test_a_refusal_has_its_status_in_each_dialect(
    door: Door,
    stream: bool,
    words: str,
    status: int,
    openai_type: str,
    anthropic_status: int,
    anthropic_type: str,
):
    a_provider("openai")
    chat = door.send("POST", CHAT, a_chat(f"[[sim:{words}]]", stream=stream))
    assert chat.status == status, chat.body
    assert chat.json()["error"]["type"] == openai_type
    assert b"simulated" not in chat.body.lower()
    health.forget()
    a_provider("anthropic", models=("claude-sim",), billing_mode="free")
    body = a_message(f"[[sim:{words}]]", model="claude-sim", stream=stream)
    message = door.send("POST", MESSAGES, body)
    assert message.status == anthropic_status, message.body
    assert message.json()["error"]["type"] == anthropic_type
    assert all(event.billed_cost == 0 for event in door.events())
    assert door.holds() == {"settled"}


@pytest.mark.parametrize("kind", ["openai", "anthropic", "google"])
@pytest.mark.parametrize("path", [CHAT, MESSAGES, "/v1/responses"])
@pytest.mark.parametrize(
    "turn",
    [{"cut_after_tokens": 5}, {"malformed_at": 5}, {"hang_at": 5}, {"error_at": 5}],
    ids=["cut", "malformed", "hang", "error"],
)
def test_a_fault_mid_stream_is_one_terminal_event(
    door: Door, kind: str, path: str, turn: dict[str, int]
):
    a_provider(kind, config=HASTY)
    door.vendor.script("broken", {"text": LONG} | turn)
    body = a_message("[[sim:broken]]", stream=True) if path == MESSAGES else None
    if path == CHAT:
        body = a_chat("[[sim:broken]]", stream=True)
    reply = door.send(
        "POST", path, body or {"model": "sim-echo", "input": "[[sim:broken]]", "stream": True}
    )
    assert reply.status == 200
    last = reply.events()[-1]
    if path == "/v1/responses":
        assert last["type"] == "response.failed"
    else:
        assert "error" in last
    assert b"[DONE]" not in reply.body
    assert b"message_stop" not in reply.body
    (event,) = door.events()
    assert event.accuracy == "estimated"
    assert event.billed_cost > 0
    assert door.holds() == {"settled"}


def test_a_silent_vendor_is_a_504(door: Door):
    a_provider(config=HASTY)
    reply = door.send("POST", CHAT, a_chat("[[sim:first=30000]]", stream=True))
    assert reply.status == 504
    assert reply.json()["error"]["type"] == "server_error"
    assert "x-should-retry" not in reply.headers


def test_a_lying_vendor_is_billed_as_it_reports(door: Door):
    a_provider("openai")
    door.vendor.script("lie", {"text": "hi", "reported": {"input": 7, "output": 3}})
    reply = door.send("POST", CHAT, a_chat("[[sim:lie]]", stream=True))
    usage = reply.events()[-1]["usage"]
    (event,) = door.events()
    assert (usage["prompt_tokens"], usage["completion_tokens"]) == (7, 3)
    assert (event.tokens_input, event.tokens_output) == (7, 3)


def test_a_vendor_that_counts_nothing_is_counted_by_us(door: Door):
    a_provider("openai")
    reply = door.send("POST", CHAT, a_chat("[[sim:tokens=20 no_usage=1]]", stream=True))
    usage = reply.events()[-1]["usage"]
    (event,) = door.events()
    assert event.accuracy == "estimated"
    assert usage["completion_tokens"] == event.tokens_output
    assert usage["cost"] == f"{event.billed_cost:f}"
    assert reply.body.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("path", [CHAT, MESSAGES])
def test_a_client_that_leaves_is_charged_for_the_exact_count(door: Door, path: str):
    a_provider("openai_compatible")
    prompt = "[[sim:tokens=30 delay=20]]"
    body = a_chat(prompt, stream=True) if path == CHAT else a_message(prompt, stream=True)
    with door.opened("POST", path, body) as response:
        assert response.read(10)
    (event,) = eventually(door.events)
    (row,) = door.vendor.ledger()
    assert (event.outcome, event.accuracy) == ("ok", "exact")
    assert event.tokens_output == row["tokens"]["output"]


def test_a_whole_answer_nobody_waits_for_is_exact_too(door: Door):
    a_provider()
    body = a_chat("[[sim:tokens=30 delay=20]]")
    door.leave("POST", CHAT, body)
    (event,) = eventually(door.events)
    assert (event.outcome, event.accuracy) == ("ok", "exact")


def test_the_first_token_is_out_before_the_vendor_s_last(door: Door):
    a_provider("anthropic")
    with door.opened("POST", CHAT, a_chat("[[sim:tokens=20 delay=50]]", stream=True)) as response:
        first = response.read(20)
        assert first
        assert [row["outcome"] for row in door.vendor.ledger()] == ["open"]
        rest = response.read()
    assert rest.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize(("drain_s", "drains_max"), [(0.2, 64), (60, 0)])
def test_an_answer_that_nobody_can_wait_for_is_cut_and_estimated(
    door: Door, settings: Any, drain_s: float, drains_max: int
):
    settings.ENV = settings.ENV.model_copy(
        update={"gateway_drain_s": drain_s, "gateway_drains_max": drains_max}
    )
    a_provider()
    body = a_chat("[[sim:tokens=5000 delay=10]]", stream=True)
    with door.opened("POST", CHAT, body) as response:
        assert response.read(10)
    (event,) = eventually(door.events)
    assert (event.outcome, event.accuracy) == ("client_cancelled", "estimated")
    assert 0 < event.tokens_output < 5_000
    assert door.holds() == {"settled"}
