"""Responses that clients come back to: on real PostgreSQL and Redis, across processes."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models.functions import Now

from ideplatform.kit import ids
from ideplatform.kit.db import run_db
from ideplatform.kit.errors import InvalidInput, NotFound
from providers import tasks
from providers.errors import CallRepeated, PreviousResponseMissing, PreviousResponseRunning
from providers.gateway import responses_routes
from providers.gateway.dialects import responses
from providers.gateway.dialects.contract import Asked, Opening
from providers.gateway.responses_routes import Recorder
from providers.models import ResponseEvent, StoredResponse
from providers.services import response_bell, response_following, response_log
from providers.types import CallContext, Chunk, Started, Stop, StopReason, Text
from tests import databases
from tests.factories import a_user
from tests.providers.builders import a_context
from tests.providers.gateway.dialects.vendors import a_usage, events
from tests.waiting import eventually_async

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def database(django_db_setup: None, django_db_blocker) -> Iterator[str]:
    with django_db_blocker.unblock(), databases.clone() as name:
        yield name


@pytest.fixture(autouse=True)
async def _own_bell(database: str, django_db_blocker) -> AsyncIterator[None]:
    with django_db_blocker.unblock():
        yield
        await response_bell.here().close()


@dataclass
class Exchange:
    """An answer under way: what its client was sent, how often it was told to stop."""

    name: str
    context: CallContext
    recorder: Recorder
    writer: Any
    sent: list[bytes] = field(default_factory=list)
    stops: int = 0

    @property
    def id(self) -> UUID:
        return ids.parse(self.name, prefix="resp")

    def say(self, *chunks: Chunk) -> None:
        for chunk in chunks:
            self.sent.append(self.recorder.record(self.writer.chunk(chunk)))

    async def end(self, reason: StopReason = StopReason.END) -> None:
        last = self.recorder.record(self.writer.end(a_usage(input=3), Stop(reason=reason)))
        await self.recorder.flush()
        self.sent.append(last)
        await self.recorder.close()

    @property
    def told(self) -> list[bytes]:
        """The events one by one."""
        return [block + b"\n\n" for block in b"".join(self.sent).split(b"\n\n")[:-1]]

    def followed(self, after: int = -1) -> asyncio.Task[list[bytes]]:
        async def read() -> list[bytes]:
            stream = await responses_routes.resume(self.context, self.name, after)
            return [event async for event in stream]

        return asyncio.create_task(read())


def read(context: CallContext, **members: Any) -> Asked:
    body = json.dumps({"model": "m", "input": "hi", "stream": True} | members).encode()
    return responses.read(body, headers={}, request_id=ids.new(), context=context)


async def begun(context: CallContext | None = None, **members: Any) -> Exchange:
    """A response that is being answered."""
    owner: CallContext = await run_db(a_context) if context is None else context
    asked = read(owner, **members)
    name = ids.public("resp", asked.call.request_id)
    prepared = await responses_routes.prepare(asked)
    opening = Opening(answer_id=name, model="m", created_s=1_700_000_000, asked=prepared.asked)
    stops: list[Exchange] = []

    def stop() -> None:
        stops[0].stops += 1

    recorder = await responses_routes.record(prepared, opening, on_stop=stop)
    exchange = Exchange(name, owner, recorder, responses.writer(opening))
    stops.append(exchange)
    exchange.sent.append(recorder.record(exchange.writer.start(Started(model="m"))))
    return exchange


async def answered(context: CallContext, text: str = "hello", **members: Any) -> Exchange:
    exchange = await begun(context, **members)
    exchange.say(Text(index=0, text=text))
    await exchange.end()
    return exchange


async def seen(exchange: Exchange) -> dict[str, Any]:
    body = await responses_routes.retrieve(exchange.context, exchange.name)
    return dict(json.loads(body))


def words(*texts: str) -> list[Chunk]:
    return [Text(index=0, text=text) for text in texts]


async def test_an_answer_is_kept_as_it_was_sent():
    exchange = await begun()
    assert (await seen(exchange))["status"] == "in_progress"
    exchange.say(*words("a", "b", "c"))
    await exchange.end()
    rows = await run_db(lambda: list(ResponseEvent.objects.filter(response_id=exchange.id)
                                     .order_by("sequence_number")))  # fmt: skip
    assert [row.sequence_number for row in rows] == list(range(len(exchange.told)))
    assert [bytes(row.data) for row in rows] == exchange.told
    told = await seen(exchange)
    assert (told["id"], told["status"]) == (exchange.name, "completed")
    assert told == events(exchange.told[-1])[0][1]["response"]
    assert json.loads(exchange.recorder.answer) == told


async def test_events_are_stored_within_250_ms_and_the_last_before_it_is_seen():
    exchange = await begun()
    exchange.say(*words("a"))
    count = len(exchange.told)

    async def stored() -> bool:
        return await run_db(ResponseEvent.objects.filter(response_id=exchange.id).count) == count

    await eventually_async(stored, within_s=0.25)
    last = exchange.recorder.record(
        exchange.writer.end(a_usage(input=1), Stop(reason=StopReason.END))
    )
    live = exchange.followed()
    assert last
    assert not live.done()
    await exchange.recorder.flush()
    row = await run_db(StoredResponse.objects.get, pk=exchange.id)
    assert (row.state, row.last_sequence) == ("completed", len(await live) - 1)
    await exchange.recorder.close()


async def test_two_followers_from_any_cursor_get_exactly_the_events():
    exchange = await begun()
    first, second = exchange.followed(), exchange.followed(after=3)
    for number in range(40):
        exchange.say(*words(f"w{number} "))
        await asyncio.sleep(0)
    late = exchange.followed(after=17)
    await exchange.recorder.flush()
    exchange.say(*words(*(f"x{number} " for number in range(40))))
    await exchange.end()
    assert await first == exchange.told
    assert await second == exchange.told[4:]
    assert await late == exchange.told[18:]
    assert await exchange.followed() == exchange.told
    assert await exchange.followed(after=len(exchange.told) - 1) == []
    assert await exchange.followed(after=10_000) == []


async def test_another_process_follows_by_the_database_and_the_bell(database: str):
    """Another event loop knows nothing of the answer in this one, like another process."""
    exchange = await begun()
    found: list[bytes] = []

    async def follow() -> None:
        stream = response_following.follow(exchange.id, starting_after=1)
        found.extend([event async for event in stream])
        await response_bell.here().close()

    other = threading.Thread(target=lambda: asyncio.run(follow()))
    other.start()
    for number in range(20):
        exchange.say(*words(f"w{number} "))
        await exchange.recorder.flush()
    await exchange.end()
    await asyncio.to_thread(other.join, 10)
    assert found == exchange.told[2:]


async def test_more_events_than_one_page_are_all_followed():
    exchange = await begun()
    exchange.say(*words(*(str(number) for number in range(response_log.CHUNK_ROWS + 100))))
    await exchange.end()
    assert await exchange.followed() == exchange.told


async def test_a_vendors_own_stream_is_kept_under_our_id_and_numbers():
    exchange = await begun()
    count = len(exchange.told)
    answer = {"id": "resp_vendor", "status": "completed", "store": False, "output": [
        {"type": "message", "id": "msg_vendor"}]}  # fmt: skip
    parts = [
        {"type": "response.output_text.delta", "delta": "\u00e9\n", "sequence_number": count},
        {"type": "response.output_text.delta", "delta": "b", "sequence_number": 77},
        {"type": "response.completed", "sequence_number": 78, "response": answer},
    ]
    stream = b": comment\r\n\r\n" + b"".join(
        f"event: {part['type']}\r\ndata: {json.dumps(part)}\r\n\r\n".encode() for part in parts
    )
    sent = exchange.recorder.record(stream)
    await exchange.recorder.close()
    blocks = [block + b"\n\n" for block in sent.split(b"\n\n")[:-1]]
    assert blocks[0] == b": comment\n\n"
    told = [json.loads(block.split(b"data: ")[1]) for block in blocks[1:]]
    assert [data["sequence_number"] for data in told] == [count, count + 1, count + 2]
    assert [data.get("delta") for data in told] == ["\u00e9\n", "b", None]
    last = told[-1]["response"]
    assert (last["id"], last["store"], last["background"]) == (exchange.name, True, False)
    assert await exchange.followed(after=count - 1) == blocks[1:]
    assert (await seen(exchange))["output"] == [{"type": "message", "id": "msg_vendor"}]


@pytest.mark.parametrize("gap", [-1, 0, 5])
async def test_an_answer_whose_process_was_killed_fails_and_says_so(database: str, gap: int):
    context = await run_db(a_context)
    name = ids.public("resp", ids.new())
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "tests.providers.gateway.response_writer", database),
        *(str(context.user_id), str(context.organization_id), name),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"stored\n"
    process.kill()
    assert await process.wait() == -signal.SIGKILL
    rows = StoredResponse.objects.filter(pk=ids.parse(name, prefix="resp"))
    stored = (await run_db(rows.get)).last_sequence
    assert stored == 6  # created, in_progress, two that begin the message, three words
    following = asyncio.create_task(_gathered(context, name, stored + gap))
    assert (await run_db(rows.get)).state == "in_progress"
    await run_db(rows.update, lease_until=Now() - timedelta(seconds=1))
    last = [json.loads(event.split(b"data: ")[1]) for event in await following][-1]
    assert last["type"] == "response.failed"
    assert last["sequence_number"] == stored + gap + (2 if gap < 0 else 1)
    assert last["response"]["error"]["code"] == "server_error"
    told = json.loads(await responses_routes.retrieve(context, name))
    assert (told["status"], told["id"]) == ("failed", name)
    whole = await _gathered(context, name, -1)
    numbers = [json.loads(event.split(b"data: ")[1])["sequence_number"] for event in whole]
    assert numbers == list(range(stored + 2))


async def _gathered(context: CallContext, name: str, after: int) -> list[bytes]:
    stream = await responses_routes.resume(context, name, after)
    return [event async for event in stream]


async def test_the_sweep_ends_only_what_nobody_renews_and_its_writer_writes_no_more():
    lost, alive = await begun(), await begun()
    lost.say(*words("a"))
    await lost.recorder.flush()
    rows = StoredResponse.objects.filter(pk=lost.id)
    await run_db(rows.update, lease_until=Now() - timedelta(seconds=1))
    await run_db(tasks.end_abandoned_responses)
    count = len(lost.told)
    lost.say(*words("late"))
    await lost.recorder.flush()
    assert (lost.stops, lost.recorder.is_kept) == (1, False)
    assert await run_db(ResponseEvent.objects.filter(response_id=lost.id).count) == count + 1
    await lost.end()
    assert (await seen(lost))["status"] == "failed"
    assert (await seen(alive))["status"] == "in_progress"
    await alive.end()
    assert (await seen(alive))["status"] == "completed"


async def test_a_cancelled_answer_ends_with_what_there_was():
    exchange = await begun(background=True)
    exchange.say(*words("par"))
    live = exchange.followed()
    cancelling = asyncio.create_task(responses_routes.cancel(exchange.context, exchange.name))

    async def stopped() -> bool:
        return exchange.stops == 1

    await eventually_async(stopped)
    await exchange.end(StopReason.CANCELLED)
    told = json.loads(await cancelling)
    assert (told["status"], told["background"]) == ("cancelled", True)
    assert told["output"][0]["content"][0]["text"] == "par"
    assert await live == exchange.told
    again = json.loads(await responses_routes.cancel(exchange.context, exchange.name))
    assert again == told
    assert exchange.stops == 1


async def test_a_background_answer_is_queued_until_something_is_said():
    context = await run_db(a_context)
    asked = read(context, background=True)
    name = ids.public("resp", asked.call.request_id)
    prepared = await responses_routes.prepare(asked)
    opening = Opening(answer_id=name, model="m", created_s=1, asked=asked)
    recorder = await responses_routes.record(prepared, opening, on_stop=lambda: None)
    opened = json.loads(recorder.opened)
    assert (opened["status"], opened["id"], opened["background"]) == ("queued", name, True)
    assert json.loads(await responses_routes.retrieve(context, name))["status"] == "queued"
    with pytest.raises(CallRepeated):
        await responses_routes.record(prepared, opening, on_stop=lambda: None)
    recorder.record(responses.writer(opening).start(Started(model="m")))
    await recorder.flush()
    assert json.loads(await responses_routes.retrieve(context, name))["status"] == "in_progress"
    await recorder.close()


async def test_a_deleted_response_is_gone_with_its_events_and_its_writer_stops():
    exchange = await begun()
    exchange.say(*words("a"))
    await exchange.recorder.flush()
    live = response_following.follow(exchange.id)
    assert [await anext(live) for _ in range(2)] == exchange.told[:2]
    body = await responses_routes.delete(exchange.context, exchange.name)
    assert json.loads(body) == {"id": exchange.name, "object": "response", "deleted": True}
    assert exchange.stops == 1
    await exchange.end(StopReason.CANCELLED)
    assert [event async for event in live] == exchange.told[2:5]
    assert not await run_db(ResponseEvent.objects.filter(response_id=exchange.id).exists)
    with pytest.raises(NotFound):
        await seen(exchange)


async def test_nobody_else_reaches_a_response():
    owner = await run_db(a_context)
    exchange = await answered(owner)
    colleague = await run_db(a_user)
    strangers = [
        await run_db(a_context),
        CallContext(user_id=colleague.pk, organization_id=owner.organization_id),
        CallContext(user_id=owner.user_id, organization_id=ids.new()),
    ]
    doors = (responses_routes.retrieve, responses_routes.resume, responses_routes.cancel,
             responses_routes.delete, responses_routes.input_items)  # fmt: skip
    for stranger in strangers:
        for door in doors:
            with pytest.raises(NotFound):
                await door(stranger, exchange.name)
        with pytest.raises(PreviousResponseMissing):
            await begun(stranger, previous_response_id=exchange.name)
    for name in ("resp_unknown", "", "resp_" + "0" * 26, "../etc"):
        with pytest.raises(NotFound):
            await responses_routes.retrieve(owner, name)
    assert (await seen(exchange))["status"] == "completed"
    row = await run_db(StoredResponse.objects.get, pk=exchange.id)
    assert row.cancel_requested_at is None


async def test_a_conversation_is_continued_by_its_last_id():
    context = await run_db(a_context)
    first = await answered(context, "one", input="first")
    second = await answered(context, "two", input="second", previous_response_id=first.name)
    third = read(context, input="third", previous_response_id=second.name)
    prepared: Any = await responses_routes.prepare(third)
    said = [(message.role, message.parts[0].text) for message in prepared.asked.call.messages]
    assert said == [
        ("user", "first"),
        ("assistant", "one"),
        ("user", "second"),
        ("assistant", "two"),
        ("user", "third"),
    ]
    assert prepared.chain == (first.id, second.id)
    page = json.loads(await responses_routes.input_items(context, second.name, order="asc"))
    texts = [item["content"][0]["text"] for item in page["data"]]
    assert (texts, page["has_more"]) == (["first", "one", "second"], False)
    newest = json.loads(await responses_routes.input_items(context, second.name, limit=2))
    assert [item["content"][0]["text"] for item in newest["data"]] == ["second", "one"]
    assert newest["has_more"]
    rest = await responses_routes.input_items(context, second.name, after=newest["last_id"])
    assert [item["content"][0]["text"] for item in json.loads(rest)["data"]] == ["first"]


async def test_a_broken_conversation_is_not_continued_as_if_whole():
    context = await run_db(a_context)
    first = await answered(context)
    second = await answered(context, previous_response_id=first.name)
    await responses_routes.delete(context, first.name)
    with pytest.raises(PreviousResponseMissing):
        await begun(context, previous_response_id=second.name)
    with pytest.raises(PreviousResponseMissing):
        await begun(context, previous_response_id="resp_nonsense")
    running = await begun(context)
    with pytest.raises(PreviousResponseRunning):
        await begun(context, previous_response_id=running.name)
    await running.end()
    assert await run_db(StoredResponse.objects.filter(user_id=context.user_id).count) == 2


async def test_items_of_earlier_answers_can_be_referred_to():
    context = await run_db(a_context)
    first = await answered(context, "one")
    item_id = (await seen(first))["output"][0]["id"]
    reference = {"type": "item_reference", "id": item_id}
    prepared: Any = await responses_routes.prepare(read(context, input=[reference]))
    (message,) = prepared.asked.call.messages
    assert (message.role, message.parts[0].text) == ("assistant", "one")
    stranger = await run_db(a_context)
    for who, name in ((stranger, item_id), (context, "msg_unknown")):
        with pytest.raises(InvalidInput):
            await responses_routes.prepare(
                read(who, input=[{"type": "item_reference", "id": name}])
            )


async def test_what_is_old_is_forgotten_unless_it_is_continued():
    context = await run_db(a_context)
    old, continued = await answered(context), await answered(context)
    running = await begun(context)
    rows = StoredResponse.objects.filter(user_id=context.user_id)
    await run_db(rows.update, expires_at=Now() + timedelta(hours=1))
    last = await answered(context, previous_response_id=continued.name)
    await run_db(rows.update, expires_at=_earlier())
    with pytest.raises(NotFound):
        await seen(old)
    await run_db(tasks.forget_expired_responses)
    left = await run_db(lambda: set(rows.values_list("pk", flat=True)))
    assert left == {continued.id, last.id, running.id}
    assert not await run_db(ResponseEvent.objects.filter(response_id=old.id).exists)
    await running.end()


def _earlier() -> Any:
    from django.db.models import F

    return F("expires_at") - timedelta(hours=2)


async def test_a_person_who_leaves_leaves_no_responses():
    mine, others = await answered(await run_db(a_context)), await answered(await run_db(a_context))
    payload = {"user_id": str(mine.context.user_id)}
    await run_db(tasks.forget_responses_of_user, payload)
    with pytest.raises(NotFound):
        await seen(mine)
    assert (await seen(others))["status"] == "completed"


async def test_the_database_keeps_what_was_said():
    exchange = await answered(await run_db(a_context))

    def change(statement: str) -> None:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(statement, [exchange.id])

    for statement in (
        "UPDATE response_events SET data = '' WHERE response_id = %s",
        "DELETE FROM response_events WHERE response_id = %s",
        "UPDATE stored_responses SET state = 'failed' WHERE id = %s",
        "UPDATE stored_responses SET last_sequence = 0 WHERE id = %s",
        "UPDATE stored_responses SET ended_at = NULL WHERE id = %s",
    ):
        with pytest.raises(IntegrityError):
            await run_db(change, statement)
    assert await exchange.followed() == exchange.told
