"""Agents over REST: asking, streaming, reading back."""

from __future__ import annotations

import json

import aiohttp
import pytest

from agents.models import Conversation
from agents.models import Run as RunRow
from agents.services import runs
from ideplatform.kit import ids
from ideplatform.kit.db import run_db
from tests.agents.builders import a_desk, a_run
from tests.agents.clients import an_access_token
from tests.factories import a_user, join_workspace
from workspaces.types import WorkspaceRole

API = "/api/v1"


class Caller:
    """A signed-in REST client of a live web process."""

    def __init__(self, url, desk, token):
        self.desk = desk
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}

    def as_other(self, token):
        return Caller(self._url, self.desk, token)

    async def call(self, method, path, body=None, **headers):
        async with (
            aiohttp.ClientSession() as http,
            http.request(
                method, self._url + path, json=body, headers=self._headers | headers
            ) as answer,
        ):
            text = await answer.text()
            is_json = "json" in answer.content_type
            return answer.status, json.loads(text) if is_json else text

    async def invoke(self, prompt, agent="universal", **headers):
        body = {"workspace_id": str(self.desk.workspace.pk), "prompt": prompt}
        return await self.call("POST", f"/agents/{agent}/invoke", body, **headers)


@pytest.fixture
def caller(inline, live_web):
    desk = a_desk()
    return Caller(live_web.url + API, desk, an_access_token(desk.user))


def frames_of(stream):
    """The events of an SSE body."""
    found = []
    for block in stream.strip().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n"))
        frame = json.loads(fields["data"])
        assert fields["event"] == frame["type"]
        assert fields["id"] == str(frame["seq"])
        found.append(frame)
    return found


async def test_an_invocation_waits_for_the_answer_and_says_what_it_cost(caller):
    status, body = await caller.invoke("what is this")
    assert (status, body["state"], body["content"]) == (200, "completed", "Echo: what is this")
    assert body["usage"]["tokens_input"] + body["usage"]["tokens_output"] > 0
    assert body["usage"]["total_tokens"] == sum(
        body["usage"][name] for name in ("tokens_input", "tokens_output")
    )
    row = await run_db(RunRow.objects.get)
    assert (str(row.pk), row.spent["cost_usd"]) == (body["run_id"], body["cost_usd"])


async def test_an_invocation_that_takes_longer_is_accepted(caller):
    status, body = await caller.call(
        "POST",
        "/agents/universal/invoke",
        {
            "workspace_id": str(caller.desk.workspace.pk),
            "prompt": "[[sim:tokens=1000 delay=20]]",
            "wait_s": 0,
        },
    )
    assert (status, body["state"], body["content"]) == (202, "queued", "")
    status, run = await caller.call("POST", f"/runs/{body['run_id']}/cancel")
    assert status in {200, 202}
    assert run["id"] == body["run_id"]


async def test_an_invocation_streams_events_that_a_browser_can_resume(caller):
    status, stream = await caller.invoke("a b c", Accept="text/event-stream")
    assert status == 200
    frames = frames_of(stream)
    assert [f["seq"] for f in frames] == list(range(1, len(frames) + 1))
    assert frames[-1]["type"] == "complete"
    run_id = frames[0]["run_id"]
    _, rest = await caller.call(
        "GET",
        f"/runs/{run_id}/events",
        **{"Accept": "text/event-stream", "Last-Event-ID": "3"},
    )
    assert frames_of(rest) == frames[3:]
    _, page = await caller.call("GET", f"/runs/{run_id}/events?after=3&limit=2")
    assert page == {"items": frames[3:5], "next_after": 5}


async def test_the_same_key_and_body_is_the_same_run(caller):
    key = {"Idempotency-Key": "once"}
    first = await caller.invoke("hello", **key)
    assert await caller.invoke("hello", **key) == first
    status, problem = await caller.invoke("other", **key)
    assert (status, problem["code"]) == (409, "idempotency_key_reused")
    assert await run_db(RunRow.objects.count) == 1


async def test_a_conversation_goes_on_and_is_told_in_order(caller):
    _, first = await caller.invoke("one")
    body = {"conversation_id": first["conversation_id"], "prompt": "two"}
    _, second = await caller.call("POST", "/agents/universal/invoke", body)
    assert second["conversation_id"] == first["conversation_id"]
    _, page = await caller.call("GET", f"/conversations/{first['conversation_id']}/messages")
    said = [(m["no"], m["role"], m["parts"][0]["text"]) for m in page["items"]]
    assert said == [
        (1, "user", "one"),
        (2, "assistant", "Echo: one"),
        (3, "user", "two"),
        (4, "assistant", "Echo: two"),
    ]
    _, history = await caller.call("GET", "/agents/universal/history")
    assert [item["id"] for item in history["items"]] == [first["conversation_id"]]
    assert (await caller.call("GET", "/agents/coder/history"))[1]["items"] == []


async def test_agents_say_whether_they_can_answer(caller):
    status, body = await caller.call("GET", "/agents")
    assert status == 200
    listed = {item["id"]: item for item in body["items"]}
    assert list(listed) == ["universal", "coder"]
    assert listed["coder"]["tools"] == ["read_file", "write_file", "list", "search"]
    assert all(item["is_ready"] for item in body["items"])


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/prompt"),
        ({"prompt": "x", "messages": [{"role": "user", "content": "y"}]}, "/prompt"),
        ({"messages": [{"role": "tool", "content": "y"}]}, "/messages/0"),
        ({"prompt": "x", "surplus": 1}, "/surplus"),
        ({"prompt": "x", "wait_s": 500}, "/wait_s"),
        ({"prompt": "x", "limits": {"steps": 0}}, "/limits/steps"),
        ({"prompt": "x", "limits": {"cost_usd": "1e999"}}, "/limits/cost_usd"),
        ({"prompt": "x", "workspace_id": "nope"}, "/workspace_id"),
    ],
)
async def test_bad_input_is_refused_with_a_pointer_and_changes_nothing(caller, body, pointer):
    status, problem = await caller.call("POST", "/agents/universal/invoke", body)
    assert status == 422
    assert [fault["pointer"] for fault in problem["errors"]] == [pointer]
    assert not await run_db(Conversation.objects.exists)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/runs/{run}"),
        ("GET", "/runs/{run}/events"),
        ("POST", "/runs/{run}/cancel"),
        ("GET", "/conversations/{conversation}"),
        ("GET", "/conversations/{conversation}/messages"),
        ("PATCH", "/conversations/{conversation}"),
    ],
)
async def test_a_foreign_id_is_answered_like_an_unknown_one(caller, method, path):
    foreign = await run_db(a_run)
    body = {"visibility": "workspace"} if method == "PATCH" else None
    theirs = path.format(run=foreign.id, conversation=foreign.conversation_id)
    nobodys = path.format(run=ids.new(), conversation=ids.new())
    status, problem = await caller.call(method, theirs, body)
    other_status, other = await caller.call(method, nobodys, body)
    assert status == other_status == 404
    assert {k: v for k, v in problem.items() if k != "request_id"} == {
        k: v for k, v in other.items() if k != "request_id"
    }


async def test_foreign_ids_in_a_body_are_not_found(caller):
    foreign = await run_db(a_run)
    for body in (
        {"workspace_id": str(foreign.workspace_id)},
        {"conversation_id": str(foreign.conversation_id)},
        {
            "workspace_id": str(caller.desk.workspace.pk),
            "conversation_id": str(foreign.conversation_id),
        },
        {"provider_id": str(ids.new()), "model": "x"},
    ):
        answer = await caller.call("POST", "/agents/universal/invoke", {"prompt": "x"} | body)
        assert answer[0] == 404
    assert await run_db(RunRow.objects.count) == 1


async def test_only_its_person_shares_a_conversation(caller):
    _, asked = await caller.invoke("mine")
    path = f"/conversations/{asked['conversation_id']}"
    reader = await run_db(a_user)
    await run_db(join_workspace, caller.desk.workspace, reader, WorkspaceRole.VIEWER)
    other = caller.as_other(await run_db(an_access_token, reader))
    assert (await other.call("GET", path))[0] == 404
    assert (await other.call("PATCH", path, {"visibility": "workspace"}))[0] == 403
    assert (await caller.call("PATCH", path, {"visibility": "workspace"}))[0] == 200
    assert (await other.call("GET", path))[1]["title"] == "mine"
    assert (await other.call("GET", f"/runs/{asked['run_id']}"))[0] == 200
    assert (await other.call("PATCH", path, {"visibility": "private"}))[0] == 403


async def test_a_second_run_waits_for_nobody_but_is_refused(caller):
    run = await run_db(a_run, caller.desk, prompt="[[sim:tokens=1000 delay=20]]")
    body = {"conversation_id": str(run.conversation_id), "prompt": "again"}
    status, problem = await caller.call("POST", "/agents/universal/invoke", body)
    assert (status, problem["code"]) == (409, "run_already_active")
    await run_db(runs.cancel, actor=caller.desk.actor, run_id=run.id)
