"""Agents that answer as models: a gateway call becomes a run, its journal the answer."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import aclosing
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from accounts.models import User
from accounts.services import api_keys, sessions
from accounts.types import Scope
from agents import frames, models_port, selectors
from agents.models import Conversation
from agents.models import Run as RunRow
from agents.services import calls
from agents.types import RunState
from billing.models import UsageEvent
from ideplatform.kit import errors, ids
from ideplatform.kit.db import run_db
from ideplatform.kit.errors import Forbidden, InvalidInput, NotFound, PlatformError
from providers.errors import ModelNotFound
from providers.services import agent_models
from providers.types import (
    Call,
    CallContext,
    Message,
    ModelInfo,
    Started,
    Stop,
    Text,
    TextPart,
    Tool,
    ToolCall,
    ToolCallEnd,
    ToolResult,
    ToolResultPart,
    ToolUsePart,
)
from tests.agents.builders import Desk, a_desk
from tests.agents.recorded import assistant, user
from tests.agents.recorded import told as words_of
from tests.factories import a_user, a_workspace, an_actor
from tests.providers.builders import Told, told
from tests.waiting import eventually

LOOK_UP = Tool(
    name="look_up",
    description="Looks something up on the caller's machine",
    parameters=msgspec.Raw(b'{"type":"object","properties":{"word":{"type":"string"}}}'),
)


def a_call(desk: Desk, *messages, model="agent/universal", **values) -> Call:
    context = CallContext(
        user_id=desk.user.pk,
        organization_id=desk.workspace.organization_id,
        workspace_id=desk.workspace.pk,
    )
    usual: dict[str, Any] = {"context": context, "session": "session:s-1", "deadline_s": 60}
    return Call(request_id=ids.new(), model=model, messages=messages, **usual | values)


async def answer(call: Call) -> Told:
    return await asyncio.wait_for(told(agent_models.stream(call)), 30)


async def test_an_agent_answers_as_a_model_and_is_paid_once(inline):
    desk = await run_db(a_desk)
    call = await run_db(a_call, desk, user("good morning"))
    found = await answer(call)
    assert found.error is None
    assert found.text == "Echo: good morning"
    assert found.started == Started(
        model="agent/universal", provider="agents", provider_request_id=str(call.request_id)
    )
    assert found.stop == "end"
    (event,) = await run_db(lambda: list(UsageEvent.objects.all()))
    assert found.usage.cost_usd is not None
    assert Decimal(found.usage.cost_usd) == event.estimated_cost > 0
    assert found.usage.tokens.input == event.tokens_input
    assert found.usage.tokens.output == event.tokens_output
    run = await run_db(RunRow.objects.get)
    assert (run.state, run.workspace_id) == (RunState.COMPLETED, desk.workspace.pk)
    assert event.run_id == run.pk


async def test_a_history_that_goes_on_stays_in_its_conversation(inline):
    desk = await run_db(a_desk)
    await answer(await run_db(a_call, desk, user("one")))
    history = [user("one"), assistant("Echo: one"), user("two")]
    await answer(await run_db(a_call, desk, *history))
    history += [assistant("Echo: two"), user("three")]
    await answer(await run_db(a_call, desk, *history))
    (only,) = await run_db(lambda: list(Conversation.objects.all()))
    expected = ["u:one", "a:Echo: one", "u:two", "a:Echo: two", "u:three", "a:Echo: three"]
    assert await run_db(words_of, only) == expected
    assert (only.origin, only.agent_id, only.title) == ("gateway", "universal", "one")


async def test_a_history_of_elsewhere_begins_a_conversation_with_it(inline):
    desk = await run_db(a_desk)
    system = Message(role="system", parts=(TextPart(text="Be brief."),))
    history = [system, user("one"), assistant("as another model said"), user("two")]
    found = await answer(await run_db(a_call, desk, *history))
    assert found.text == "Echo: two"
    edited = [system, user("one!"), assistant("as another model said"), user("two")]
    await answer(await run_db(a_call, desk, *edited))
    conversations = await run_db(lambda: list(Conversation.objects.order_by("created_at")))
    beginning = ["s:Be brief.", "u:one", "a:as another model said", "u:two", "a:Echo: two"]
    assert [await run_db(words_of, row) for row in conversations] == [
        beginning,
        ["s:Be brief.", "u:one!", *beginning[2:]],
    ]


async def test_what_runs_on_our_side_is_told_by_its_result(inline):
    desk = await run_db(a_desk)
    ask = user("[[sim:tool=list]] what is there?")
    found = await answer(await run_db(a_call, desk, ask, model="agent/coder"))
    assert found.error is None
    assert found.of(ToolCall) == []
    (result,) = found.of(ToolResult)
    assert result.name == "list"
    assert not result.is_error
    assert found.stop == "end"
    events = await run_db(lambda: list(UsageEvent.objects.all()))
    assert len(events) == 2
    cost = sum((event.estimated_cost for event in events), Decimal(0))
    assert Decimal(str(found.usage.cost_usd)) == cost


async def test_a_tool_of_the_caller_ends_the_answer_and_its_result_goes_on(inline):
    desk = await run_db(a_desk)
    ask = user("[[sim:tool=look_up]] what does it mean?")
    call = await run_db(a_call, desk, ask, model="agent/coder", tools=(LOOK_UP,))
    found = await answer(call)
    assert found.error is None
    assert found.stop == "tool_calls"
    ((call_id, name, arguments),) = found.calls
    assert name == "look_up"
    assert isinstance(msgspec.json.decode(arguments), dict)
    (begun,), (ended,) = found.of(ToolCall), found.of(ToolCallEnd)
    assert begun.index == ended.index
    run = await run_db(RunRow.objects.get)
    assert run.state == RunState.COMPLETED
    used = ToolUsePart(id=call_id, name=name, arguments=arguments)
    result = ToolResultPart(tool_use_id=call_id, text="a word")
    history = [
        ask,
        Message(role="assistant", parts=(used,)),
        Message(role="tool", parts=(result,)),
    ]
    again = await answer(
        await run_db(a_call, desk, *history, model="agent/coder", tools=(LOOK_UP,))
    )
    assert again.error is None
    assert again.stop == "end"
    assert again.text
    (only,) = await run_db(lambda: list(Conversation.objects.all()))
    rows = await run_db(lambda: list(selectors.messages(only.pk).order_by("no")))
    assert [row.role for row in rows] == ["user", "assistant", "tool", "assistant"]
    assert [part["type"] for part in rows[2].parts] == ["tool_result"]


async def test_a_caller_s_tool_stands_before_the_agent_s_own_of_that_name(inline):
    desk = await run_db(a_desk)
    theirs = msgspec.structs.replace(LOOK_UP, name="list")
    ask = user("[[sim:tool=list]] what is there?")
    found = await answer(await run_db(a_call, desk, ask, model="agent/coder", tools=(theirs,)))
    assert [name for _, name, _ in found.calls] == ["list"]
    assert found.of(ToolResult) == []


async def test_who_stops_reading_cancels_the_run(inline):
    desk = await run_db(a_desk)
    call = await run_db(a_call, desk, user("[[sim:tokens=2000 delay=20]]"))
    async with aclosing(agent_models.stream(call)) as chunks:
        async for chunk in chunks:
            if isinstance(chunk, Text):
                break
    await run_db(
        eventually, lambda: RunRow.objects.filter(state=RunState.CANCELLED).exists(), within_s=10
    )
    (event,) = await run_db(lambda: list(UsageEvent.objects.all()))
    assert event.outcome == "client_cancelled"


async def test_who_is_cancelled_amid_reading_cancels_the_run(inline):
    desk = await run_db(a_desk)
    call = await run_db(a_call, desk, user("[[sim:tokens=2000 delay=20]]"))
    reading = asyncio.ensure_future(told(agent_models.stream(call)))
    await run_db(eventually, lambda: RunRow.objects.filter(state=RunState.RUNNING).exists())
    reading.cancel()
    await asyncio.wait([reading])
    await run_db(
        eventually, lambda: RunRow.objects.filter(state=RunState.CANCELLED).exists(), within_s=10
    )


@pytest.mark.parametrize(
    ("directives", "code"),
    [("status=400", "provider_call_refused"), ("tokens=20 cut=5", "bad_protocol")],
)
async def test_a_run_s_failure_is_an_error_of_its_own_class(inline, directives, code):
    desk = await run_db(a_desk)
    found = await answer(await run_db(a_call, desk, user(f"[[sim:{directives}]]")))
    assert found.error is not None
    assert found.error.code == code
    assert type(found.error).code == code
    assert found.of(Stop) == []


async def test_what_cannot_be_run_is_refused_before_a_run_exists(inline):
    desk, stranger = await run_db(a_desk), await run_db(a_desk)
    elsewhere = dataclasses.replace(desk, workspace=stranger.workspace)
    refused = [
        (await run_db(a_call, desk, user("hi"), model="agent/nobody"), ModelNotFound),
        (await run_db(a_call, desk, user("hi"), assistant("let me")), InvalidInput),
        (await run_db(a_call, desk), InvalidInput),
        (await run_db(a_call, elsewhere, user("hi")), NotFound),
    ]
    for call, refusal in refused:
        found = await answer(call)
        assert isinstance(found.error, refusal)
        assert found.chunks == []
    assert not await run_db(RunRow.objects.exists)
    assert not await run_db(Conversation.objects.exists)


async def test_an_agent_that_works_already_answers_in_a_new_conversation(inline):
    desk = await run_db(a_desk)
    first = await run_db(a_call, desk, user("one"))
    await answer(first)
    history = [user("one"), assistant("Echo: one")]
    slow = await run_db(a_call, desk, *history, user("[[sim:tokens=400 delay=20]]"))
    quick = await run_db(a_call, desk, *history, user("two"))
    reading = asyncio.ensure_future(told(agent_models.stream(slow)))
    await run_db(eventually, lambda: RunRow.objects.filter(state=RunState.RUNNING).exists())
    assert (await answer(quick)).text == "Echo: two"
    reading.cancel()
    await asyncio.wait([reading])
    assert await run_db(Conversation.objects.count) == 2


def a_key(desk: Desk, *scopes: Scope, workspace_id=None):
    session = sessions.begin(user=desk.user)
    key, _ = api_keys.create(
        actor=an_actor(desk.user, session_id=session.pk),
        organization_id=desk.workspace.organization_id,
        name="suite",
        scopes=set(scopes),
        workspace_id=workspace_id,
    )
    return key


@pytest.mark.django_db
def test_agents_are_listed_for_whom_they_run():
    desk = a_desk()
    context = a_call(desk, user("hi")).context
    expected = [
        ModelInfo(id="agent/universal", display_name="Universal"),
        ModelInfo(id="agent/coder", display_name="Coder"),
    ]
    assert list(agent_models.listed(context)) == expected
    able = a_key(desk, Scope.GATEWAY_CALL, Scope.AGENTS_RUN)
    unable = a_key(desk, Scope.GATEWAY_CALL)
    with_key = msgspec.structs.replace(context, api_key_id=able.pk)
    assert list(agent_models.listed(with_key)) == expected
    without = msgspec.structs.replace(context, api_key_id=unable.pk)
    assert list(agent_models.listed(without)) == []
    User.objects.filter(pk=desk.user.pk).update(is_active=False)
    assert list(agent_models.listed(context)) == []


@pytest.mark.django_db
def test_a_key_needs_the_scope_of_agents():
    desk = a_desk()
    key = a_key(desk, Scope.GATEWAY_CALL)
    call = a_call(desk, user("hi"))
    context = msgspec.structs.replace(call.context, api_key_id=key.pk)
    for workspace_id in (desk.workspace.pk, None):
        inside = msgspec.structs.replace(context, workspace_id=workspace_id)
        with pytest.raises(Forbidden):
            calls.opened(msgspec.structs.replace(call, context=inside))
    assert not RunRow.objects.exists()


@pytest.mark.django_db
def test_without_a_workspace_the_oldest_of_the_payer_is_taken():
    person = a_user()
    a_workspace(a_user())
    oldest, _ = a_workspace(person), a_workspace(person)
    desk = Desk(user=person, workspace=oldest, actor=an_actor(person))
    call = a_call(desk, user("hi"))
    homeless = msgspec.structs.replace(call.context, workspace_id=None)
    opened = calls.opened(msgspec.structs.replace(call, context=homeless))
    assert opened.run.workspace_id == oldest.pk
    nobody = a_user()
    context = CallContext(user_id=nobody.pk, organization_id=nobody.personal_organization.pk)
    with pytest.raises(InvalidInput, match="x-mundial-workspace"):
        calls.opened(msgspec.structs.replace(call, context=context, request_id=ids.new()))


@pytest.mark.django_db
def test_the_same_request_is_the_same_run_and_its_time_and_money_are_the_call_s():
    desk = a_desk()
    call = a_call(desk, user("hi"), deadline_s=90, ceiling_usd="0.25", temperature=0.5)
    first, again = calls.opened(call), calls.opened(call)
    assert again.run.id == first.run.id
    assert (first.run.limits.active_s, first.run.limits.cost_usd) == (90, "0.25")
    assert calls.unheard(call) == ("temperature",)
    assert RunRow.objects.count() == Conversation.objects.count() == 1


def test_every_error_of_a_run_can_be_told_again():
    for kind in errors.registered():
        problem = {"title": "t", "code": kind.code, "detail": "d", "retry_after_s": 3}
        told_again = models_port._failure(frames.error(problem))
        assert isinstance(told_again, PlatformError)
        assert (told_again.code, told_again.detail, told_again.retry_after_s) == (kind.code, "d", 3)
