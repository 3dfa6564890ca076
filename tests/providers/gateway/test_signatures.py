"""Signed thoughts are remembered for the client that leaves them out, and for nobody else."""

from __future__ import annotations

from uuid import UUID

import msgspec
import pytest

from ideplatform.kit import redis
from providers.services import signatures
from providers.types import (
    Call,
    CallContext,
    Message,
    RedactedThinkingPart,
    TextPart,
    ThinkingPart,
    ToolResultPart,
    ToolUsePart,
)

HOME, ELSEWHERE = UUID(int=1), UUID(int=2)
THOUGHT = ThinkingPart(text="hm", signature="sig-1")
HIDDEN = RedactedThinkingPart(data="sealed")


def use(call_id, signature=""):
    return ToolUsePart(id=call_id, name="read", arguments="{}", signature=signature)


def asked(*parts, organization_id=HOME, last="done"):
    context = CallContext(user_id=UUID(int=3), organization_id=organization_id)
    calls = [part.id for part in parts if isinstance(part, ToolUsePart)]
    results = tuple(ToolResultPart(tool_use_id=one, text=last) for one in calls)
    messages = (
        Message(role="user", parts=(TextPart(text="look"),)),
        Message(role="assistant", parts=parts),
        Message(role="tool", parts=results),
    )
    return Call(request_id=UUID(int=9), context=context, model="m", messages=messages)


async def test_thoughts_come_back_before_the_first_call_and_signatures_with_their_own():
    answer = (THOUGHT, HIDDEN, TextPart(text="I look."), use("a", "s-a"), use("b", "s-b"))
    await signatures.remember(HOME, answer)
    found = await signatures.restored(asked(TextPart(text="I look."), use("a"), use("b")))
    assert found.messages[1].parts == answer


async def test_an_unsigned_thought_gives_way_to_the_signed_one():
    await signatures.remember(HOME, (THOUGHT, use("a")))
    found = await signatures.restored(asked(ThinkingPart(text="hm"), use("a")))
    assert found.messages[1].parts == (THOUGHT, use("a"))


@pytest.mark.parametrize(
    "call",
    [
        asked(use("unknown")),
        asked(use("a"), organization_id=ELSEWHERE),
        asked(THOUGHT, use("a")),
        asked(use("a", "kept")),
        asked(TextPart(text="no call")),
    ],
)
async def test_nothing_is_added_where_nothing_is_missing_or_known(call):
    await signatures.remember(HOME, (THOUGHT, use("a", "s-a")))
    assert await signatures.restored(call) is call


async def test_turns_before_the_person_s_last_words_need_none():
    await signatures.remember(HOME, (THOUGHT, use("a")))
    call = asked(use("a"))
    over = (*call.messages, Message(role="user", parts=(TextPart(text="and now?"),)))
    call = msgspec.structs.replace(call, messages=over)
    assert await signatures.restored(call) is call


@pytest.mark.parametrize(
    "parts",
    [
        (ThinkingPart(text="unsigned"), use("a")),
        (THOUGHT, TextPart(text="no call")),
        (ThinkingPart(text="x" * signatures.MAX_BYTES, signature="s"), use("a")),
    ],
)
async def test_what_cannot_come_back_is_not_kept(parts):
    await signatures.remember(HOME, parts)
    assert redis.client("cache").keys("signature:*") == []


async def test_what_is_kept_ends_after_a_day():
    await signatures.remember(HOME, (THOUGHT, use("a")))
    (name,) = redis.client("cache").keys("signature:*")
    assert signatures.KEPT_S - 5 < redis.client("cache").ttl(name) <= signatures.KEPT_S == 86_400


async def test_without_redis_the_call_leaves_as_it_came(settings):
    dead = settings.ENV.model_copy(update={"redis_cache_url": "redis://127.0.0.1:1/0"})
    settings.ENV = dead
    call = asked(use("a"))
    await signatures.remember(HOME, (THOUGHT, use("a")))
    assert await signatures.restored(call) is call
