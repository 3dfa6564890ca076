"""What a socket allows, and how it ends."""

from __future__ import annotations

import asyncio
import socket
from uuid import UUID

import pytest

from accounts.services import sessions
from agents.models import Run as RunRow
from agents.services import runs
from agents.streams import limits
from ideplatform.kit import redis
from ideplatform.kit.db import run_db
from ideplatform.observability import metrics
from tests.agents.builders import a_desk, a_run
from tests.agents.clients import an_access_token, bearer, dialled
from tests.waiting import eventually_async

pytestmark = pytest.mark.usefixtures("inline")
LONG = "[[sim:tokens=1000 delay=20]]"


@pytest.fixture
def desk(inline):
    return a_desk()


@pytest.fixture
def token(desk):
    return an_access_token(desk.user)


async def state_of(run_id):
    return (await run_db(RunRow.objects.get, pk=run_id)).state


async def test_a_revoked_session_ends_its_sockets_within_a_second(live_web, desk, token):
    async with dialled(live_web.ws_url, **bearer(token)) as client:
        await client.send(type="start", workspace_id=str(desk.workspace.pk), prompt=LONG)
        run_id = (await client.next("started"))["run_id"]
        await client.next("delta")
        loop = asyncio.get_running_loop()
        began = loop.time()
        await run_db(sessions.revoke_all, user_id=desk.user.pk, reason="logout")
        assert (await client.next("error"))["problem"]["status"] == 401
        assert await client.closed() == 4401
        assert loop.time() - began < 1.5
    assert await state_of(run_id) == "running"
    await run_db(runs.cancel, actor=desk.actor, run_id=UUID(run_id))


async def test_a_vanished_client_costs_the_run_nothing(live_web, desk, token):
    async with dialled(live_web.ws_url, **bearer(token)) as client:
        prompt = "[[sim:tokens=30 delay=10]]"
        await client.send(type="start", workspace_id=str(desk.workspace.pk), prompt=prompt)
        run_id = (await client.next("started"))["run_id"]
        await client.next("delta")
        client.socket.transport.abort()

    async def is_over():
        return await state_of(run_id) == "completed"

    await eventually_async(is_over, within_s=10)

    async def has_left():
        return metrics.sockets_open.labels(kind="agents")._value.get() == 0

    await eventually_async(has_left)


async def test_a_client_that_does_not_read_costs_bounded_memory(live_web, desk, token, settings):
    """Its frames are dropped, told of as `lagging`, and come again from the journal."""
    settings.ENV = settings.ENV.model_copy(update={"ws_queue_max_bytes": 65_536})
    words = 39_000
    async with dialled(
        live_web.ws_url, max_queue=1, sock=a_narrow_socket(live_web), **bearer(token)
    ) as client:
        await client.send(type="start", workspace_id=str(desk.workspace.pk), prompt="word " * words)
        run_id = (await client.next("started"))["run_id"]

        async def is_over():
            return await state_of(run_id) == "completed"

        await eventually_async(is_over, within_s=30)
        frames = await client.until("complete")
    assert "lagging" in {f["type"] for f in frames}
    ends = [0, *(f["seq"] for f in frames if "seq" in f)]
    begins = [f.get("first_seq", f["seq"]) for f in frames if "seq" in f]
    assert begins == [seq + 1 for seq in ends[:-1]]
    text = "".join(f["content"] for f in frames if f["type"] == "delta")
    assert text.count("word") == words


def a_narrow_socket(web):
    """A connection whose receiver takes 4 KiB at a time."""
    narrow = socket.socket()
    narrow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    host, _, port = web.url.removeprefix("http://").partition(":")
    narrow.connect((host, int(port)))
    narrow.setblocking(False)
    return narrow


async def test_a_flood_is_answered_and_not_obeyed(live_web, token):
    async with dialled(live_web.ws_url, **bearer(token)) as client:
        for _ in range(limits.BURST + 60):
            await client.send(type="ping")
        answers = [await client.next() for _ in range(limits.BURST + 60)]
    kinds = [answer["type"] for answer in answers]
    assert kinds.count("pong") >= limits.BURST
    refusals = [answer for answer in answers if answer["type"] == "error"]
    assert {refusal["problem"]["code"] for refusal in refusals} == {"too_many_requests"}


async def test_a_user_has_twenty_sockets(live_web, desk, token, committed_db):
    key = f"sockets:{desk.user.pk}"
    for number in range(limits.SOCKETS_PER_USER):
        redis.client("cache").zadd(key, {f"other-{number}": 2**40})
    async with dialled(live_web.ws_url, **bearer(token)) as client:
        assert (await client.next())["problem"]["code"] == "too_many_sockets"
        assert await client.closed() == 4429
    redis.client("cache").zrem(key, "other-0")
    async with dialled(live_web.ws_url, **bearer(token)) as client:
        await client.send(type="ping")
        assert (await client.next())["type"] == "pong"


async def test_five_strangers_per_address(live_web, token):
    sockets = [dialled(live_web.ws_url) for _ in range(limits.UNAUTHENTICATED_PER_IP)]
    clients = [await opened.__aenter__() for opened in sockets]
    async with dialled(live_web.ws_url) as sixth:
        assert (await sixth.next())["problem"]["code"] == "too_many_sockets"
    await clients[0].send(type="auth", token=token)
    assert (await clients[0].next())["type"] == "welcome"
    async with dialled(live_web.ws_url) as another:
        await another.send(type="auth", token=token)
        assert (await another.next())["type"] == "welcome"
    for opened in sockets:
        await opened.__aexit__(None, None, None)


async def test_what_is_no_longer_followed_is_no_longer_sent(live_web, desk, token):
    run = await run_db(a_run, desk, prompt=LONG)
    async with dialled(live_web.ws_url, **bearer(token)) as client:
        await client.send(type="subscribe", run_id=str(run.id))
        await client.next("delta")
        await client.send(type="unsubscribe", run_id=str(run.id))
        await client.send(type="ping", nonce="left")
        await client.until("pong")
        await run_db(runs.cancel, actor=desk.actor, run_id=run.id)
        await client.send(type="ping", nonce="quiet")
        assert await client.next() == {"type": "pong", "nonce": "quiet"}
