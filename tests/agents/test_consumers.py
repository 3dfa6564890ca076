"""The agent socket as clients meet it, over a real server."""

from __future__ import annotations

import asyncio
import json
from decimal import Decimal

import pytest
import websockets

from accounts.services import tickets
from agents.models import Run as RunRow
from agents.services import conversations, runs
from agents.types import ConversationVisibility
from billing.models import LedgerAccount, UsageEvent
from ideplatform.kit import ids
from ideplatform.kit.db import run_db
from tests.agents.builders import a_desk, a_run
from tests.agents.clients import PATH, an_access_token, bearer, dialled
from tests.factories import a_user, join_workspace
from tests.waiting import eventually_async
from workspaces.models import WorkspaceMembership
from workspaces.services import members
from workspaces.types import WorkspaceRole

pytestmark = pytest.mark.usefixtures("inline")


@pytest.fixture
def desk(inline):
    return a_desk()


@pytest.fixture
def token(desk):
    return an_access_token(desk.user)


async def test_a_start_is_answered_by_its_run_to_the_end(live_web, desk, token):
    async with dialled(live_web.ws_url, **bearer(token)) as client:
        await client.send(type="hello", client="test")
        welcome = await client.next()
        assert (welcome["type"], welcome["protocol"]) == ("welcome", "mundial.v1")
        await client.send(
            type="start", request_id="r-1", workspace_id=str(desk.workspace.pk), prompt="one two"
        )
        started = await client.next()
        assert (started["type"], started["request_id"]) == ("started", "r-1")
        frames = await client.until("complete", "error")
    assert [f["seq"] for f in frames] == list(range(1, len(frames) + 1))
    assert {f["run_id"] for f in frames} == {started["run_id"]}
    assert "".join(f["content"] for f in frames if f["type"] == "delta") == "Echo: one two"
    kinds = [f["type"] for f in frames]
    assert kinds[:3] == ["run", "run", "plan"]
    assert kinds[-3:] == ["usage", "step", "complete"]
    assert frames[-1]["metadata"]["outcome"] == "completed"
    held = await run_db(_held)
    assert Decimal(frames[-1]["metadata"]["balance_after"]) == held


def _held() -> Decimal:
    """What the wallets of whoever paid hold."""
    payer = UsageEvent.objects.values_list("customer", flat=True).get()
    wallets = LedgerAccount.objects.filter(customer=payer)
    return sum(wallets.values_list("posted", flat=True), Decimal(0))


async def test_the_founding_client_gets_deltas_one_end_and_a_normal_close(live_web, desk, token):
    request = {"messages": [{"role": "user", "content": "seed words"}], "token": token}
    async with websockets.connect(live_web.ws_url + PATH) as socket:
        await socket.send(json.dumps(request))
        frames = [json.loads(data) async for data in socket]
        assert socket.close_code == 1000
    assert {f["type"] for f in frames} == {"delta", "complete"}
    assert "".join(f["content"] for f in frames[:-1]) == "Echo: seed words"
    assert frames[0]["metadata"]["model"] == "sim-echo"
    assert set(frames[-1]["metadata"]) >= {"total_tokens", "cost", "balance_after"}


async def test_the_founding_client_is_told_a_failure_without_its_cause(live_web, desk, token):
    request = {
        "messages": [{"role": "user", "content": "[[sim:status=500]]"}],
        "token": token,
        "workspace_id": str(desk.workspace.pk),
        "model": "no-such-model",
    }
    async with websockets.connect(live_web.ws_url + PATH) as socket:
        await socket.send(json.dumps(request))
        frames = [json.loads(data) async for data in socket]
        assert socket.close_code == 1000
    assert [f["type"] for f in frames] == ["error"]
    assert frames[0]["error"] == frames[0]["problem"]["title"]
    assert frames[0]["problem"]["code"] == "model_not_found"


@pytest.mark.parametrize("form", ["header", "subprotocol", "ticket", "ticket_query", "first"])
async def test_every_form_of_credential_opens_the_socket(live_web, desk, token, form):
    def a_ticket() -> str:
        from accounts.services import authentication

        actor = authentication.authenticate({"authorization": f"Bearer {token}"}, ip="")
        return tickets.create(actor=actor, path=PATH)[0].reveal()

    ticket = await run_db(a_ticket)
    options = {
        "header": bearer(token),
        "subprotocol": {"subprotocols": ["mundial.v1", f"bearer.{token}"]},
        "ticket": {"subprotocols": ["mundial.v1", f"ticket.{ticket}"]},
        "ticket_query": {"query": f"?ticket={ticket}"},
        "first": {},
    }[form]
    async with dialled(live_web.ws_url, **options) as client:
        if form == "first":
            await client.send(type="auth", token=token)
            assert (await client.next())["type"] == "welcome"
        await client.send(type="ping", nonce="n")
        assert await client.next() == {"type": "pong", "nonce": "n"}


async def test_a_token_in_the_url_is_refused(live_web, token):
    async with dialled(live_web.ws_url, query=f"?token={token}") as client:
        assert (await client.next())["problem"]["status"] == 401
        assert await client.closed() == 4401


async def test_who_says_nothing_is_told_and_closed(live_web):
    async with dialled(live_web.ws_url) as client:
        frame = await asyncio.wait_for(client.next(), 8)
        assert frame["problem"]["code"] == "unauthenticated"
        assert await client.closed() == 4401


async def test_nonsense_is_answered_and_the_third_in_a_row_closes(live_web, token):
    async with dialled(live_web.ws_url, **bearer(token)) as client:
        for text in ("{", "[" * 40 + "]" * 40):
            await client.socket.send(text)
            assert (await client.next())["problem"]["code"] == "malformed_frame"
        await client.send(type="ping")
        assert (await client.next())["type"] == "pong"
        for _ in range(2):
            await client.send(type="nothing")
            assert (await client.next())["problem"]["code"] == "malformed_frame"
        await client.socket.send(json.dumps({"type": "ping", "nonce": "x" * 300_000}))
        assert (await client.next())["problem"]["code"] == "malformed_frame"
        assert await client.closed() == 4400


async def test_the_same_request_is_the_same_run_and_another_body_is_refused(live_web, desk, token):
    ask = {"type": "start", "request_id": "k", "workspace_id": str(desk.workspace.pk)}
    async with dialled(live_web.ws_url, **bearer(token)) as client:
        await client.send(**ask, prompt="once")
        first = await client.next("started")
        await client.until("complete")
        await client.send(**ask, prompt="once")
        again = await client.next("started")
        assert again["run_id"] == first["run_id"]
        replay = await client.until("complete")
        assert [f["seq"] for f in replay] == list(range(1, len(replay) + 1))
        await client.send(**ask, prompt="other")
        assert (await client.next())["problem"]["code"] == "idempotency_key_reused"
    assert await run_db(RunRow.objects.count) == 1


async def test_a_resumed_socket_gets_the_rest_once_and_in_order(live_web, desk, token):
    prompt = "[[sim:tokens=60 delay=15]]"
    async with dialled(live_web.ws_url, **bearer(token)) as client:
        await client.send(type="start", workspace_id=str(desk.workspace.pk), prompt=prompt)
        run_id = (await client.next("started"))["run_id"]
        seen = await client.until("delta")
    async with dialled(live_web.ws_url, **bearer(token)) as client:
        await client.send(type="subscribe", run_id=run_id, after=seen[-1]["seq"])
        rest = await client.until("complete")
    numbers = [f["seq"] for f in seen + rest]
    assert numbers == list(range(1, len(numbers) + 1))


async def test_cancel_ends_a_stream_within_a_second(live_web, desk, token, inline):
    prompt = "[[sim:tokens=1000 delay=20]]"
    async with dialled(live_web.ws_url, **bearer(token)) as client:
        await client.send(type="start", workspace_id=str(desk.workspace.pk), prompt=prompt)
        run_id = (await client.next("started"))["run_id"]
        await client.next("delta")
        loop = asyncio.get_running_loop()
        began = loop.time()
        await client.send(type="cancel", run_id=run_id)
        end = await client.next("complete", "error")
        assert loop.time() - began < 1
    assert end["metadata"]["outcome"] == "cancelled"
    row = await run_db(RunRow.objects.get, pk=run_id)
    assert row.state == "cancelled"
    await eventually_async(lambda: _outcome(inline, "client_gone"))
    (event,) = await run_db(lambda: list(UsageEvent.objects.all()))
    assert (event.outcome, event.accuracy) == ("client_cancelled", "estimated")
    assert end["metadata"]["total_tokens"] == event.tokens_input + event.tokens_output
    assert row.spent["cost_usd"] == f"{event.estimated_cost:f}"


async def _outcome(simulator, outcome):
    return [call["outcome"] for call in simulator.ledger()] == [outcome]


@pytest.mark.parametrize("frame", ["start", "subscribe", "cancel"])
async def test_a_foreign_id_is_not_found(live_web, token, frame):
    foreign = await run_db(a_run)
    sent = {
        "start": {"type": "start", "workspace_id": str(foreign.workspace_id), "prompt": "x"},
        "subscribe": {"type": "subscribe", "run_id": str(foreign.id)},
        "cancel": {"type": "cancel", "run_id": str(foreign.id)},
    }[frame]
    unknown = {key: str(ids.new()) if key.endswith("_id") else value for key, value in sent.items()}
    async with dialled(live_web.ws_url, **bearer(token)) as client:
        await client.send(**sent)
        answer = await client.next()
        assert answer["problem"]["code"] == "not_found"
        await client.send(**unknown)
        assert await client.next() == answer
    assert await run_db(RunRow.objects.count) == 1


async def test_a_removed_member_stops_receiving_within_a_second(live_web, desk):
    reader = await run_db(a_user)
    await run_db(join_workspace, desk.workspace, reader, WorkspaceRole.VIEWER)
    token = await run_db(an_access_token, reader)
    run = await run_db(a_run, desk, prompt="[[sim:tokens=1000 delay=20]]")
    await run_db(
        conversations.share,
        actor=desk.actor,
        conversation_id=run.conversation_id,
        visibility=ConversationVisibility.WORKSPACE,
    )
    async with dialled(live_web.ws_url, **bearer(token)) as client:
        await client.send(type="subscribe", run_id=str(run.id))
        await client.next("delta")
        await run_db(
            members.remove,
            actor=desk.actor,
            workspace_id=desk.workspace.pk,
            user_id=reader.pk,
        )
        loop = asyncio.get_running_loop()
        began = loop.time()
        refusal = await client.next("error")
        assert loop.time() - began < 1
        assert refusal["problem"]["code"] == "not_found"
        assert refusal["problem"]["run_id"] == str(run.id)
        await client.send(type="ping")
        assert (await client.next())["type"] == "pong"
    assert not await run_db(WorkspaceMembership.objects.filter(user=reader).exists)
    await run_db(runs.cancel, actor=desk.actor, run_id=run.id)


async def test_a_client_that_stops_acking_is_paced_and_later_gets_everything_once(
    live_web, desk, token
):
    async with dialled(live_web.ws_url, **bearer(token)) as client:
        await client.send(type="hello", window_bytes=2_000)
        await client.next("welcome")
        prompt = "[[sim:tokens=400 delay=1]]"
        await client.send(type="start", workspace_id=str(desk.workspace.pk), prompt=prompt)
        run_id = (await client.next("started"))["run_id"]

        async def is_over() -> bool:
            return (await run_db(RunRow.objects.get, pk=run_id)).state == "completed"

        await eventually_async(is_over, within_s=15)
        await client.send(type="ping")
        frames = await client.until("pong")
        assert sum(len(json.dumps(f)) for f in frames) < 4_000
        seen = [f for f in frames if "seq" in f]
        while seen[-1]["type"] != "complete":
            acks = [{"run_id": run_id, "seq": seen[-1]["seq"]}]
            await client.send(type="ack", acks=acks)
            seen.append(await client.next())
    begins = [f.get("first_seq", f["seq"]) for f in seen if "seq" in f]
    ends = [0] + [f["seq"] for f in seen if "seq" in f]
    assert begins == [seq + 1 for seq in ends[:-1]]
