"""What stays of calls that came by HTTP: their record, their session, their signed thoughts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from accounts.types import Scope
from agents import tasks, worker
from agents.models import Conversation
from ideplatform import subscriptions
from ideplatform.outbox import relay
from ideplatform.outbox.models import Fact
from providers.models import GatewayExchange
from providers.services import exchanges
from providers.types import TextPart
from tests.factories import a_workspace
from tests.providers.builders import a_provider
from tests.providers.gateway.clients import Door, a_chat, a_message
from tests.waiting import eventually

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}


def the_record(door: Door) -> GatewayExchange:
    assert exchanges.flush()
    eventually(lambda: GatewayExchange.objects.filter(user=door.user).exists())
    return GatewayExchange.objects.get(user=door.user)


@pytest.mark.parametrize("kind", ["openai_compatible", "anthropic"])
@pytest.mark.parametrize("is_streamed", [True, False])
@pytest.mark.parametrize(
    ("path", "ask"), [("/v1/chat/completions", a_chat), ("/v1/messages", a_message)]
)
def test_a_call_is_recorded_whether_translated_or_passed_on(
    door: Door, kind: str, is_streamed: bool, path: str, ask: Any
):
    a_provider(kind)
    headers = {"Authorization": f"Bearer {door.key}", "x-mundial-session": "mine"}
    answer = door.send("POST", path, ask(stream=is_streamed), headers=headers)
    assert answer.status == 200, answer.body
    row = the_record(door)
    found = exchanges.recorded(row.pk)
    assert found is not None
    assert found.answer.parts == (TextPart(text="Echo: hello there"),)
    assert (found.answer.model, found.answer.stop) == ("sim-echo", "end")
    assert [part for message in found.request.messages for part in message.parts] == [
        TextPart(text="hello there")
    ]
    (event,) = door.events()
    assert found.answer.usage_event_id == event.pk
    assert (row.pk, row.api_key_id) == (event.request_id, door.key_row.pk)
    assert (row.session_key, row.purpose, row.outcome) == ("session:mine", "turn", "ok")
    assert row.dialect == ("chat" if "chat" in path else "messages")
    assert answer.headers["x-request-id"] == str(row.pk)


def test_a_failed_call_is_recorded_with_its_code(door: Door):
    a_provider("openai_compatible")
    answer = door.send("POST", "/v1/chat/completions", a_chat("[[sim:status=400]]"))
    row = the_record(door)
    assert row.outcome == answer.json()["error"]["code"] == "provider_call_refused"
    assert exchanges.recorded(row.pk) is not None


def test_the_turns_of_a_client_become_its_person_s_conversation(door: Door):
    a_provider("openai_compatible")
    history: list[dict[str, str]] = []
    for text in ("one", "two"):
        history.append({"role": "user", "content": text})
        body = {"model": "sim-echo", "messages": history}
        answer = door.send("POST", "/v1/chat/completions", body).json()
        history.append(answer["choices"][0]["message"])
        assert exchanges.flush()
    eventually(lambda: GatewayExchange.objects.filter(user=door.user).count() == 2)
    for row in GatewayExchange.objects.filter(user=door.user).order_by("-created_at"):
        assert row.session_key.startswith("first:")
        tasks.grow_conversation({"exchange_id": str(row.pk)})
    (only,) = Conversation.objects.filter(user=door.user)
    told = [part["text"] for row in only.messages.order_by("no") for part in row.parts]
    assert told == ["one", "Echo: one", "two", "Echo: two"]


def test_nothing_is_recorded_where_the_organization_wants_nothing(door: Door):
    a_provider("openai_compatible")
    session = door.token()
    path = f"/api/v1/providers/capture/{door.organization.pk}"
    headers = {"Authorization": f"Bearer {session}", "Content-Type": "application/json"}
    assert door.send("PUT", path, {"capture": "off"}, headers=headers).status == 200
    assert door.send("POST", "/v1/chat/completions", a_chat()).status == 200
    assert exchanges.flush()
    assert not GatewayExchange.objects.filter(user=door.user).exists()
    keys = [str(pk) for pk in GatewayExchange.objects.values_list("pk", flat=True)]
    assert not Fact.objects.filter(topic="exchange.recorded").exclude(key__in=keys).exists()
    assert door.send("GET", path, headers=headers).json()["capture"] == "off"


@pytest.mark.parametrize("kind", ["anthropic", "google"])
def test_a_signed_thought_that_the_client_dropped_goes_back_to_its_vendor(door: Door, kind: str):
    a_provider(kind)
    door.vendor.script(
        "think",
        {
            "thinking": "Rain is likely.",
            "tool_calls": [{"name": "get_weather", "arguments": {"city": "Recife"}}],
        },
        {"text": "Take an umbrella."},
    )
    options: dict[str, Any] = {"tools": [WEATHER], "reasoning_effort": "low", "max_tokens": 8_000}
    first = door.send("POST", "/v1/chat/completions", a_chat("[[sim:think]] weather?", **options))
    (call,) = first.json()["choices"][0]["message"]["tool_calls"]
    bare = {name: call[name] for name in ("id", "type", "function")}
    history = [
        {"role": "user", "content": "[[sim:think]] weather?"},
        {"role": "assistant", "content": None, "tool_calls": [bare]},
        {"role": "tool", "tool_call_id": call["id"], "content": "21 °C"},
    ]
    body = {"model": "sim-echo", "messages": history} | options
    second = door.send("POST", "/v1/chat/completions", body)
    assert second.status == 200, second.body
    assert second.json()["choices"][0]["message"]["content"] == "Take an umbrella."
    sent = json.loads(door.vendor.bodies()[-1])
    if kind == "anthropic":
        thought = sent["messages"][1]["content"][0]
        assert thought["type"] == "thinking"
        assert thought["thinking"] == "Rain is likely."
        assert thought["signature"]
        assert sent["thinking"]["type"] in ("enabled", "adaptive")
    else:
        parts = sent["contents"][1]["parts"]
        assert any(part.get("thoughtSignature") for part in parts)


@pytest.fixture
def worker_here(door: Door) -> Iterator[None]:
    """Runs are executed by a worker in this process; other facts wait."""
    wanted = {"run.opened": subscriptions.LISTENERS["run.opened"]}
    relay.configure(wanted, send=subscriptions.run_here)
    yield
    subscriptions.wire()
    worker.stop()


def test_an_agent_answers_in_the_caller_s_dialect(door: Door, worker_here: None):
    a_provider("openai_compatible")
    workspace = a_workspace(door.user)
    key = door.another_key(Scope.GATEWAY_CALL, Scope.AGENTS_RUN)
    headers = {"Authorization": f"Bearer {key}", "x-mundial-workspace": str(workspace.pk)}
    listed = door.send("GET", "/v1/models", headers=headers).json()["data"]
    assert {"agent/coder", "agent/universal"} <= {one["id"] for one in listed}
    hidden = door.send("GET", "/v1/models").json()["data"]
    assert not any(one["id"].startswith("agent/") for one in hidden)
    chat = door.send(
        "POST", "/v1/chat/completions", a_chat(model="agent/universal"), headers=headers
    )
    assert chat.status == 200, chat.body
    assert chat.json()["choices"][0]["message"]["content"] == "Echo: hello there"
    (event,) = door.events()
    assert chat.json()["usage"]["cost"] == f"{event.billed_cost:f}"
    row = the_record(door)
    tasks.grow_conversation({"exchange_id": str(row.pk)})
    (only,) = Conversation.objects.filter(user=door.user)
    assert only.runs.get().pk == event.run_id
    message = a_message(model="agent/universal", stream=True)
    streamed = door.send("POST", "/v1/messages", message, headers=headers)
    said = [one["delta"]["text"] for one in streamed.events() if "text" in one.get("delta", {})]
    assert "".join(said) == "Echo: hello there"
    refused = door.send("POST", "/v1/chat/completions", a_chat(model="agent/universal"))
    assert refused.status == 403
    unknown = a_chat(model="agent/nobody")
    missing = door.send("POST", "/v1/chat/completions", unknown, headers=headers)
    assert (missing.status, missing.json()["error"]["code"]) == (404, "model_not_found")
