"""A call that was answered whole and whose runner died: settled by its count, not asked again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from decimal import Decimal

import msgspec
import pytest
from django.db.models import QuerySet

from billing.errors import HoldEnded
from billing.models import Hold
from billing.services import holds, verification
from billing.types import TokenCount, UnitClass
from ideplatform.kit import failpoints, ids
from ideplatform.kit.db import run_db
from ideplatform.kit.failpoints import FailpointRaised
from providers.services import calls, gateway, settling
from providers.types import Answered, Call, Chunk, Usage
from tests.providers.builders import a_call, a_provider, events_of

INPUT, OUTPUT = Decimal("0.000001"), Decimal("0.000002")


@pytest.fixture
async def call(paid_door):
    """A call of the simulator's echo; when a test is over no money is unaccounted for."""
    await run_db(a_provider, "openai_compatible")
    yield await run_db(a_call, "hello there")
    assert await settling.finished(within_s=10)
    assert await run_db(verification.breaches) == []


async def _heard(call: Call) -> Answered:
    """What a runner had noted when it died before it settled."""
    with failpoints.armed("before_settle:raise"):
        async with aclosing(gateway.stream(call)) as chunks:
            answered = [chunk async for chunk in _until_fault(chunks)][-1]
    assert isinstance(answered, Answered)
    return answered


async def _until_fault(chunks: AsyncIterator[Chunk]) -> AsyncIterator[Chunk]:
    try:
        async for chunk in chunks:
            yield chunk
    except FailpointRaised:
        return
    pytest.fail("the failpoint was not reached")


def _hold_of(call: Call) -> QuerySet[Hold]:
    return Hold.objects.filter(request_id=call.request_id)


def _finish(call: Call, answered: Answered) -> Usage:
    return calls.finish(request_id=call.request_id, answered=answered)


async def test_it_is_settled_by_what_the_vendor_counted(call, paid_door):
    answered = await _heard(call)
    assert not await run_db(events_of, call)
    usage = await run_db(_finish, call, answered)
    (row,), (event,) = paid_door.ledger(), await run_db(events_of, call)
    used = (row["tokens"]["input"], row["tokens"]["output"])
    assert (event.tokens_input, event.tokens_output) == used
    assert (event.accuracy, event.outcome, event.status) == ("exact", "ok", 200)
    assert event.estimated_cost == used[0] * INPUT + used[1] * OUTPUT
    assert (usage.usage_event_id, usage.cost_usd) == (event.pk, f"{event.estimated_cost:f}")
    assert await run_db(lambda: _hold_of(call).get().state) == "settled"


async def test_a_second_finish_changes_nothing(call):
    answered = await _heard(call)
    first = await run_db(_finish, call, answered)
    assert await run_db(_finish, call, answered) == first
    assert len(await run_db(events_of, call)) == 1


async def test_what_the_runner_had_settled_stands(call):
    async with aclosing(gateway.stream(call)) as chunks:
        seen = [chunk async for chunk in chunks]
    (answered,) = [chunk for chunk in seen if isinstance(chunk, Answered)]
    (used,) = [chunk for chunk in seen if isinstance(chunk, Usage)]
    assert seen.index(answered) == seen.index(used) - 1
    more = msgspec.structs.replace(answered, tokens=TokenCount({UnitClass.INPUT: 9_999}))
    assert await run_db(_finish, call, more) == used
    assert len(await run_db(events_of, call)) == 1


async def test_what_the_sweep_had_estimated_stands(call):
    answered = await _heard(call)
    await run_db(lambda: _hold_of(call).update(expires_at="2020-01-01T00:00Z"))
    assert await run_db(holds.sweep) == 1
    (swept,) = await run_db(events_of, call)
    usage = await run_db(_finish, call, answered)
    assert (swept.accuracy, usage.usage_event_id) == ("estimated", swept.pk)
    assert (usage.is_estimated, answered.is_estimated) == (True, False)
    assert len(await run_db(events_of, call)) == 1


async def test_what_was_settled_stands_when_its_hold_is_forgotten(call):
    answered = await _heard(call)
    first = await run_db(_finish, call, answered)
    await run_db(lambda: _hold_of(call).delete())
    assert await run_db(_finish, call, answered) == first


async def test_a_call_that_never_left_is_not_invented(call):
    answered = await _heard(call)
    stranger = msgspec.structs.replace(call, request_id=ids.new())
    with pytest.raises(HoldEnded):
        await run_db(_finish, stranger, answered)
    assert not await run_db(events_of, stranger)
    await run_db(_finish, call, answered)


async def test_a_consumer_that_goes_once_all_is_said_is_billed_exactly(call, paid_door):
    async with aclosing(gateway.stream(call)) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, Answered):
                break
    assert await settling.finished(within_s=10)
    (row,), (event,) = paid_door.ledger(), await run_db(events_of, call)
    assert (event.tokens_input, event.tokens_output) == (
        row["tokens"]["input"],
        row["tokens"]["output"],
    )
    assert (event.accuracy, event.outcome) == ("exact", "ok")
